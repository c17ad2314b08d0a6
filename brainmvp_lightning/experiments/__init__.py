"""The paper's studies of a pre-training on any prepared cohort: plans, processes, tables, plots."""
