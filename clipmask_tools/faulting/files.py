"""Faults in the files of an output folder: pointers, checkpoints, other jobs, an earlier run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from clipmask_tools.faulting.bench import Bench, Outcome
from clipmask_tools.faulting.stops import Fault, resumed, whole

POINTERS = {
    "missing": None,
    "empty": b"",
    "not UTF-8": b"\xff\xfe\xfa",
    "truncated": b"model_fin",
    "naming a file outside": b"../whole/run/model_final.pth",
    "naming an absolute path": b"/etc/passwd",
    "naming the folder itself": b".",
    "naming weights alone": b"model_best.pth",
}


def faults() -> Iterator[Fault]:
    """Yields the name of each fault and the function that tries it."""
    for name, content in POINTERS.items():
        yield f"last_checkpoint {name}", partial(_pointer, content)
    for name, damage in DAMAGES.items():
        yield f"newest checkpoint {name}", partial(_checkpoint, damage)
    yield "all checkpoints damaged", _all_damaged
    yield "no --resume in the folder of a run", _forgotten
    yield (
        "no --resume and no last_checkpoint in the folder of a run",
        partial(_forgotten, pointer=False),
    )
    yield "--start-over in the folder of a run", _start_over
    yield "two jobs in one OUTPUT_DIR", _two_jobs
    yield "a lock left by a job that was killed", _stale_lock
    yield "temporary files left by a kill", _leftovers
    for name, size in {"lost": None, "cut in a line": 40, "of garbage": 0}.items():
        yield f"metrics.json {name} before --resume", partial(_metrics, size)
    yield "model_best.pth damaged before --resume", _best
    yield "OUTPUT_DIR is a file", _folder_is_file
    for form in HOSTILE:
        yield f"MODEL.WEIGHTS that runs code when unpickled ({form})", partial(_hostile, form)


def _done(bench: Bench) -> None:
    """Makes a run whose last two steps are still to do."""
    bench.train()
    (bench.run / "model_final.pth").unlink()
    (bench.run / "last_checkpoint").write_text("model_0000003.pth")


def _pointer(content: bytes | None, bench: Bench) -> Outcome:
    _done(bench)
    path = bench.run / "last_checkpoint"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    word = "model_best.pth" if content == b"model_best.pth" else "last_checkpoint"
    return _resumed_with_warning(bench, word)


def _resumed_with_warning(bench: Bench, word: str) -> Outcome:
    """Resumes a run; good if it ends as usual and a warning names ``word`` and a checkpoint."""
    ended = bench.train("--resume")
    same = bench.weights() == whole(bench)
    warned = False
    for line in ended.text.splitlines():
        if "WARNING" in line and word in line and "model_000000" in line:
            warned = True
    good = same and warned and ended.status == 0 and not ended.traceback
    return Outcome(ended.line[:110], "nothing" if same else "the run", good)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "missing": lambda path: path.unlink(),
    "with one bit flipped among the weights": lambda path: _flip(path),
    "of garbage": lambda path: path.write_bytes(b"<html>404</html>" * 99),
    "without its last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "holding weights alone": lambda path: path.write_bytes(
        (path.parent / "model_best.pth").read_bytes()
    ),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def _checkpoint(damage: Callable[[Path], object], bench: Bench) -> Outcome:
    _done(bench)
    damage(bench.run / "model_0000003.pth")
    return _resumed_with_warning(bench, "model_0000003.pth")


def _all_damaged(bench: Bench) -> Outcome:
    _done(bench)
    for path in bench.run.glob("model_*.pth"):
        path.write_bytes(b"garbage")
    ended = bench.train("--resume")
    good = ended.status == 2 and not ended.traceback and ended.text.count("damaged") >= 2
    return Outcome(f"status {ended.status}; {ended.line[:90]}", "the run", good)


def _snapshot(folder: Path) -> dict[str, bytes]:
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("log.txt", ".lock")
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _forgotten(bench: Bench, pointer: bool = True) -> Outcome:
    bench.train()
    if not pointer:
        (bench.run / "last_checkpoint").unlink()
    before = _snapshot(bench.run)
    ended = bench.train()
    same = _snapshot(bench.run) == before
    good = same and ended.status == 2 and "--resume" in ended.text
    return Outcome(
        f"status {ended.status}; {ended.line[:110]}", "nothing" if same else "the earlier run", good
    )


def _start_over(bench: Bench) -> Outcome:
    bench.train()
    before = _snapshot(bench.run)
    ended = bench.train("--start-over")
    same = _snapshot(bench.run / "earlier_1") == before
    good = same and ended.status == 0 and bench.weights() == whole(bench)
    return Outcome(
        f"status {ended.status}; earlier_1 holds it", "nothing" if same else "the earlier run", good
    )


def _two_jobs(bench: Bench) -> Outcome:
    opts = (
        "SOLVER.MAX_ITER",
        "100000",
        "SOLVER.CHECKPOINT_PERIOD",
        "100000",
        "TEST.EVAL_PERIOD",
        "0",
    )
    first = bench.start(*opts)
    bench.wait_for((bench.run / "metrics.json").exists, first)
    output = bench.folder / "output.txt"
    output.rename(output.with_name("first.txt"))
    second = bench.train("--resume")
    alive = bench.wait_for(lambda: True, first)
    os.kill(first, 9)
    os.waitpid(first, 0)
    good = alive and second.status == 2 and f"process {first} on " in second.text
    return Outcome(f"the second: {second.line[:110]}", "nothing", good)


def _stale_lock(bench: Bench) -> Outcome:
    bench.run.mkdir()
    (bench.run / ".lock").write_text('{"host": "elsewhere", "process": 1, "since": "yesterday"}\n')
    ended = bench.train()
    good = ended.status == 0 and bench.weights() == whole(bench)
    return Outcome(f"status {ended.status}, it blocks nothing", "nothing", good)


def _leftovers(bench: Bench) -> Outcome:
    _done(bench)
    (bench.run / ".model_0000005.pth.99.0123456789abcdef.tmp").write_bytes(b"half")
    (bench.run / ".model_final.pth.tmp").write_bytes(b"half")
    ended = bench.train("--resume")
    good = (
        ended.status == 0 and bench.weights() == whole(bench) and not list(bench.run.glob(".*.tmp"))
    )
    return Outcome(f"status {ended.status}, they are removed", "nothing", good)


def _metrics(size: int | None, bench: Bench) -> Outcome:
    _done(bench)
    best = (bench.run / "model_best.pth").read_bytes()
    path = bench.run / "metrics.json"
    if size is None:
        path.unlink()
    elif size:
        os.truncate(path, size)
    else:
        path.write_bytes(os.urandom(2000))
    outcome = resumed(bench, bench.train("--resume"), 0)
    better = (
        bench.weights("model_best.pth") == bench.weights()
        or (bench.run / "model_best.pth").read_bytes() == best
    )
    return outcome._replace(
        lost="its lines" if better else "the best model", good=outcome.good and better
    )


def _best(bench: Bench) -> Outcome:
    _done(bench)
    (bench.run / "model_best.pth").write_bytes(b"garbage")
    ended = bench.train("--resume")
    good = (
        ended.status == 0
        and bench.weights() == whole(bench)
        and bench.weights("model_best.pth") != b""
    )
    return Outcome(
        ended.line[:110], "nothing that was whole", good and "model_best.pth: damaged" in ended.text
    )


def _folder_is_file(bench: Bench) -> Outcome:
    bench.run.write_text("in the way")
    ended = bench.train()
    good = ended.status == 2 and not ended.traceback and bench.run.read_text() == "in the way"
    return Outcome(f"status {ended.status}; {ended.line[:110]}", "nothing", good)


class _Hostile:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.mkdir, (self.path,))


HOSTILE = (
    "pickle",
    "torch, zipped",
    "torch, legacy",
    "pickle called .npz",
    "pickle called .safetensors",
)


def _hostile(form: str, bench: Bench) -> Outcome:
    import torch

    trace = bench.folder / "it_ran"
    suffix = form.rsplit("called ")[-1] if "called" in form else ".pth"
    path = bench.folder / f"weights{suffix}"
    if form.startswith("torch"):
        content = {"model": {"weight": torch.ones(2)}, "more": _Hostile(str(trace))}
        torch.save(content, path, _use_new_zipfile_serialization=form.endswith("zipped"))
    else:
        path.write_bytes(pickle.dumps(_Hostile(str(trace))))
    ended = bench.train("MODEL.WEIGHTS", str(path))
    good = ended.status == 2 and not ended.traceback and not trace.exists()
    return Outcome(f"status {ended.status}; {ended.line[-110:]}", "nothing", good)
