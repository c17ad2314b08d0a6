"""Run folders as one HTML page that needs nothing else. No torch."""
