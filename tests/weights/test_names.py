"""A name of weights is a file, a folder, a bundled model or a model of the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipmask import Predictor, UserError
from clipmask.weights import names
from clipmask.weights.names import MODELS, OWN_MODEL, find_weights
from tests.checkpoints import pixels


@pytest.mark.parametrize("name", MODELS)
def test_models_that_come_along_are_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_weights(name).is_file()


def test_what_lies_here_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / OWN_MODEL).write_bytes(b"mine")
    assert find_weights(OWN_MODEL) == Path(OWN_MODEL)


def test_a_folder_is_the_model_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder without a model.*model_best\.pth"):
        find_weights(tmp_path)
    for name in reversed(names.FILES):
        (tmp_path / name).touch()
        assert find_weights(tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (names.OWN_MODEL[:-1], f"did you mean {names.OWN_MODEL}"),
        ("gone.pth", "hf-hub:owner/name"),
        ("hf-hub:owner", "written hf-hub:owner/name"),
        ("hf-hub:", "written hf-hub:owner/name"),
        ("hf-hub:a/b/c", "written hf-hub:owner/name"),
    ],
)
def test_a_wrong_name(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as told:
        find_weights(name)
    assert name in str(told.value)


def test_a_predictor_by_name_or_folder(checkpoint: Path) -> None:
    final = checkpoint.rename(checkpoint.with_name("model_final.pth"))
    by_folder, by_file = (
        Predictor.from_pretrained(final.parent, "cpu"),
        Predictor.from_checkpoint(final, "cpu"),
    )
    np.testing.assert_array_equal(by_folder(pixels()).labels, by_file(pixels()).labels)
    street = Predictor.from_pretrained(
        OWN_MODEL, "cpu", ["INPUT.MIN_SIZE_TEST", "32"], batch_size=2
    )
    assert (len(street.names), street.batch_size, street.cfg.INPUT.MIN_SIZE_TEST) == (11, 2, 32)
    assert "CC BY-NC 4.0" in [item.license for item in street.licenses]
