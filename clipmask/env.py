"""``python -m clipmask.env`` and ``clipmask-env``: what a bug report needs to say about the
machine, as text to paste.

It comes out of a broken machine too: what can't be found out is a line that says why. It is pasted
in public: of the environment it prints the variables that it knows by name and no others, and the
user's own folder is ``~``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import clipmask
from clipmask.program import program_name

# The distributions of setup.cfg with the least version that will do; a test compares.
REQUIRED = {
    "torch": "2.4",
    "torchvision": "0.19",
    "lightning-fabric": "2.3",
    "timm": "1.0.9",
    "open_clip_torch": "2.24",
    "fvcore": "0.1.5",
    "iopath": "0.1.9",
    "yacs": "0.1.8",
    "pyyaml": "6",
    "numpy": "1.24",
    "scipy": "1.10",
    "safetensors": "0.4",
    "pycocotools": "2.0.7",
    "Pillow": "10",
    "matplotlib": "3.7",
    "opencv-python": "4.8",
    "tqdm": "4.65",
    "tensorboard": "2.14",
}
OPTIONAL = (
    "detectron2",
    "huggingface_hub",
    "gradio",
    "opencv-python-headless",
    "cityscapesscripts",
)
OWN_VARIABLES = (
    "CLIPMASK_D2",
    "CLIPMASK_CACHE",
    "CLIPMASK_DATASETS",
    "CLIPMASK_FONT",
    "CLIPMASK_TEST_DATA",
)
# Variables that change what the libraries do.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "PYTORCH_CUDA_ALLOC_CONF",
    "HF_HUB_OFFLINE",
    "NCCL_P2P_DISABLE",
    "TORCHELASTIC_RUN_ID",
    "SLURM_JOB_ID",
)
Rows = Iterator[tuple[str, str]]


def report() -> str:
    """Returns the report: sections of aligned lines.

    For a process of its own: where Detectron2 is broken, the rest of the report uses
    ``clipmask.builtin`` in its place, and sets ``CLIPMASK_D2`` accordingly.
    """
    sections: dict[str, Callable[[], Rows]] = {
        "clipmask": _clipmask,
        "system": _system,
        "versions": _versions,
        "devices": _devices,
        "datasets": _datasets,
        "bundled models": _models,
        "weight caches": _caches,
    }
    found = {title: list(_guarded(rows)) for title, rows in sections.items()}
    width = 2 + max(len(name) for rows in found.values() for name, _ in rows)
    paragraphs = []
    for title, rows in found.items():
        lines = [f"{name:<{width}}{value}" for name, value in rows]
        paragraphs.append("\n".join([f"[{title}]", *lines]))
    return _without_home("\n\n".join(paragraphs))


def _guarded(rows: Callable[[], Rows]) -> Rows:
    """Yields a section's rows; what raises in it ends the section with a row, and not the
    report.
    """
    try:
        yield from rows()
    except Exception as error:
        yield "failed", _line(error)


def _line(error: Exception) -> str:
    """An exception as one line of bounded length, whatever the library wrote."""
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, clipmask.UserError) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 500 else f"{text[:500]} ...")


def _without_home(text: str) -> str:
    """Writes the user's own folder, which often bears a name, as ``~``, also where a link leads to
    it.
    """
    try:
        home = Path.home()
        homes = {str(home), str(home.resolve())} - {home.anchor}
    except (OSError, RuntimeError):  # a user without one
        return text
    for place in sorted(homes, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.~-]){re.escape(place)}(?![\w.-])", "~", text)
    return text


def _output(*command: str) -> str | None:
    """Returns what a program prints, as one line, or None where it is missing or does not end."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        result = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    text = ", ".join(
        dict.fromkeys(line.strip() for line in result.stdout.splitlines() if line.strip())
    )
    if result.returncode:
        return f"{command[0]} fails: {text[:200]}"
    return text


def _clipmask() -> Rows:
    folder = Path(__file__).parent
    yield "lies at", str(folder)
    try:
        installed = version("clipmask")
    except PackageNotFoundError:
        installed = None
    own = clipmask.__version__
    names = {own: own, None: f"{own}, not installed, only importable"}
    yield "version", names.get(installed, f"{own}, beside an installed {installed}")
    if (folder.parent / ".git").exists():
        options = ("--always", "--dirty", "--exclude=*")
        yield "commit", _output("git", "-C", str(folder), "describe", *options) or "?"
    yield "CLIPMASK_D2", os.environ.get("CLIPMASK_D2") or "not set"
    if clipmask._failure is not None:
        yield "can't be used", _line(clipmask._failure)
        os.environ["CLIPMASK_D2"] = "builtin"
    elif importlib.import_module("clipmask.d2").IMPLEMENTATION == "builtin":
        yield "Detectron2's names", "from clipmask.builtin"
    else:
        detectron2 = importlib.import_module("detectron2")
        place = Path(detectron2.__file__ or "?").parent
        number = getattr(detectron2, "__version__", "of unknown version")
        yield "Detectron2's names", f"from {place}, {number}"
        compiled = "compiled"
        if importlib.util.find_spec("detectron2._C") is None:
            compiled = "not compiled (ClipMask needs it nowhere)"
        yield "detectron2._C", compiled


