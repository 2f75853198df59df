"""Checks of a labelled dataset: every pair is read, and problems for a training are listed."""
