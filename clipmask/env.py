"""``python -m clipmask.env``: what a bug report needs to say about the machine, as text to paste."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipmask.errors import UserError

# Distributions in the order of setup.cfg, and what else may be there; a test compares.
PACKAGES = (
    *("clipmask", "torch", "torchvision", "lightning-fabric", "timm", "open_clip_torch", "fvcore", "iopath", "yacs"),
    *("pyyaml", "numpy", "scipy", "safetensors", "pycocotools", "Pillow", "matplotlib", "opencv-python", "tqdm"),
    "tensorboard",
)
OPTIONAL = ("detectron2", "opencv-python-headless", "cityscapesscripts")
# Variables that change what ClipMask or its libraries do. No others are printed: a report is pasted in public.
VARIABLES = (
    *("CLIPMASK_D2", "CLIPMASK_CACHE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("HF_HUB_OFFLINE", "PYTORCH_CUDA_ALLOC_CONF", "NCCL_P2P_DISABLE", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"),
)
Rows = Iterator[tuple[str, str]]


def report() -> str:
    """Returns the report: sections of aligned lines; what fails in one becomes a line of it."""
    sections: dict[str, Callable[[], Rows]] = {
        "ClipMask": _clipmask,
        "system": _system,
        "versions": _versions,
        "devices": _devices,
        "datasets": _datasets,
        "caches": _caches,
    }
    told = {title: list(_guarded(rows)) for title, rows in sections.items()}
    width = max(len(name) for rows in told.values() for name, _ in rows) + 2
    paragraphs = (
        "\n".join([f"[{title}]", *(f"{name:<{width}}{value}".rstrip() for name, value in rows)])
        for title, rows in told.items()
    )
    return "\n\n".join(paragraphs)


def _guarded(rows: Callable[[], Rows]) -> Rows:
    """A broken library is what a report is for: its exception ends the section, not the report."""
    try:
        yield from rows()
    except UserError:
        yield "not known", "without Detectron2's names, see above"
    except Exception as error:
        yield "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


def _clipmask() -> Rows:
    yield "installed at", _short(Path(__file__).parent)
    try:
        d2 = importlib.import_module("clipmask.d2")
    except UserError as error:
        yield "Detectron2's names", f"from nowhere: {error}"
        return
    if d2.IMPLEMENTATION == "builtin":
        yield "Detectron2's names", "from clipmask.builtin"
        return
    detectron2 = importlib.import_module("detectron2")
    yield "Detectron2's names", f"from {_short(Path(detectron2.__file__ or '?').parent)}, {detectron2.__version__}"
    compiled = importlib.util.find_spec("detectron2._C") is not None
    yield "its operators", "compiled" if compiled else "not compiled (ClipMask needs none)"


def _system() -> Rows:
    yield "python", f"{platform.python_version()} ({_short(Path(sys.executable))})"
    yield "platform", platform.platform()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "cores", f"{cores} for this process"
    for variable in VARIABLES:
        if variable in os.environ:
            yield variable, _short(os.environ[variable]) or "(empty)"


def _versions() -> Rows:
    for package in (*PACKAGES, *OPTIONAL):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            if package in PACKAGES:
                yield package, "not installed"


def _devices() -> Rows:
    import torch

    yield "torch built for CUDA", torch.version.cuda or "no"
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    yield "cuDNN", str(cudnn or "no")
    count = torch.cuda.device_count()
    for index in range(count):
        device = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, {device.major}.{device.minor}"
    if count:
        yield "bf16 on CUDA", "yes" if torch.cuda.is_bf16_supported() else "no"
    else:
        yield "CUDA devices", "none"
    yield "mps", "yes" if torch.backends.mps.is_available() else "no"
    yield "torch's CPU threads", f"{torch.get_num_threads()}, {torch.backends.cpu.get_cpu_capability()}"


def _datasets() -> Rows:
    from clipmask.data.datasets import FOLDERS
    from clipmask.data.datasets.roots import VARIABLES as ROOT_VARIABLES
    from clipmask.data.datasets.roots import dataset_roots

    for variable in ROOT_VARIABLES:
        yield variable, _short(os.environ.get(variable) or "not set")
    for root in dataset_roots():
        yield "root", f"{_short(root.absolute())}{'' if root.is_dir() else ' (missing)'}"
    for name in FOLDERS:
        found = [root / name for root in dataset_roots() if (root / name).is_dir()]
        yield name, _short(found[0].absolute()) if found else "not found"


def _caches() -> Rows:
    from clipmask.modeling.text_sources import cache_folder

    home = Path.home() / ".cache"
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    places = {
        "hub (timm, open_clip)": Path(hub) if hub else Path(os.environ.get("HF_HOME") or home / "huggingface") / "hub",
        "open_clip's own files": home / "clip",
        "torch hub": Path(os.environ.get("TORCH_HOME") or home / "torch") / "hub",
        "text embeddings": cache_folder(),
    }
    for name, folder in places.items():
        yield name, f"{_short(folder)} ({_content(folder)})"


def _content(folder: Path) -> str:
    """Says how much lies in a folder, links counted once, as a hub's cache has them."""
    if not folder.is_dir():
        return "missing"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return f"{len(files)} file{'s' * (len(files) != 1)}, {sum(path.stat().st_size for path in files) / 2**20:.1f} MiB"


def _short(place: str | Path) -> str:
    """Writes the user's own folder, whose name is nobody's business, as ~."""
    return str(place).replace(os.path.expanduser("~"), "~", 1)


def main() -> int:
    """Prints the report; returns 0."""
    print(report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
