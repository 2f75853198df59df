"""``demo/demo.py`` and ``clipmask-demo``: pictures, films and cameras are segmented."""
