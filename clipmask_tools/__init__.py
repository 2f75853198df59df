"""Benchmarks and experiments, which are not installed with the package.

Run them from the repository's root: ``python -m clipmask_tools.NAME``.
"""
