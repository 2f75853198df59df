"""Segments a picture with an exported network, by numpy, Pillow and ONNX Runtime alone: no torch,
no ClipMask.

python demo/onnx_example.py model.onnx street.jpg segmented.png [names.npz]

The file of names is for a network with a free vocabulary: ``names`` (K,) and their CLIP
``embeddings`` (K, D).
"""

from __future__ import annotations

import base64
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(model: str, picture: str, output: str, vocabulary: str = "") -> None:
    """Writes the picture with its classes' colours over it, and prints the share of each class."""
    session = onnxruntime.InferenceSession(model)
    told = json.loads(session.get_modelmeta().custom_metadata_map["clipmask"])
    names, colors = told["names"], np.array(told["colors"], np.uint8)
    image = Image.open(picture).convert("RGB")
    if told["size"] is not None:  # [height, width]; null: any size
        image = image.resize((told["size"][1], told["size"][0]))
    inputs = {"image": np.asarray(image).transpose(2, 0, 1)[None]}  # uint8 (1, 3, H, W)
    if told["text"] is not None:  # the embeddings of the trained names, (K, D)
        inputs["text"] = np.frombuffer(base64.b64decode(told["text"]), np.float32).reshape(
            len(names), -1
        )
    if vocabulary:
        file = np.load(vocabulary)
        names, inputs["text"] = file["names"].tolist(), file["embeddings"].astype(np.float32)
        colors = np.random.default_rng(0).integers(0, 256, (len(names), 3), dtype=np.uint8)
    answer = session.run(None, inputs)[0][0]
    labels = answer.argmax(0) if answer.ndim == 3 else answer  # scores (K, H, W), or ids (H, W)
    Image.blend(image, Image.fromarray(colors[labels]), 0.5).save(output)
    for name, count in zip(names, np.bincount(labels.ravel(), minlength=len(names)), strict=True):
        print(f"{name}: {100 * count / labels.size:.1f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
