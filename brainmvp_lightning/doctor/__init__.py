"""What is wrong with a cohort, found before hours of work."""
