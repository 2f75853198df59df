"""What ``tools/benchmark.py`` is made of: networks side by side, parts, growth, large pictures and data loading."""
