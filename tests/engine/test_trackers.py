"""Services that follow runs get the numbers; what goes wrong with them costs no training."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from clipmask.config import get_cfg
from clipmask.engine import trackers
from clipmask.engine.trackers import Trackers
from clipmask.engine.writers import RunWriters
from clipmask.errors import UserError


class _Fake:
    """A service that remembers, and fails at the step that the class names."""

    fails_at = -1
    begun: list[tuple[str | None, dict[int, Mapping[str, float]]]]

    def __init__(self, folder: Path, cfg: CfgNode, id: str | None) -> None:
        self.id = id or "new"
        self.sent: dict[int, Mapping[str, float]] = {}
        type(self).begun.append((id, self.sent))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        if iteration == self.fails_at:
            raise ConnectionError("gone")
        self.sent[iteration] = values

    def close(self) -> None:
        self.sent[-1] = {}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[_Fake]:
    kind = type("Kind", (_Fake,), {"begun": []})
    monkeypatch.setitem(trackers._KINDS, "wandb", kind)
    return kind


def _cfg(*names: str) -> CfgNode:
    cfg = get_cfg()
    cfg.TRACKERS = names
    return cfg


def test_numbers_arrive_and_a_resumed_run_is_the_same(tmp_path: Path, fake: type[_Fake]) -> None:
    for resumed in (False, True):
        run = RunWriters(tmp_path, 0, 9, Trackers(_cfg("wandb"), tmp_path, resumed))
        run.scalars(3, {"loss": 1.5, "bad": math.nan})
        run.close()
    assert [id for id, _ in fake.begun] == [None, "new"]
    assert fake.begun[1][1] == {3: {"loss": 1.5}, -1: {}}
    assert json.loads((tmp_path / trackers.IDS).read_text()) == {"wandb": "new"}


def test_a_service_that_fails_is_left(
    tmp_path: Path, fake: type[_Fake], caplog: pytest.LogCaptureFixture
) -> None:
    fake.fails_at = 2
    opened = Trackers(_cfg("wandb"), tmp_path, False)
    with caplog.at_level(logging.WARNING):
        for step in range(4):
            opened.write(step, {"loss": 1.0})
        opened.close()
    assert list(fake.begun[0][1]) == [0, 1]
    assert len(caplog.records) == 1
    assert "gone" in caplog.text


def test_what_is_missing_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match="pip install mlflow"):
        Trackers(_cfg("mlflow"), tmp_path, False)
    with pytest.raises(UserError, match="'comet' is not known"):
        Trackers(_cfg("comet"), tmp_path, False)


def test_none_is_the_default(tmp_path: Path) -> None:
    Trackers(get_cfg(), tmp_path, False).write(0, {"loss": 1.0})
    assert not (tmp_path / trackers.IDS).exists()
