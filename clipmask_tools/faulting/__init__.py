"""Faults that are put into runs on purpose, and what is left after them."""
