"""From a trained model to a network that runs without this package: ONNX, OpenVINO,
torch.export.
"""
