"""Batches of a stream: they change no result, hold few pictures, and leave out what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmask.data.picture_file import PictureFile
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.inference.stream import ReadPicture, raise_error, segment_stream
from tests.checkpoints import pixels, write_picture
from tests.closeness import assert_best


def test_batches_change_nothing(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [
        pixels(*size, seed)
        for seed, size in enumerate([(40, 56)] * 5 + [(33, 71)] * 2 + [(40, 56)])
    ]
    alone = [predictor(image) for image in images]
    sizes: list[int] = []
    predict = predictor.model.predict_labels
    monkeypatch.setattr(
        predictor.model, "predict_labels", lambda batch: sizes.append(len(batch)) or predict(batch)
    )
    predictor.batch_size = 3
    monkeypatch.setattr("clipmask.inference.batches.CPU_PIXELS", 2**40)
    together = predictor(images)
    assert sizes == [3, 2, 2, 1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert_best(other.labels, one.scores())


def test_a_stream_holds_no_more_than_a_batch(predictor: Predictor) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield pixels()

    predictor.batch_size = 2
    results = predictor.stream(endless())
    next(results)
    assert len(taken) == 2
    next(results)
    next(results)
    assert len(taken) == 4


def test_a_broken_file_is_an_error_or_left_out(predictor: Predictor, tmp_path: Path) -> None:
    good, bad = write_picture(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_bytes(good.read_bytes()[:100])
    with pytest.raises(UserError, match=r"b\.png"):
        predictor([good, bad])
    told: list[object] = []
    results = list(
        predictor.stream([bad, good, bad], lambda image, error: told.append((image, str(error))))
    )
    assert [result.source for result in results] == [str(good)]
    assert len(told) == 2
    assert all(image == bad and "b.png" in message for image, message in told)


SMALL, WIDE, FILE = (4, 5), (4, 6), None


class _File(PictureFile):
    """A picture that is read window by window."""

    def __init__(self) -> None:
        pass


@given(
    sizes=st.lists(st.sampled_from([SMALL, WIDE, FILE, "damaged"])),
    batch_size=st.integers(1, 4),
)
def test_results_are_in_order_and_batches_of_one_size(sizes: list[Any], batch_size: int) -> None:
    images = list(enumerate(sizes))
    batches: list[list[ReadPicture]] = []
    left_out: list[Any] = []

    def read(image: Any) -> ReadPicture | PictureFile:
        number, size = image
        if size == "damaged":
            raise UserError(f"{number}")
        if size is FILE:
            return _File()
        return ReadPicture(str(number), np.zeros((*size, 3), np.uint8))

    def segment(batch: list[ReadPicture]) -> Iterator[Any]:
        batches.append(batch)
        yield from [picture.source for picture in batch]

    results = segment_stream(
        images,  # type: ignore[arg-type]
        read,
        segment,
        lambda file: "file",  # type: ignore[arg-type,return-value]
        batch_size,
        lambda image, error: left_out.append(image),
    )
    sound = [(number, size) for number, size in images if size != "damaged"]
    expected = ["file" if size is FILE else str(number) for number, size in sound]
    assert list(results) == expected
    assert left_out == [image for image in images if image not in sound]
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({picture.pixels.shape for picture in batch}) == 1


def test_a_file_that_breaks_in_the_middle_is_left_out() -> None:
    def break_off(file: PictureFile) -> Any:
        raise UserError("damaged")

    left_out: list[Any] = []

    def stream(on_error: Any) -> list[Any]:
        def read(image: Any) -> PictureFile:
            return _File()

        return list(segment_stream(["a.tif", "b.tif"], read, iter, break_off, 1, on_error))  # type: ignore[arg-type]

    assert stream(lambda image, error: left_out.append(image)) == []
    assert left_out == ["a.tif", "b.tif"]
    with pytest.raises(UserError, match="damaged"):
        stream(raise_error)
