"""Annotations of other tools and datasets, polygons, RLE or masks of one class -> label maps and a
descriptor.
"""
