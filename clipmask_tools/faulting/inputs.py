"""Faults in the user's files: pictures, label maps, descriptors, embeddings, names of results."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from clipmask_tools.faulting.bench import NAMES, Bench, Ended, Outcome
from clipmask_tools.faulting.stops import Fault, whole

ESCAPE = "\x1b[2J"  # clears a terminal
FORGED = "sky\n[01/01 00:00:00] step 6/6  loss 0.0"  # a line that log.txt never had


def faults() -> Iterator[Fault]:
    """Yields the name of each fault and the function that tries it."""
    for name, (damage, word) in PICTURES.items():
        yield f"a training picture {name}", partial(_training_file, "images", damage, word)
    for name, (damage, word) in LABELS.items():
        yield f"a label map {name}", partial(_training_file, "labels", damage, word)
    yield "a broken picture in a mid-run evaluation", _evaluation_picture
    for name, (change, word) in DESCRIPTORS.items():
        yield f"a descriptor {name}", partial(_descriptor, change, word)
    for name, make in LINKS.items():
        yield name, partial(_same_as_without, make)
    yield "one picture in train and in val, by a link", _shared
    yield "OUTPUT_DIR among the pictures", _output_among_pictures
    for key in ("MODEL.CLIP.EMBEDDINGS", "MODEL.WEIGHTS"):
        yield f"{key} of a megabyte that unpacks to a gibibyte", partial(_bomb, key)
    yield "control characters in a class name", _control_class
    yield "control characters in a file name", _control_file
    yield "one crop of one coarse pixel a step, with BatchNorm", _one_value
    yield "label maps that are all void", _all_void
    yield "more classes than queries", _few_queries
    yield "a pipe among the demo's pictures", _demo_pipe
    for name, trial in OVERWRITING.items():
        yield f"a result called as a file of the user's: {name}", trial


def _refused(bench: Bench, ended: Ended, *words: str, made: bool = False) -> Outcome:
    """Judges a mistake of the user that the command must refuse, with exit status 2 and one line.

    Args:
        bench: the bench of the fault.
        ended: the end of the command.
        words: words that must be in the message.
        made: whether the run may have started before.
    """
    good = ended.status == 2 and not ended.traceback and all(word in ended.text for word in words)
    trained = (bench.run / "model_final.pth").exists()
    good = good and not trained and (made or not (bench.run / "metrics.json").exists())
    lost = "nothing" if ended.status else "a training"
    return Outcome(f"status {ended.status}; {ended.line[:110]}", lost, good)


def _huge(path: Path) -> None:
    """Writes a PNG of a few bytes whose header states 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


def _relabel(value: int, path: Path) -> None:
    Image.fromarray(np.full((40, 48), value, np.uint8)).save(path)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


