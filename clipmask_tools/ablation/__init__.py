"""What ``clipmask_tools.ablate`` is made of: grids of configs and seeds, runs, result files, tables
and plots.
"""
