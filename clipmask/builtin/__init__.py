"""What stands in for Detectron2 where it is not installed: catalogs, registries, backbone base
class, evaluator.

The rest of the package takes these names from ``clipmask.d2``, which chooses between them and
Detectron2's own.
"""