Damage = Callable[[Path], Any]
PICTURES: dict[str, tuple[Damage, str]] = {
    "cut in half": (lambda path: os.truncate(path, path.stat().st_size // 2), "0.png"),
    "empty": (lambda path: os.truncate(path, 0), "0.png"),
    "that is a web page": (lambda path: path.write_text("<html>404</html>"), "0.png"),
    "that promises 60,000 x 60,000 pixels": (_huge, "0.png"),
}
LABELS: dict[str, tuple[Damage, str]] = {
    "with ids that are no class": (partial(_relabel, 200), "200"),
    "of another size": (lambda path: Image.new("L", (20, 20)).save(path), "0.png"),
    "in colour where ids are expected": (
        lambda path: Image.new("RGB", (48, 40)).save(path),
        "0.png",
    ),
}


def _training_file(folder: str, damage: Damage, word: str, bench: Bench) -> Outcome:
    for path in (bench.dataset.parent / folder).iterdir():
        damage(path)  # damage all files, because the order in which they are read is random
    (bench.dataset.parent / folder / "0.png").stat()
    return _refused(bench, bench.train(), word if word != "0.png" else ".png")


def _evaluation_picture(bench: Bench) -> Outcome:
    """Breaks a picture of the evaluation during a run, and repairs it before the run is resumed.

    A checkpoint must have been saved before the evaluation, and the resumed run must end normally.
    """
    content = yaml.safe_load(bench.dataset.read_text())
    pictures = sorted((bench.dataset.parent / "images").iterdir())
    lists = {"train": pictures[:6], "val": pictures[6:]}
    for split, paths in lists.items():
        text = "\n".join(path.stem for path in paths)
        (bench.dataset.parent / f"{split}.txt").write_text(text)
    content["splits"] = {split: f"{split}.txt" for split in lists}
    bench.dataset.write_text(yaml.safe_dump(content))
    kept = pictures[7].read_bytes()
    pictures[7].write_bytes(kept[:200])
    ended = bench.train()
    saved = (bench.run / "model_0000002.pth").is_file()
    pictures[7].write_bytes(kept)
    again = bench.train("--resume")
    good = ended.status == 2 and saved and again.status == 0 and pictures[7].name in ended.text
    lost = "nothing" if saved else "steps"
    happened = f"status {ended.status}; {ended.line[:90]}; --resume with it mended: {again.status}"
    return Outcome(happened, lost, good and not ended.traceback)


def _nested(levels: int) -> bytes:
    """Returns a few lines of YAML whose nested aliases stand for 10 to the ``levels`` words."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join([*lines, f"classes: *a{levels - 1}"]).encode()


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


DESCRIPTORS: dict[str, tuple[Damage, str]] = {
    "that is a pipe": (_replace_by_pipe, "a pipe"),
    "that is empty": (partial(_write, b""), "bands.yaml"),
    "that is a picture": (partial(_write, b"\x89PNG\r\n\x1a\n\xff\xfe"), "bands.yaml"),
    "of aliases of aliases": (partial(_write, _nested(12)), "bands.yaml"),
    "nested 5,000 levels deep": (partial(_write, b"[" * 5000 + b"]" * 5000), "bands.yaml"),
}


def _descriptor(change: Damage, word: str, bench: Bench) -> Outcome:
    change(bench.dataset)
    return _refused(bench, bench.train(), word)


def _loop(bench: Bench) -> None:
    folder = bench.dataset.parent
    (folder / "images" / "parent").symlink_to("..")
    (folder / "images" / "itself").symlink_to(".")


def _two_loops(bench: Bench) -> None:
    folder = bench.dataset.parent
    for name in ("one", "two"):
        (folder / "images" / name).symlink_to(folder, target_is_directory=True)


def _pipe_beside(bench: Bench) -> None:
    os.mkfifo(bench.dataset.parent / "images" / "pipe.png")


LINKS: dict[str, Callable[[Bench], None]] = {
    "links to the parent among the pictures": _loop,
    "two links to one folder above the pictures": _two_loops,
    "a pipe among the pictures": _pipe_beside,
}


def _same_as_without(make: Callable[[Bench], None], bench: Bench) -> Outcome:
    make(bench)
    ended = bench.train()
    same = bench.weights() == whole(bench)
    good = ended.status == 0 and same and not ended.traceback
    happened = f"status {ended.status}, {'the run of' if same else 'other than'} 8 pictures"
    return Outcome(happened, "nothing" if same else "the run", good)


def _shared(bench: Bench) -> Outcome:
    folder = bench.dataset.parent
    for kind in ("images", "labels"):
        (folder / kind / "again.png").symlink_to("0.png")
    (folder / "train.txt").write_text("0\n1\n2\n3\n")
    (folder / "val.txt").write_text("4\nagain\n")
    content = yaml.safe_load(bench.dataset.read_text())
    content["splits"] = {"train": "train.txt", "val": "val.txt"}
    bench.dataset.write_text(yaml.safe_dump(content))
    return _refused(bench, bench.train(), "again.png")


def _output_among_pictures(bench: Bench) -> Outcome:
    place = bench.dataset.parent / "images" / "run"
    outcome = _refused(bench, bench.train("OUTPUT_DIR", str(place)), "OUTPUT_DIR")
    return outcome._replace(good=outcome.good and not place.exists())


def _bomb(key: str, bench: Bench) -> Outcome:
    path = bench.folder / ("bomb.npz" if key.endswith("EMBEDDINGS") else "bomb.pth")
    member = "embeddings.npy" if key.endswith("EMBEDDINGS") else "archive/data.pkl"
    block = bytes(2**20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(member, "w", force_zip64=True) as file,
    ):
        for _ in range(1024):
            file.write(block)
    return _refused(bench, bench.train(key, str(path)), "unpack to")


def _rename_class(bench: Bench, name: str) -> None:
    content = yaml.safe_load(bench.dataset.read_text())
    content["classes"] = [name, *NAMES[1:]]
    bench.dataset.write_text(yaml.safe_dump(content))


def _clean(bench: Bench, ended: Ended) -> bool:
    """Returns whether the terminal and log.txt have no raw escape character and no forged line."""
    forged_line = FORGED.split("\n")[1]
    for text in (ended.text, bench.log()):
        if "\x1b" in text:
            return False
        if any(line.startswith(forged_line) for line in text.split("\n")):
            return False
    return True


def _control_class(bench: Bench) -> Outcome:
    _rename_class(bench, FORGED + ESCAPE)
    ended = bench.train()
    good = _clean(bench, ended) and not ended.traceback
    return Outcome(f"status {ended.status}; {ended.line[:110]}", "nothing", good)


def _control_file(bench: Bench) -> Outcome:
    for path in (bench.dataset.parent / "images").iterdir():
        path.write_bytes(b"no picture")
        name = f"{path.stem}{ESCAPE}.png"
        (bench.dataset.parent / "labels" / path.name).rename(bench.dataset.parent / "labels" / name)
        path.rename(path.with_name(name))
    ended = bench.train()
    outcome = _refused(bench, ended, ".png")
    return outcome._replace(good=outcome.good and _clean(bench, ended))


def _one_value(bench: Bench) -> Outcome:
    return _refused(bench, bench.train("SOLVER.IMS_PER_BATCH", "1"), "MODEL.BACKBONE.NORM FrozenBN")


def _allowed_with_warning(ended: Ended, word: str) -> Outcome:
    """Judges a training that must run to its end and give a warning with ``word`` in it."""
    warnings = [line for line in ended.text.splitlines() if "WARNING" in line and word in line]
    good = ended.status == 0 and bool(warnings) and not ended.traceback
    line = warnings[0] if warnings else ended.line
    return Outcome(f"status {ended.status}; {line[17:127]}", "nothing", good)


def _all_void(bench: Bench) -> Outcome:
    for path in (bench.dataset.parent / "labels").iterdir():
        _relabel(255, path)
    ended = bench.train("TEST.EVAL_PERIOD", "0", "DATASETS.TEST", "()")
    return _allowed_with_warning(ended, "void")


def _few_queries(bench: Bench) -> Outcome:
    ended = bench.train("MODEL.CLIPMASK.NUM_QUERIES", "2")
    return _allowed_with_warning(ended, "MODEL.CLIPMASK.NUM_QUERIES")


def _demo(bench: Bench, *words: str) -> Ended:
    """Runs clipmask-demo with the model of the undisturbed run."""
    whole(bench)
    weights = bench.folder.parent / "whole" / "run" / "model_final.pth"
    argv = ("--weights", str(weights), *words, "--device", "cpu")
    return bench.end(bench.start(*argv, command="demo.command"))


def _demo_pipe(bench: Bench) -> Outcome:
    _pipe_beside(bench)
    folder = bench.dataset.parent / "images"
    pictures = (str(folder / "pipe.png"), str(folder / "0.png"))
    ended = _demo(bench, "--input", *pictures, "--output", "out")
    made = len(list((bench.folder / "out").glob("*.png")))
    good = ended.status == 1 and made == 1 and "a pipe" in ended.text and not ended.traceback
    return Outcome(f"status {ended.status}; {ended.line[:110]}", "nothing", good)


def _kept(ended: Ended, path: Path, before: bytes) -> Outcome:
    """Judges a command that must keep an existing file and name the option --force."""
    kept = path.read_bytes() == before
    good = kept and ended.status == 2 and "--force" in ended.text and not ended.traceback
    lost = "nothing" if kept else "the file"
    return Outcome(f"status {ended.status}; {ended.line[:110]}", lost, good)


def _over_labels(link: bool, bench: Bench) -> Outcome:
    """Runs ``--save labels`` with the labels' folder as output, which has a file of that name."""
    truth = bench.dataset.parent / "labels" / "0_labels.png"
    source = bench.dataset.parent / "labels" / "0.png"
    if link:
        truth.symlink_to("0.png")
    else:
        truth.write_bytes(source.read_bytes())
    before = source.read_bytes()
    picture = str(bench.dataset.parent / "images" / "0.png")
    words = ("--input", picture, "--save", "labels", "--output", str(truth.parent))
    return _kept(_demo(bench, *words), source if link else truth, before)


def _over(command: str, words: tuple[str, ...], name: str, bench: Bench) -> Outcome:
    """Runs a command whose output file exists already."""
    path = bench.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"the user's")
    wants_folder = command == "data.command" and words[0] == "check"
    output = str(path.parent if wants_folder else path)
    ended = bench.end(bench.start(*words, "--output", output, command=command))
    return _kept(ended, path, b"the user's")


_WEIGHTS = ("--weights", "clipmask-street")
OVERWRITING: dict[str, Callable[[Bench], Outcome]] = {
    "demo --save labels": partial(_over_labels, False),
    "demo, through a link": partial(_over_labels, True),
    "embed": partial(_over, "embed", ("--names", "road"), "mine.npz"),
    "pack": partial(_over, "pack", _WEIGHTS, "mine.safetensors"),
    "export": partial(_over, "export", _WEIGHTS, "mine.onnx"),
    "data init": partial(_over, "data.command", ("init", "data"), "mine.yaml"),
    "data check": partial(_over, "data.command", ("check", "data/bands.yaml"), "out/report.json"),
}
