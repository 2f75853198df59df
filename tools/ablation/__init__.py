"""What ``tools/ablate.py`` is made of: a grid of configs and seeds, its runs, their result files, tables and plots."""
