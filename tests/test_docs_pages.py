"""docs/getting_started.md, datasets.md and demo.md run as they stand, on drawn pictures and a
shortened training.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.data.toy.dataset import COLORS
from clipmask.weights.names import OWN_MODEL, shipped_model
from tests.conftest import ROOT
from tests.pages import SHORT, blocks, commands, quick_start_command, run

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
START, DATASETS, DEMO = (DOCS / f"{name}.md" for name in ("getting_started", "datasets", "demo"))
# Of the training's arguments, those that an evaluation takes too.
OFFLINE = SHORT[9:]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, quick_start: Path) -> Path:
    """A checkout with a trained toy model, a picture, a film, and 20 pictures whose label maps are
    in colours.
    """
    [command] = (command for command in commands(START) if "configs/toy.yaml" in command)
    assert shlex.split(command) == quick_start_command(), "which is run for this page too"
    place = tmp_path_factory.mktemp("own") / "checkout"
    folder = shutil.copytree(quick_start, place, symlinks=True)
    toy = folder / "datasets" / "toy_street"
    (folder / "street.jpg").write_bytes((toy / "val" / "0000.png").read_bytes())
    table = np.zeros((256, 3), np.uint8)
    table[: len(COLORS)] = list(COLORS.values())
    for kind in ("images", "labels"):
        (folder / "photos" / kind).mkdir(parents=True)
    for index in range(20):
        name = f"{index:04d}.png"
        shutil.copy(toy / "val" / name, folder / "photos" / "images" / name)
        labels = np.asarray(Image.open(toy / "valannot" / name))
        Image.fromarray(table[labels]).save(folder / "photos" / "labels" / name)
    (folder / "photos.yaml").write_text(blocks(DATASETS, "yaml")[0])
    Image.open(toy / "val" / "0001.png").save(folder / "aerial.tif")
    return folder


def shortened(command: str) -> list[str]:
    """A command of a page, as this checkout can run it: without the network, and for seconds."""
    words = shlex.split(command)
    if words[0].startswith("clipmask-"):
        words = ["python", "-m", words[0].replace("clipmask-", "clipmask.cli."), *words[1:]]
    if "train_net.py" not in words:
        return words
    words += OFFLINE if "--eval-only" in words else SHORT
    return [word for word in words if word != "photos.npz"] if "photos.npz" in words else words


def test_from_a_folder_to_a_result(workspace: Path) -> None:
    """The four commands of "Train on your own pictures"."""
    shutil.copy(workspace / "photos.yaml", workspace / "kept.yaml")
    (workspace / "photos.yaml").unlink()
    own = [command for command in commands(START) if "photos" in command]
    assert len(own) == 4
    told = [run(shortened(command), workspace) for command in own[:2]]
    assert "20 of 20 pictures have a label map" in told[0]
    assert "none of them stop training" in told[1]
    assert "class names without meaning" in told[1]  # which nobody has put in yet
    # what a person does: put the names in
    shutil.copy(workspace / "kept.yaml", workspace / "photos.yaml")
    told = [run(shortened(command), workspace) for command in own[2:]]
    assert "mIoU" in told[0]
    assert "20 pictures -> output/photos" in told[1]


def test_try_it(workspace: Path) -> None:
    assert f"models/{shipped_model(OWN_MODEL).name}" in run(
        shlex.split(commands(START)[1]), workspace
    )
    assert (workspace / "output" / "demo" / "street_overlay.png").is_file()
    later = next(command for command in commands(START) if "datasets/toy_street" in command)
    assert "60 pictures" in run(shlex.split(later), workspace)


@pytest.mark.parametrize(
    "command", [c for c in commands(DATASETS) if c.startswith("clipmask-data") and ".py" not in c]
)
def test_commands_about_data(command: str, workspace: Path) -> None:
    (workspace / "photos.yaml").write_text(blocks(DATASETS, "yaml")[0])
    run(shortened(command), workspace)
    if " init " in command:
        assert "road" in (workspace / "photos.yaml").read_text()


def test_training_on_a_descriptor(workspace: Path) -> None:
    (workspace / "photos.yaml").write_text(blocks(DATASETS, "yaml")[0])
    trained = [
        command
        for command in commands(DATASETS)
        if "--dataset photos.yaml" in command and "train_net" in command
    ]
    assert len(trained) == 4
    for command in trained[:2]:
        assert "started from" not in run(shortened(command), workspace)
    assert "pole" in run(shortened(trained[2]), workspace)


def test_embeddings_of_a_descriptor(
    workspace: Path, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with a small CLIP for the usual one, which would be downloaded; then the
    training takes them.
    """
    from clipmask.cli.embed import main

    (workspace / "photos.yaml").write_text(blocks(DATASETS, "yaml")[0])
    monkeypatch.chdir(workspace)
    command = next(
        command for command in commands(DATASETS) if command.startswith("clipmask-embed")
    )
    words = shlex.split(command)[1:]
    assert main([*words, "--model", "tiny-clip", "--pretrained", str(tiny_clip)]) == 0
    training = next(
        command
        for command in commands(DATASETS)
        if "photos.npz" in command and "train_net" in command
    )
    short = [word for word in SHORT if word != "random"]
    short.remove("MODEL.BACKBONE.WEIGHTS")
    short.remove("MODEL.CLIP.EMBEDDINGS")
    scratch = [
        "MODEL.WEIGHTS",
        "",
        "MODEL.BACKBONE.WEIGHTS",
        "random",
        "OUTPUT_DIR",
        "output/embedded",
    ]
    assert "mIoU" in run([*shlex.split(training), *short, *scratch], workspace)


