"""``clipmask-data``: a folder of labelled pictures is described, checked and shown."""
