"""Exports a trained model as a network that runs without this package: ONNX, OpenVINO or
``torch.export``.
"""
