"""Messages reach the console and log.txt while a run lasts, and no longer."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from clipmask.engine.log import SHOWN_BY_BAR, run_log
from clipmask.errors import UserError

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


def test_a_terminal_has_the_bar_instead_of_progress_lines(
    tmp_path: Path, capsys, monkeypatch
) -> None:
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


def test_a_log_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with run_log(tmp_path / "run"):
        logger.info("before")
        shutil.rmtree(tmp_path / "run")
        logger.info("after")
    assert "after" in (tmp_path / "run" / "log.txt").read_text()


def test_a_full_disk_is_said_once_on_the_console(tmp_path: Path, capsys) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with run_log(tmp_path):
        logger.info("one")
        logger.info("two")
    shown = capsys.readouterr()
    assert shown.err.count("disk full") == 1
    assert "Traceback" not in shown.err
    assert "two" in shown.out


def test_what_ends_a_run_is_its_last_line(tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError), run_log(tmp_path):
        raise UserError("a bad key")
    with pytest.raises(UserError), run_log(tmp_path, main=False):
        raise UserError("a bad file")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert "ERROR: a bad key" in lines[0]
    assert "ERROR: process" in lines[1]
    assert "a bad file" in lines[1]
    assert capsys.readouterr().out == "", "the command prints it"


def test_names_can_forge_no_line_and_steer_no_terminal(tmp_path: Path, capsys) -> None:
    forged = "a.png\n[11/28 12:00:00] mIoU 99.9\x1b[2J"
    with run_log(tmp_path):
        logger.warning("skipped %s", forged)
        logger.info("table:\n|a|\n|b|")
    for text in (capsys.readouterr().out, (tmp_path / "log.txt").read_text()):
        assert "\x1b" not in text
        assert not [line for line in text.splitlines() if line.startswith("[11/28 12:00:00]")]
        assert "\n|a|\n|b|" in text
