"""Conversion of annotations (polygons, RLE, masks of one class) to label maps and a descriptor."""
