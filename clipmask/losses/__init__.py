"""Computes scalar losses from predictions and label maps."""
