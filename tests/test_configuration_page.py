"""docs/configuration.md says of every key what clipmask/config.py says."""

from __future__ import annotations

import os
import re

from clipmask.builtin.unread_keys import UNREAD
from clipmask.config import leaf_keys, own_cfg
from tests.conftest import PATIENCE, ROOT
from tests.forked import run_forked

PAGE = ROOT / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    command = ["python", "-m", "clipmask_tools.write_config_reference", "--check"]
    result = run_forked(command, ROOT, os.environ, PATIENCE)
    assert result.returncode == 0, result.stderr


def test_every_key_stands_on_it_once() -> None:
    keys = re.findall(r"^\| `([A-Z0-9_.]+)`", PAGE.read_text(), re.MULTILINE)
    assert sorted(keys) == sorted([*leaf_keys(own_cfg()), *UNREAD])


def test_keys_of_detectron2_are_marked() -> None:
    text = PAGE.read_text()
    assert "`MODEL.DEVICE` D2 |" in text
    assert "`MODEL.CLIP.NAME` |" in text
