"""Studies that compare many runs: plans, local processes, tables and plots."""
