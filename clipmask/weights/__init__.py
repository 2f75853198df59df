"""Files of weights: our checkpoints, packed models, and those of other projects. None of them can
run code.

Modules are imported by their own names, so that reading a checkpoint does not load what others
need.
"""
