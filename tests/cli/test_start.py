"""Every command that is installed begins in ``clipmask.cli.start``, which ends an import that fails in a line."""

from __future__ import annotations

import configparser
import importlib
import sys

import pytest

from clipmask.cli import start
from clipmask.errors import UserError
from tests.conftest import ROOT

_setup = configparser.ConfigParser()
_setup.read(ROOT / "setup.cfg")
SCRIPTS = dict(line.split(" = ") for line in _setup["options.entry_points"]["console_scripts"].split("\n") if line)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_show_their_help(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, name = SCRIPTS[script].split(":")
    function = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    if module == "clipmask.env":  # takes no arguments
        assert function() == 0
        return
    with pytest.raises(SystemExit) as ended:
        function()
    assert ended.value.code == 0
    assert f"usage: {script}" in capsys.readouterr().out


def test_an_import_that_fails_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(name: str) -> None:
        raise UserError("Detectron2 was found, but")

    monkeypatch.setattr(start.importlib, "import_module", broken)
    assert start.demo() == 2
    assert capsys.readouterr().err == "error: Detectron2 was found, but\n"
