"""Where the commands begin: what can't be imported ends in one line too, such as a Detectron2 that is broken."""

from __future__ import annotations

import importlib

from clipmask.cli import run_main


def _start(module: str) -> int:
    return run_main(lambda: importlib.import_module(f"clipmask.cli.{module}").main())


def train() -> int:
    """``train_net.py`` and ``clipmask-train``; returns the exit status, as all of these do."""
    return _start("train")


def demo() -> int:
    """``demo/demo.py`` and ``clipmask-demo``."""
    return _start("demo")


def embed() -> int:
    """``clipmask-embed``."""
    return _start("embed")


def export() -> int:
    """``clipmask-export``."""
    return _start("export")
