"""Class names and sentences -> rows of T: prompts, CLIP's text encoder, files of embeddings,
learned text.
"""
