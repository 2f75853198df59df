"""Model and data -> a trained, evaluated checkpoint: the loop, its optimiser, its files.

Modules are imported by their own names (``clipmask.engine.train``,
``clipmask.weights.checkpoint``), so that reading a checkpoint does not load the libraries that
training needs.
"""
