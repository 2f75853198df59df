"""Measurements of ``clipmask_tools.benchmark``: networks compared, model parts, growth of the cost,
data loading.
"""
