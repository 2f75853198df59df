"""Commands in processes of their own, forked from one that has imported the libraries already.

Most of what a short command takes is its import of torch, torchvision and timm. A fork server of
``multiprocessing`` imports them once for all commands of a test process. It does not import
ClipMask: every command does so itself, under its own environment. What is about the import of a
library, or about how an interpreter ends, needs a new interpreter instead.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ["torch", "torchvision", "timm", "lightning_fabric", "scipy.optimize"]
LIBRARIES += ["matplotlib.figure", "matplotlib.backends.backend_agg", "torch.utils.tensorboard"]


class Forked:
    """A command that runs; what it offers is what ``subprocess.Popen`` offers under these names.

    Args:
        command: ``python SCRIPT ...``, ``python -m MODULE ...``, ``python -c CODE``, or an
            installed command that is written in Python.
        folder: its working directory.
        environment: all of its environment variables.
        new_session: whether it leads a process group of its own.
    """

    def __init__(
        self,
        command: Sequence[object],
        folder: Path,
        environment: Mapping[str, str],
        new_session: bool = False,
    ) -> None:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(LIBRARIES)
        self.args = [str(word) for word in command]
        self._printed = tempfile.TemporaryDirectory()
        names = [os.path.join(self._printed.name, name) for name in ("out", "err")]
        arguments = (self.args, str(folder), dict(environment), names, new_session)
        self._process = server.Process(target=_become, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; negative: the number of the signal that ended it; None: it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for its end, and returns what it printed and its errors; kills one that hangs."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        with self._printed as place:
            out, err = (Path(place, name).read_text() for name in ("out", "err"))
        return out, err


def run_forked(
    command: Sequence[object], folder: Path, environment: Mapping[str, str], patience: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; the arguments are those of ``Forked``.

    Args:
        patience: seconds until a command that hangs is killed.
    """
    process = Forked(command, folder, environment)
    out, err = process.communicate(patience)
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ranks(count: int) -> list[dict[str, str]]:
    """Returns what torchrun would add to the environments of ``count`` processes of one run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"TORCHELASTIC_RUN_ID": "tests", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _become(
    command: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[str],
    new_session: bool,
) -> None:
    """Turns this process into the command."""
    if new_session:
        os.setsid()
    for stream, name in zip((sys.stdout, sys.stderr), streams, strict=True):
        with open(name, "ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    python = command[0] in ("python", sys.executable)
    places = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    # the tests' own sys.path names the checkout, which a command has from its environment alone
    sys.path[:] = places + [place for place in sys.path if place not in ("", str(ROOT))]
    try:
        if python and command[1] in ("-m", "-c"):
            sys.path.insert(0, folder)
            sys.argv = command[2:]
            if command[1] == "-m":
                runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            else:
                sys.argv[0] = "-c"
                exec(compile(command[2], "-c", "exec"), {"__name__": "__main__"})
            return
        script = command[1] if python else shutil.which(command[0])
        assert script, f"{command[0]} is not installed"
        sys.argv = command[1:] if python else command
        sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out
