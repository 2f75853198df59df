"""Predictions and label maps in, scalar losses out."""
