"""A checkpoint says all that a predictor needs; what it does not say comes from the config, or is
an error.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask import build_model
from clipmask.d2 import MetadataCatalog
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.visualizer import palette
from clipmask.vocabulary import Vocabulary
from clipmask.weights.checkpoint import load_checkpoint, load_weights
from tests.checkpoints import COLORS, pixels, write_checkpoint
from tests.conftest import NAMES


def test_a_checkpoint_brings_config_names_and_colors(checkpoint: Path) -> None:
    predictor = Predictor.from_checkpoint(checkpoint)
    assert predictor.names == NAMES
    assert predictor.dataset_colors == dict(zip(NAMES, COLORS, strict=True))
    assert predictor.colors == palette(NAMES)
    assert predictor.cfg.MODEL.CLIPMASK.HIDDEN_DIM == 16
    stored = load_checkpoint(checkpoint)["model"]
    for name, value in predictor.model.state_dict().items():
        if not name.startswith("backbone."):  # whose batch normalisations were folded
            assert torch.equal(value, stored[name]), name
    model = build_model(predictor.cfg, NAMES).eval()
    load_weights(model, stored, str(checkpoint))
    inputs = [{"image": torch.from_numpy(pixels()).permute(2, 0, 1)}]
    ours, plain = predictor.model(inputs)[0]["sem_seg"], model(inputs)[0]["sem_seg"]
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_brings_what_its_classes_are_called_by(
    tmp_path: Path, small_cfg: CfgNode
) -> None:
    """So that T can be computed again as the training made it."""
    prompts, aliases = {"road": ["asphalt"]}, {"sky": ["heavens"]}
    metadata = {"class_prompts": prompts, "class_aliases": aliases}
    text = Predictor.from_checkpoint(
        write_checkpoint(tmp_path / "model.pth", small_cfg, metadata=metadata)
    ).model.text
    assert text.terms[0].prompts == ("asphalt",)
    assert text.terms[1].aliases == ("heavens",)


def test_a_checkpoint_brings_the_range_of_its_pictures(tmp_path: Path, small_cfg: CfgNode) -> None:
    own = pixels()[..., 0]
    Image.fromarray(own).save(tmp_path / "8.png")
    Image.fromarray(own.astype(np.uint16) * 16).save(tmp_path / "12.png")
    path = write_checkpoint(tmp_path / "model.pth", small_cfg, metadata={"image_range": [0, 4080]})
    deep = Predictor.from_checkpoint(path)(tmp_path / "12.png")
    plain = Predictor.from_checkpoint(write_checkpoint(tmp_path / "plain.pth", small_cfg))(
        tmp_path / "8.png"
    )
    np.testing.assert_array_equal(deep.image, plain.image)
    np.testing.assert_array_equal(deep.labels, plain.labels)


@pytest.mark.parametrize(
    "colors", [None, [[1, 2, 3]], "red", [[1, 2, 999]] * 5, [["a", "b", "c"]] * 5]
)
def test_unusable_colors_are_replaced(tmp_path: Path, small_cfg: CfgNode, colors: object) -> None:
    path = write_checkpoint(tmp_path / "model.pth", small_cfg, metadata={"stuff_colors": colors})
    predictor = Predictor.from_checkpoint(path)
    assert (predictor.dataset_colors, predictor.colors) == ({}, palette(NAMES))


def test_server_ids_come_from_the_checkpoint_or_the_configs_dataset(
    tmp_path: Path, small_cfg: CfgNode
) -> None:
    ids = [7, 23, 21, 26, 17]
    path = write_checkpoint(tmp_path / "told.pth", small_cfg, metadata={"server_ids": ids})
    assert Predictor.from_checkpoint(path).server_ids == dict(zip(NAMES, ids, strict=True))
    small_cfg.DATASETS.TRAIN = ("five_served",)
    MetadataCatalog.get("five_served").set(stuff_classes=list(NAMES), server_ids=ids[::-1])
    path = write_checkpoint(tmp_path / "silent.pth", small_cfg)
    assert Predictor.from_checkpoint(path).server_ids == dict(zip(NAMES, ids[::-1], strict=True))
    path = write_checkpoint(
        tmp_path / "others.pth", small_cfg, class_names=["a", "b", "c", "d", "e"]
    )
    assert Predictor.from_checkpoint(path).server_ids == {}


def test_embeddings_of_the_training_are_not_needed_again(
    tmp_path: Path, small_cfg: CfgNode
) -> None:
    """Neither the file that T came from, nor CLIP, before the vocabulary changes; then the file's
    name is told.
    """
    file = tmp_path / "embeddings.npz"
    rows = np.random.default_rng(0).normal(size=(6, 48)).astype(np.float32)
    np.savez(file, names=np.array([*NAMES, "zebra"]), embeddings=rows)
    small_cfg.MODEL.CLIP.EMBEDDINGS = str(file)
    path = write_checkpoint(tmp_path / "model.pth", small_cfg)
    file.rename(tmp_path / "elsewhere.npz")
    predictor = Predictor.from_checkpoint(path)
    assert predictor(pixels()).labels.shape == (40, 56)
    with pytest.raises(UserError, match=r"embeddings\.npz.*--embeddings"):
        predictor.set_vocabulary(["zebra"])
    assert predictor.names == NAMES

    def T() -> torch.Tensor:
        text = predictor.model.text
        return text.select(text(), predictor._classes.current.vocabulary) + text.mean

    trained = predictor.model.text.embedding.clone()
    predictor.set_vocabulary(["tree", "road"])
    torch.testing.assert_close(T(), trained[[2, 0]])
    with pytest.raises(UserError, match="embeddings"):  # which the file has to be asked for
        predictor.set_vocabulary(
            Vocabulary.from_metadata(
                {"stuff_classes": ["road"], "class_prompts": {"road": ["asphalt"]}}
            )
        )
    predictor.set_vocabulary(["sky", "zebra"], embeddings=str(tmp_path / "elsewhere.npz"))
    expected = torch.nn.functional.normalize(torch.from_numpy(rows[[1, 5]]), dim=-1)
    torch.testing.assert_close(T(), expected)
    assert set(np.unique(predictor(pixels()).labels)) <= {0, 1}

    (tmp_path / "elsewhere.npz").rename(file)
    predictor.set_vocabulary(["zebra"])
    torch.testing.assert_close(T(), expected[1:])