def test_a_dataset_in_python(workspace: Path) -> None:
    (workspace / "my_data.py").write_text(blocks(DATASETS, "python")[0])
    own = [command for command in commands(DATASETS) if "my_data.py" in command]
    assert len(own) == 2
    assert "STOPS" not in run(shortened(own[0]), workspace)
    told = run([*shortened(own[1]), "OUTPUT_DIR", "output/my"], workspace)
    assert "my_val" in told
    assert "sidewalk;pavement" not in told, "a class is called by its first name"


def test_demo_commands(workspace: Path) -> None:
    """All of the page, one after the other."""
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    film = cv2.VideoWriter(
        str(workspace / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (256, 192)
    )
    for index in range(5):
        film.write(
            cv2.imread(str(workspace / "datasets" / "toy_street" / "val" / f"{index:04d}.png"))
        )
    film.release()
    for command in commands(DEMO):
        if command:
            assert "->" in run(shlex.split(command), workspace), command
    for name in (
        "few.png",
        "alone.png",
        "careful.png",
        "drive_segmented.mp4",
        "output/two",
        "output/compared",
        "results/aerial_labels.png",
        "results/aerial_overlay.png",
    ):
        assert (workspace / name).exists(), name
    assert len((workspace / "output" / "drive" / "drive.jsonl").read_text().splitlines()) == 3


def test_demo_in_python(workspace: Path) -> None:
    [code] = blocks(DEMO, "python")
    assert "street.jpg" in run(["python", "-c", code], workspace)
    assert (workspace / "street_labels.png").is_file()


def test_colors_of_the_page(workspace: Path) -> None:
    text = re.search(r"classes others:\n\n(.*?)\n\n", DEMO.read_text(), re.DOTALL)
    assert text is not None
    (workspace / "colors.yaml").write_text("\n".join(line.strip() for line in text[1].splitlines()))
    words = (
        "python demo/demo.py --input street.jpg --save color --colors colors.yaml --output"
        " colored.png"
    )
    run(shlex.split(words), workspace)
    seen = {
        color
        for _, color in Image.open(workspace / "colored.png").convert("RGB").getcolors(1 << 16)
    }
    assert {(128, 64, 128), (0x46, 0x82, 0xB4)} & seen


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
