"""What every test starts from: a fixed seed, one thread, small models, and the real data where
there is any.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported, and for the processes that tests start: tensors as small as theirs gain
# nothing from more threads, and on a busy machine threads wait for one another many times longer
# than they work.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell starts jobs in the background with Ctrl-C ignored, and so would every process that a test
# starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest
import torch
from fvcore.common.config import CfgNode

from clipmask import ClipMask, build_model, load_cfg
from clipmask.d2 import DatasetCatalog, MetadataCatalog

ROOT = Path(__file__).resolve().parents[1]
# The same examples at every run, however long they take: whether a change is green must be a matter
# neither of luck nor of the machine's speed.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")
NAMES = ("road", "sky", "tree", "car", "pole")
Register = Callable[..., str]
# seconds that a process of a test may take: a limit ends a hang, and fails on no slow machine
PATIENCE = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that hold slow tests first, so that no process works long after the others
    have ended.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def write_clip(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """Tells open_clip of a small model and writes random weights for it.

    Args:
        name: of the model.
        folder: where ``{name}.pt`` goes, and the cache of embeddings.
        monkeypatch: takes open_clip's knowledge back after the test.
        changes: of the model's description; ``text_cfg`` is merged into the usual one.
    """
    import open_clip

    monkeypatch.setenv("CLIPMASK_CACHE", str(folder / "cache"))
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    parts = {
        "text_cfg": text | changes.pop("text_cfg", {}),
        "vision_cfg": vision | changes.pop("vision_cfg", {}),
    }
    config = {"embed_dim": 24, **parts, **changes}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    torch.manual_seed(0)
    torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real pictures, embeddings and weights; CI and developers set CLIPMASK_TEST_DATA, users need
    not.
    """
    folder = os.environ.get("CLIPMASK_TEST_DATA")
    if not folder:
        pytest.skip("CLIPMASK_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture
def catalogs() -> Iterator[None]:
    """Takes back the datasets that a test registers."""
    known = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run share, for what only one of them makes, under a
    lock.
    """
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session")
def quick_start(common: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's look-alike after the README's quick start, shortened and without its
    installation, which runs once for all processes of a test run; ``printed.txt`` is what it
    printed. For reading only: whoever writes takes a copy.
    """
    from filelock import FileLock

    from tests.pages import run_quick_start

    done = common / "quick_start"
    with FileLock(common / "quick_start.lock"):
        if not done.exists():
            run_quick_start(tmp_path_factory.mktemp("checkout")).rename(done)
    return done


@pytest.fixture(scope="session")
def scenes(quick_start: Path) -> Path:
    """The folder of toy_street, as the quick start has drawn it."""
    return quick_start / "datasets" / "toy_street"


@pytest.fixture
def tiny_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of a CLIP small enough for a test, as a local file; open_clip knows its name,
    tiny-clip.
    """
    return write_clip("tiny-clip", tmp_path, monkeypatch)


# As narrow as the toy config's model goes, with the smallest of timm's ResNets.
NARROW = ["MODEL.CLIPMASK.HIDDEN_DIM", "16", "MODEL.CLIPMASK.NUM_HEADS", "2"]
NARROW += ["MODEL.CLIPMASK.FFN_DIM", "32", "MODEL.CLIPMASK.NUM_QUERIES", "8"]
NARROW += ["MODEL.BACKBONE.TIMM_NAME", "test_resnet"]


@pytest.fixture
def small_cfg() -> CfgNode:
    """The toy config, narrower still."""
    return load_cfg(ROOT / "configs" / "toy.yaml", [*NARROW, "MODEL.CLIPMASK.DEC_LAYERS", "3"])


@pytest.fixture
def small_model(small_cfg: CfgNode) -> ClipMask:
    """A model of a few thousand weights over five classes, in evaluation mode."""
    return build_model(small_cfg, NAMES).eval()


@pytest.fixture
def make_inputs() -> Callable[..., list[dict[str, Any]]]:
    """Makes inputs of given sizes with blocky random labels, some of them void (255)."""

    def make(
        *sizes: tuple[int, int], classes: int = len(NAMES), seed: int = 0
    ) -> list[dict[str, Any]]:
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for height, width in sizes:
            coarse = torch.randint(
                0, classes + 1, (height // 16 + 1, width // 16 + 1), generator=generator
            )
            labels = coarse.repeat_interleave(16, 0).repeat_interleave(16, 1)[:height, :width]
            image = torch.randint(
                0, 256, (3, height, width), generator=generator, dtype=torch.uint8
            )
            inputs.append(
                {
                    "image": image,
                    "sem_seg": labels.masked_fill(labels == classes, 255).to(torch.uint8),
                }
            )
        return inputs

    return make


@pytest.fixture
def d2(request: pytest.FixtureRequest) -> Any:
    """One implementation of the eight names, see tests/contract.py."""
    from tests.contract import implementation

    return implementation(request.param)


@pytest.fixture
def register() -> Iterator[Register]:
    """Registers dataset dicts under a new name, which it returns; taken back after the test."""
    names: list[str] = []
    numbers = itertools.count()

    def add(records: list[dict[str, Any]], **metadata: Any) -> str:
        names.append(f"tests_data_{next(numbers)}")
        DatasetCatalog.register(names[-1], lambda: records)
        MetadataCatalog.get(names[-1]).set(**metadata)
        return names[-1]

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def checkpoint(tmp_path: Path, small_cfg: CfgNode) -> Path:
    """A checkpoint of a small random model, as a training leaves it."""
    from tests.checkpoints import write_checkpoint  # which imports this file

    return write_checkpoint(tmp_path / "model.pth", small_cfg)


@pytest.fixture(scope="session")
def exported(common: Path) -> tuple[Path, Path]:
    """A checkpoint of a small random model, and the ONNX file made of it, for any size and any
    vocabulary; made once for all processes of a test run.
    """
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from filelock import FileLock

    checkpoint, file = (common / "exported" / name for name in ("model.pth", "model.onnx"))
    with FileLock(common / "exported.lock"):
        if not file.exists():  # it comes whole, and last
            _export(checkpoint, file)
    return checkpoint, file


def _export(checkpoint: Path, file: Path) -> None:
    from clipmask.cli.export import main
    from tests.checkpoints import write_checkpoint

    opts = [*NARROW, "MODEL.CLIPMASK.DEC_LAYERS", "1", "INPUT.MIN_SIZE_TEST", "0"]
    opts += ["MODEL.CLIPMASK.SCALES", "['res4', 'res5']", "MODEL.CLIPMASK.MAX_IMAGE_KEYS", "20"]
    opts += ["MODEL.CLIPMASK.TEXT_QUERIES", "True", "MODEL.BACKBONE.TIMM_NAME", "resnet10t"]
    write_checkpoint(checkpoint, load_cfg(ROOT / "configs" / "toy.yaml", opts))
    words = ["--weights", str(checkpoint), "--output", str(file), "--free-vocabulary", "--force"]
    assert main(words) == 0
