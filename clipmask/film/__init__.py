"""Films: reading and writing them, results frame by frame, and smoothing over time.

Modules are imported by their own names, so that nothing loads OpenCV before a film is opened.
"""
