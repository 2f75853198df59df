"""Commands in processes of their own, forked from one that has imported the libraries already.

Most of what a short command takes is its import of torch, torchvision and timm. A fork server of
``multiprocessing`` imports them once for all commands of a test process. It does not import
ClipMask: every command does so itself, under its own environment.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = ["torch", "torchvision", "timm"]


def run_forked(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], patience: float
) -> tuple[int, str]:
    """Runs a command; its status is 0 if it ends well.

    Args:
        command: ``python SCRIPT ...``, ``python -m MODULE ...``, ``python -c CODE``, or an
            installed command that is written in Python.
        folder: its working directory.
        environment: all of its environment variables.
        patience: seconds until a command that hangs is killed.

    Returns:
        The exit status, and what it printed on either stream.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(LIBRARIES)
    with tempfile.NamedTemporaryFile() as output:
        arguments = (list(command), str(folder), dict(environment), output.name)
        process = server.Process(target=_become, args=arguments)
        process.start()
        process.join(patience)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, Path(output.name).read_text()


def _become(command: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Turns this process into the command."""
    with open(output, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    if command[0] == "python" and command[1] in ("-m", "-c"):
        sys.path.insert(0, folder)
        sys.argv = command[2:]
        if command[1] == "-m":
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        else:
            exec(compile(command[2], "-c", "exec"), {"__name__": "__main__"})
        return
    script = command[1] if command[0] == "python" else shutil.which(command[0])
    assert script, f"{command[0]} is not installed"
    sys.argv = command[1:] if command[0] == "python" else command
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")
