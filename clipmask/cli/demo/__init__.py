"""``demo/demo.py`` and ``clipmask-demo``: segment pictures, films and a camera's picture."""
