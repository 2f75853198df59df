"""Guessing the descriptor of a folder of labelled pictures, which a person then corrects."""
