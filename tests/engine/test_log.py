"""Messages reach the console and log.txt while a run lasts, and no longer."""

from __future__ import annotations

import logging
from pathlib import Path

from clipmask.engine.log import SHOWN_BY_BAR, run_log

logger = logging.getLogger("clipmask.test_log")


def test_messages_go_to_console_and_file(tmp_path: Path, capsys) -> None:
    with run_log(tmp_path / "run"):
        logger.info("hello")
        logger.warning("careful")
        logger.info("step 1", extra=SHOWN_BY_BAR)
    logger.warning("after")
    shown, written = capsys.readouterr().out, (tmp_path / "run" / "log.txt").read_text()
    for text in (shown, written):
        assert "] hello" in text
        assert "] WARNING: careful" in text
        assert "step 1" in text
        assert "after" not in text


def test_a_terminal_has_the_bar_instead_of_progress_lines(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with run_log(tmp_path):
        logger.info("step 1", extra=SHOWN_BY_BAR)
    assert "step 1" not in capsys.readouterr().out
    assert "step 1" in (tmp_path / "log.txt").read_text()


def test_other_processes_stay_silent(tmp_path: Path, capsys) -> None:
    with run_log(tmp_path / "run", main=False):
        logger.warning("hello")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_a_second_run_continues_the_file(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with run_log(tmp_path):
            logger.info(text)
    assert (tmp_path / "log.txt").read_text().count("\n") == 2
