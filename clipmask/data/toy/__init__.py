"""The street scenes that the toy dataset draws, and the dataset that is made of them at first
use.
"""
