"""Licences are stated, inherited and never left out; what nobody has stated is unknown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clipmask import load_cfg
from clipmask.d2 import MetadataCatalog
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.licenses import (
    DATA,
    START,
    UNKNOWN,
    License,
    backbone_licenses,
    checkpoint_licenses,
    data_licenses,
    joined,
    phrase,
    plain,
    short,
)
from clipmask.weights.names import OWN_MODEL


def test_a_dataset_states_its_licence(register: Callable[..., str]) -> None:
    stated, silent = register([], license=" CC BY 4.0 "), register([])
    assert data_licenses([stated, silent]) == [
        License(DATA, stated, "CC BY 4.0"),
        License(DATA, silent, UNKNOWN),
    ]


@pytest.mark.parametrize(
    "name", ["camvid_sem_seg_train", "cityscapes_sem_seg_train", "toy_street_sem_seg_val"]
)
def test_our_datasets_state_theirs(name: str) -> None:
    assert MetadataCatalog.get(name).get("license")


@pytest.mark.parametrize(
    ("weights", "of", "license"),
    [
        ("pretrained", "resnet50.a1_in1k", "apache-2.0"),
        ("tv_in1k", "resnet50.tv_in1k", "bsd-3-clause"),
        ("/disk/trunk.pth", "trunk.pth", UNKNOWN),
    ],
)
def test_a_backbone_states_what_timm_knows(weights: str, of: str, license: str) -> None:
    cfg = load_cfg("camvid/clipmask_r50.yaml", ["MODEL.BACKBONE.WEIGHTS", weights])
    assert backbone_licenses(cfg) == [License(START, of, license)]


def test_random_weights_start_from_nothing() -> None:
    assert backbone_licenses(load_cfg("toy.yaml")) == []


def test_a_checkpoint_tells_or_its_config_does() -> None:
    licenses = [License(DATA, "a", "MIT"), License(START, "b", UNKNOWN)]
    assert checkpoint_licenses({"licenses": plain(licenses)}) == licenses
    assert checkpoint_licenses({"licenses": ["nonsense", {"of": 3}]}) == [
        License(UNKNOWN, UNKNOWN, UNKNOWN)
    ]
    assert checkpoint_licenses({"config": "DATASETS: {TRAIN: [camvid_sem_seg_train]}"}) == [
        License(DATA, "camvid_sem_seg_train", "CC BY-NC 4.0")
    ]
    for silent in ({}, {"config": "just words"}, {"config": "DATASETS: {}"}, {"config": 3}):
        assert checkpoint_licenses(silent) == []


def test_the_model_that_comes_along_is_not_for_products() -> None:
    licenses = checkpoint_licenses(load_checkpoint(OWN_MODEL))
    assert License(DATA, "camvid_sem_seg_trainval", "CC BY-NC 4.0") in licenses
    assert UNKNOWN not in [item.license for item in licenses]


def test_how_licences_are_told() -> None:
    licenses = [
        License(DATA, "a", "MIT"),
        License(DATA, "b", UNKNOWN),
        License(START, "c", "Apache-2.0"),
    ]
    assert (
        phrase(licenses)
        == "trained on a (MIT) and b (licence unknown), started from c (Apache-2.0)"
    )
    assert "unknown" in phrase([])
    assert short([*licenses, *licenses]) == "MIT; licence unknown; Apache-2.0"
    assert "unknown" in short([])
    assert joined([*licenses, *licenses[:1]]) == licenses


def test_an_unknown_licence_gives_way_to_that_of_the_same_thing_alone() -> None:
    stated = [License(DATA, "a", "MIT"), License(DATA, UNKNOWN, "MIT")]
    assert joined([License(DATA, "a", UNKNOWN), *stated]) == stated
    for other in (License(START, "a", UNKNOWN), License(DATA, UNKNOWN, UNKNOWN)):
        assert joined([other, *stated]) == [other, *stated]
