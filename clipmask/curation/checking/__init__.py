"""What is wrong with a labelled dataset: every pair is read, and what would stop or mislead a
training is listed.
"""
