"""``clipmask-data``: describes, converts, checks and shows a folder of labelled pictures."""
