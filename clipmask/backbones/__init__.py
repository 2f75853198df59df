"""Backbones: where res2 .. res5 come from, and how one is chosen by its name."""
