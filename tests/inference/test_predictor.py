"""One picture or many, alone or in batches, with the trained vocabulary or another."""

from __future__ import annotations

import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.errors import UserError
from clipmask.inference import Predictor, Segmentation
from clipmask.visualizer import palette
from tests.checkpoints import COLORS, pixels, write_checkpoint, write_picture
from tests.closeness import assert_best
from tests.conftest import NAMES


def test_one_picture_gives_one_result_and_several_a_list(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = write_picture(tmp_path / "a.png")
    one = predictor(path)
    assert isinstance(one, Segmentation)
    assert (one.source, one.labels.shape, one.labels.dtype) == (str(path), (40, 56), np.uint8)
    assert isinstance(predictor(Image.open(path)), Segmentation)
    several = predictor([str(path), pixels(), Image.open(path)])
    assert [result.source for result in several] == [str(path), None, None]
    for result in [*several, *predictor(np.stack([pixels(), pixels()]))]:
        assert_best(result.labels, one.scores())
    assert predictor([]) == []


@pytest.mark.parametrize(
    ("wrong", "kind"), [(None, "None, .*cv2.imread"), ({"image": 1}, "dict"), (7, "int")]
)
def test_what_is_no_picture_at_all(predictor: Predictor, wrong: Any, kind: str) -> None:
    with pytest.raises(UserError, match=f"not a picture: {kind}"):
        predictor(wrong)


def test_a_vocabulary_changes_names_labels_and_colors(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        predictor.set_vocabulary(["sky", "road"])
    assert not caplog.records  # the model knows these
    assert predictor.colors == palette(["sky", "road"])
    with caplog.at_level(logging.WARNING):
        predictor.set_vocabulary(["zebra crossing", "sky"])
    assert "random" in caplog.text
    result = predictor(pixels())
    assert result.names == ("zebra crossing", "sky")
    assert result.labels.max() <= 1
    assert result.scores().shape == (2, 40, 56)
    with pytest.raises(UserError, match="different"):
        predictor.set_vocabulary(["sky", "sky"])


def test_colors_that_are_set_stay_with_their_classes(predictor: Predictor) -> None:
    predictor.set_colors({"Sky": (1, 2, 3), "cloud": [4, 5, 6]})
    assert predictor.colors[1] == [1, 2, 3]
    assert predictor.colors[0] == palette(["road"])[0]
    predictor.set_vocabulary(["cloud", "road", "sky;heavens"])
    assert predictor.colors == [[4, 5, 6], palette(["road"])[0], [1, 2, 3]]
    predictor.set_colors(predictor.dataset_colors)
    assert predictor.colors[1] == COLORS[0]
    for wrong in ([1, 2], [1, 2, 256], "red", [0.5, 0, 0]):
        with pytest.raises(UserError, match="colour of 'sky'"):
            predictor.set_colors({"sky": wrong})  # type: ignore[dict-item]


def test_the_text_of_a_picture(checkpoint: Path, tmp_path: Path, small_cfg: CfgNode) -> None:
    """It reaches the model and the scores; a model that takes none says so."""
    with pytest.raises(UserError, match=r"MODEL\.CLIP\.TEXT vocabulary"):
        Predictor.from_checkpoint(checkpoint)(pixels(), text="a street")
    small_cfg.MODEL.CLIP.TEXT = "annotation"
    predictor = Predictor.from_checkpoint(write_checkpoint(tmp_path / "told.pth", small_cfg))
    without, one, several = (
        predictor(pixels(), text=text).scores()
        for text in (None, "a street in rain", ["a street", "rain"])
    )
    assert np.abs(one - without).max() > 1e-4
    assert np.abs(one - several).max() > 1e-4
    batch = predictor([pixels(), pixels()], text="a street in rain")
    for result in batch:
        np.testing.assert_allclose(result.scores(), one, atol=1e-5)
        assert_best(result.labels, result.scores())


def test_a_model_in_training_is_put_into_evaluation(
    small_cfg: CfgNode, small_model: torch.nn.Module
) -> None:
    predictor = Predictor(small_cfg, small_model.train())  # type: ignore[arg-type]
    assert not small_model.training
    assert predictor(pixels()).names == NAMES
    with pytest.raises(UserError, match="batch size 0"):
        Predictor(small_cfg, small_model, batch_size=0)  # type: ignore[arg-type]


def test_the_classes_of_one_call(predictor: Predictor) -> None:
    own = predictor(pixels())
    other = predictor(pixels(), vocabulary=["sky", "road"])
    assert other.names == ("sky", "road")
    assert other.scores().shape == (2, 40, 56)
    assert len(other.colors) == 2
    assert predictor.names == own.names == tuple(NAMES)
    with pytest.raises(UserError, match="different"):
        predictor(pixels(), vocabulary=["sky", "sky"])
    stream = predictor.stream([pixels(), pixels()])
    predictor.set_vocabulary(["sky", "road"])  # after the stream began: for later calls
    assert [result.names for result in stream] == [tuple(NAMES)] * 2


def test_threads_never_see_labels_of_others_names(predictor: Predictor) -> None:
    """Ten names and two, in turn, while other threads predict: what a thread gets fits together,
    and is what it would get alone.
    """
    many = [f"thing {number}" for number in range(10)]
    expected = {
        tuple(names): predictor(pixels(), vocabulary=names, scores=True).scores()
        for names in (many, NAMES[:2])
    }
    predictor.set_vocabulary(many)
    results: list[Segmentation] = []
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            predictor.set_vocabulary(NAMES[:2])
            predictor.set_vocabulary(many)

    def predict(names: list[str] | None) -> None:
        results.extend(predictor(pixels(), vocabulary=names) for _ in range(8))

    changing = threading.Thread(target=change)
    changing.start()
    with ThreadPoolExecutor(4) as pool:
        for task in [pool.submit(predict, names) for names in (None, many, None, NAMES[:2])]:
            task.result()
    done.set()
    changing.join()
    assert len(results) == 32
    for result in results:
        assert len(result.colors) == len(result.names)
        assert_best(result.labels, expected[result.names])


def test_pickles_of_predictor_and_results(predictor: Predictor) -> None:
    result = predictor(pixels())
    kept = predictor(pixels(), scores=True)
    copy = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(copy(pixels(), scores=True).labels, kept.labels)
    copy.set_vocabulary(["sky", "road"])
    assert predictor.names == tuple(NAMES)
    small = pickle.dumps(result)
    assert len(small) < result.image.nbytes + result.labels.nbytes + 10_000  # without the model
    np.testing.assert_array_equal(pickle.loads(small).labels, result.labels)
    with pytest.raises(UserError, match="scores=True"):
        pickle.loads(small).scores()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept)).scores(), kept.scores())