def _system() -> Rows:
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    for name in (*OWN_VARIABLES[1:], *VARIABLES):
        if name in os.environ:
            yield name, os.environ[name] or "(empty)"
    for name in sorted(os.environ):
        if name.startswith("CLIPMASK_") and name not in OWN_VARIABLES:
            yield name, "is set, but nothing reads it"


def _versions() -> Rows:
    for package, least in REQUIRED.items():
        try:
            found = version(package)
            fits = _numbers(found) >= _numbers(least)
        except PackageNotFoundError:
            found, fits = "not installed", False
        yield package, found if fits else f"{found} (at least {least} is needed)"
    for package in OPTIONAL:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a release, to compare by: (2, 4, 0) of 2.4.0+cu121."""
    release = re.sub(r"[^\d.].*", "", text)
    numbers = [int(number) for number in release.split(".") if number]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _devices() -> Rows:
    import torch

    from clipmask.data.cores import usable_cores

    cuda, hip = torch.version.cuda, torch.version.hip
    builds = [f"{name} {version}" for name, version in (("CUDA", cuda), ("ROCm", hip)) if version]
    yield "torch is built for", (builds or ["no CUDA"])[0]
    cudnn = torch.backends.cudnn
    yield "cuDNN", str(cudnn.version()) if cudnn.is_available() else "no"
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    if driver:
        yield "NVIDIA's driver", driver
    with warnings.catch_warnings(record=True) as said:  # they tell of a driver that is too old
        warnings.simplefilter("always")
        usable, count = torch.cuda.is_available(), torch.cuda.device_count()
    if not usable:
        reasons = [_line(clipmask.UserError(str(warning.message))) for warning in said]
        yield "cuda", ": ".join(["no device that torch can use", *dict.fromkeys(reasons)])
    for index in range(count):
        yield from _guarded(functools.partial(_gpu, index))
    yield "mps", "yes" if torch.backends.mps.is_available() else "no"
    capability = torch.backends.cpu.get_cpu_capability()
    threads = f"torch's threads: {torch.get_num_threads()}"
    yield "cpu", f"{capability}, cores for this process: {usable_cores()}, {threads}"


def _gpu(index: int) -> Rows:
    import torch

    device = torch.cuda.get_device_properties(index)
    bf16 = "bf16" if torch.version.hip or device.major >= 8 else "bf16 only emulated"
    memory = f"{device.total_memory / 2**30:.0f} GiB"
    capability = f"capability {device.major}.{device.minor}"
    yield f"cuda:{index}", f"{device.name}, {memory}, {capability}, {bf16}"


def _datasets() -> Rows:
    from clipmask.data.datasets import FOLDERS
    from clipmask.data.datasets.roots import FALLBACK, VARIABLES, dataset_roots

    roots = dataset_roots()
    named = dict(zip([name for name in VARIABLES if os.environ.get(name)], roots, strict=False))
    for name in VARIABLES:
        yield name, _place(named[name]) if name in named else "not set"
    yield f"./{FALLBACK}", _place(FALLBACK)
    for folder, content in FOLDERS.items():
        places = [root.absolute() / folder for root in roots if (root / folder).is_dir()]
        whole = next((place for place in places if (place / content).exists()), None)
        if whole or not places:
            yield folder, str(whole or "not found")
        else:
            yield folder, f"{places[0]}, without {content}"


def _models() -> Rows:
    from clipmask.weights.checkpoint import load_checkpoint
    from clipmask.weights.licenses import checkpoint_licenses, phrase
    from clipmask.weights.names import MODELS, shipped_model

    for name in MODELS:
        licenses = phrase(checkpoint_licenses(load_checkpoint(name)))
        yield name, f"{shipped_model(name)} ({licenses})"


def _caches() -> Rows:
    places: dict[str, Callable[[], str | Path]] = {
        "hub (timm, open_clip)": lambda: (
            importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE
        ),
        "open_clip's own files": lambda: Path.home() / ".cache" / "clip",
        "torch hub": lambda: importlib.import_module("torch.hub").get_dir(),
        "text embeddings": lambda: importlib.import_module("clipmask.text.sources").cache_folder(),
    }
    for name, find in places.items():
        try:
            yield name, _content(Path(find()))
        except Exception as error:  # of one library; those of the others are reported
            yield name, _line(error)


def _place(folder: Path) -> str:
    """Returns the path of a folder, and says so if it is missing."""
    if folder.is_dir():
        return str(folder.absolute())
    return f"{folder.absolute()} (missing)"


def _content(folder: Path) -> str:
    """Returns the path of a folder with its number of entries and the size of all files in it.

    Links are not followed.
    """
    if not folder.is_dir():
        return _place(folder)
    entries = len(list(folder.iterdir()))
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                if not path.is_symlink():
                    size += path.stat().st_size
            except OSError:  # gone in the meantime
                continue
    what = "entry" if entries == 1 else "entries"
    return f"{folder} ({entries} {what}, {size / 2**20:.1f} MiB)"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report.

    Args:
        argv: arguments without the program's name, of which there are none but ``--help``; None
            takes ``sys.argv``.

    Returns:
        0, whatever is broken.
    """
    about = "Print what a bug report needs to say about this machine."
    argparse.ArgumentParser(prog=program_name(), description=about).parse_args(argv)
    encoding = sys.stdout.encoding or "utf-8"
    # paths may hold what a terminal can't show
    print(report().encode(encoding, "backslashreplace").decode(encoding))
    return 0


if __name__ == "__main__":
    sys.exit(main())
