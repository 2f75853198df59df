"""Benchmarks and experiments, run from the repository's root as ``python -m clipmask_tools.NAME``;
not installed.
"""
