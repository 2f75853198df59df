"""What can be found out about a folder of pictures and label maps: guessing its descriptor,
checking its files.
"""
