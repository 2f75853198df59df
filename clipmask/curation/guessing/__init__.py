"""What a folder of labelled pictures says of itself, for the descriptor that a person then
corrects.
"""
