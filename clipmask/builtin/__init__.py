"""Replacements for Detectron2's catalogs, registries, backbone class and evaluator.

They are used where Detectron2 is not installed. The rest of the package imports these names from
``clipmask.d2``, which chooses between them and Detectron2's own.
"""
