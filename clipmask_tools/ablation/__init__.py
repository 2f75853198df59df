"""The parts of ``clipmask_tools.ablate``: grids, runs, result files, tables and plots."""
