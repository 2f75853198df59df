"""Computes rows of T from class names and sentences.

The rows are computed by CLIP's text encoder, read from a file of embeddings, or learned.
"""
