"""Tools for a user's own data: guessing a descriptor, checking a dataset, converting labels."""
