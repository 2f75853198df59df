"""The README's commands run as written, on a shortened training."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import SHORT, blocks, commands, run
from tests.terms import terms

pytestmark = pytest.mark.slow

README = ROOT / "README.md"
COMMANDS = commands(README)


@pytest.fixture(scope="module")
def workspace(quick_start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout after the quick start, for this module alone."""
    place = tmp_path_factory.mktemp("own") / "checkout"
    return shutil.copytree(quick_start, place, symlinks=True)


def test_the_test_command_is_the_one_of_ci() -> None:
    command = next(c for c in COMMANDS if "[test]" in c)
    install, test = (part.strip() for part in command.split("&&"))
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(test in line.split() for line in ci)
    assert install.replace("pip install", "pip install -q") in ci


def test_quick_start(workspace: Path) -> None:
    assert "mIoU" in (workspace / "printed.txt").read_text()
    output = workspace / "output" / "toy"
    for name in (
        "config.yaml",
        "log.txt",
        "metrics.json",
        "last_checkpoint",
        "model_best.pth",
        "model_final.pth",
    ):
        assert (output / name).is_file(), name
    assert list((output / "pictures").rglob("*.png"))
    assert (workspace / "datasets" / "toy_street" / "VERSION").is_file()


def test_evaluate(workspace: Path) -> None:
    command = next(c for c in COMMANDS if "--eval-only" in c)
    output = run([*shlex.split(command), *SHORT[9:]], workspace)
    for word in ("road", "pedestrian", "mIoU", "fwIoU", "mACC", "pACC", "mBIoU"):
        assert word in output
    written = workspace / "output" / "toy" / "inference" / "toy_street_sem_seg_val"
    for name in ("sem_seg_predictions.json", "confusion_matrix.csv", "confusion_matrix.png"):
        assert (written / name).is_file(), name


def test_predict_pictures(workspace: Path) -> None:
    run(
        shlex.split(next(c for c in COMMANDS if "demo.py" in c and "--input datasets/" in c)),
        workspace,
    )
    assert len(list((workspace / "output" / "demo").rglob("*.png"))) >= 60


def test_the_model_that_comes_along(workspace: Path) -> None:
    """The README's first demo, on the photograph of a street that comes with it."""
    told = run(
        shlex.split(next(c for c in COMMANDS if "demo.py --input demo/street.jpg" in c)), workspace
    )
    assert re.search(r"most frequent: building 5\d\.\d%, sky 2\d\.\d%,", told)
    assert (workspace / "street_segmented.png").is_file()


def test_pack(workspace: Path) -> None:
    run(shlex.split(next(c for c in COMMANDS if "clipmask.cli.pack" in c)), workspace)
    command = [
        "python",
        "demo/demo.py",
        "--weights",
        "toy.safetensors",
        "--input",
        "demo/street.jpg",
        "--output",
        "toy.png",
    ]
    run(command, workspace)
    assert (workspace / "toy.png").is_file()


def test_predict_film(workspace: Path) -> None:
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    film = cv2.VideoWriter(
        str(workspace / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (256, 192)
    )
    for index in range(5):
        film.write(
            cv2.imread(str(workspace / "datasets" / "toy_street" / "val" / f"{index:04d}.png"))
        )
    film.release()
    run(shlex.split(next(c for c in COMMANDS if "--video-input" in c)), workspace)
    written = cv2.VideoCapture(str(workspace / "drive_segmented.mp4"))
    assert sum(1 for _ in iter(lambda: written.read()[0], False)) == 5


def test_predict_with_views(workspace: Path) -> None:
    run(shlex.split(next(c for c in COMMANDS if "--tta" in c)), workspace)
    assert (workspace / "careful.png").is_file()


def test_predict_in_python(workspace: Path) -> None:
    codes = [block for block in blocks(README, "python") if "Predictor" in block]
    assert len(codes) == 2
    for code in codes:
        run(["python", "-c", code], workspace)
        assert (workspace / "overlay.png").is_file()
        (workspace / "overlay.png").unlink()


def test_embeddings(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and with a small CLIP for the one that it names, which would be
    downloaded.
    """
    from clipmask.cli.embed import main
    from clipmask.text.sources import FileSource

    monkeypatch.chdir(tiny_clip.parent)
    words = shlex.split(next(c for c in COMMANDS if "clipmask.cli.embed" in c))
    own = {"ViT-B-16": "tiny-clip", "openai": str(tiny_clip)}
    assert main([own.get(word, word) for word in words[3:]]) == 0
    assert FileSource("mine.npz").encode(terms(["sky", "car;automobile", "road"])).shape == (3, 24)


def test_own_dataset(workspace: Path) -> None:
    (workspace / "my_data.py").write_text(
        next(block for block in blocks(README, "python") if "DatasetCatalog.register" in block)
    )
    toy = workspace / "datasets" / "toy_street"
    (workspace / "my").mkdir()
    from PIL import Image

    for split in ("train", "val"):
        for kind in ("", "_labels"):
            (workspace / "my" / f"{split}{kind}").mkdir()
        for index in range(100):
            source = f"{index % 60:04d}.png"
            Image.open(toy / split / source).convert("RGB").save(
                workspace / "my" / split / f"{index}.jpg"
            )
            labels = Image.open(toy / f"{split}annot" / source).point(
                lambda value: value % 3 if value != 255 else 255
            )
            labels.save(workspace / "my" / f"{split}_labels" / f"{index}.png")
    command = shlex.split(next(c for c in COMMANDS if "--register" in c))
    narrow = [
        "MODEL.BACKBONE.TIMM_NAME",
        "resnet10t",
        "MODEL.CLIPMASK.HIDDEN_DIM",
        "32",
        "OUTPUT_DIR",
        "output/my",
    ]
    told = run([*command, *SHORT, *narrow], workspace)
    assert "\ncar " in told
    assert "car;automobile" not in told, "a class is called by its first name"


def test_detectron2_lines() -> None:
    """The three lines, where Detectron2 is installed, on a config without downloads."""
    pytest.importorskip("detectron2")
    code = next(block for block in blocks(README, "python") if "detectron2" in block)
    offline = (
        'cfg.MODEL.BACKBONE.WEIGHTS = "random"; cfg.MODEL.CLIP.EMBEDDINGS = "random";'
        ' cfg.MODEL.DEVICE = "cpu"\n'
    )
    code = code.replace("model = build_model", f"{offline}model = build_model")
    run(["python", "-c", code], ROOT, "detectron2")


def test_report_for_a_bug() -> None:
    assert "[devices]" in run(shlex.split(next(c for c in COMMANDS if "clipmask.env" in c)), ROOT)


def test_every_command_is_run_here() -> None:
    """A command that is added to the README needs a test above."""
    run_here = (
        "pip install",
        "--eval-only",
        "--input",
        "--video-input",
        "--register",
        "clipmask.cli.",
        "clipmask.env",
    )
    elsewhere = commands(ROOT / "docs" / "getting_started.md")  # run by test_docs_pages.py
    others = [
        c for c in COMMANDS if c and c not in elsewhere and not any(word in c for word in run_here)
    ]
    # Training on CamVid needs its data: the commands are those of the quick start with another
    # config.
    assert all("configs/camvid/clipmask_mobilenetv2.yaml" in command for command in others)
    assert len(others) == 2


def test_nothing_is_left_to_fill_in() -> None:
    texts = [README.read_text(), *(path.read_text() for path in (ROOT / "configs").rglob("*.yaml"))]
    assert not [text for text in texts if re.search(r"[A-Z]+SCORE|RESULTS|[A-Z]+TIME|T[O]DO", text)]


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
