"""docs/detectron2.md runs as it stands, where Detectron2 is installed, on a shortened training."""

from __future__ import annotations

import pickle
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import SHORT, blocks, checkout, commands, run

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "detectron2.md"
CODE = blocks(PAGE, "python")
REGISTERED = next(block for block in CODE if block.startswith("# my_data.py"))
SHORTENED = (
    "cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH = 3, 2\n"
    "cfg.INPUT.CROP.SIZE, cfg.DATALOADER.NUM_WORKERS = (64, 64), 0\n"
)


def test_the_page_names_every_option_of_both_commands() -> None:
    pytest.importorskip("detectron2")
    from detectron2.engine import default_argument_parser

    from clipmask.cli.train import build_parser

    table = PAGE.read_text().split("## The command line beside")[1].split("## ")[0]
    for parser in (build_parser(), default_argument_parser()):
        options = [name for action in parser._actions for name in action.option_strings]
        missing = [name for name in options if name.startswith("--") and f"`{name}`" not in table]
        assert missing == ["--help"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A checkout in which the toy config was trained, with weights of a ResNet-50 as Detectron2
    publishes them.
    """
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.modeling import build_backbone

    # not before the module is skipped: it takes most of a minute to draw
    scenes = request.getfixturevalue("scenes")
    folder = checkout(tmp_path_factory.mktemp("checkout"), scenes)
    run(
        ["python", "train_net.py", "--config-file", "configs/toy.yaml", *SHORT],
        folder,
        "detectron2",
    )
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]  # all stages
    weights = {name: value.numpy() for name, value in build_backbone(cfg).state_dict().items()}
    content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    (folder / "R-50.pkl").write_bytes(pickle.dumps(content))
    return folder


@pytest.fixture(scope="module")
def printed(workspace: Path) -> str:
    """What the page's Python prints, in one process, in the order of the page."""
    first, *others = [block for block in CODE if block is not REGISTERED]
    (workspace / "page.py").write_text("\n".join([first, SHORTENED, *others]))
    return run(["python", "page.py"], workspace, "detectron2")


def test_default_trainer(printed: str, workspace: Path) -> None:
    output = workspace / "output" / "detectron2"
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    assert "mBIoU" in printed, "our evaluator"
    assert "BoundaryIoU" not in (output / "metrics.json").read_text()
    for name in ("sem_seg_predictions.json", "confusion_matrix.csv"):
        assert (output / "inference" / "toy_street_sem_seg_val" / name).is_file()


def test_default_predictor_gives_the_same_map(printed: str) -> None:
    [share] = [float(line) for line in printed.splitlines() if line.replace(".", "").isdigit()]
    assert share > 0.999


@pytest.mark.usefixtures("printed")
def test_visualizer(workspace: Path) -> None:
    from PIL import Image

    assert Image.open(workspace / "output" / "detectron2" / "drawn.png").size == (256, 192)


@pytest.mark.usefixtures("printed")
def test_the_commands_take_its_checkpoint(workspace: Path) -> None:
    evaluation = next(command for command in commands(PAGE) if "--eval-only" in command)
    assert "mIoU" in run([*shlex.split(evaluation), *SHORT[9:]], workspace)
    demo = next(line for line in PAGE.read_text().splitlines() if "demo.py" in line).strip("`.")
    (workspace / "street.png").write_bytes(
        (workspace / "datasets/toy_street/val/0000.png").read_bytes()
    )
    assert "most frequent" in run(shlex.split(demo), workspace)


def test_a_dataset_of_detectron2s_catalog(workspace: Path) -> None:
    (workspace / "my_data.py").write_text(REGISTERED)
    command = next(command for command in commands(PAGE) if "--register" in command)
    told = run([*shlex.split(command), *SHORT, "OUTPUT_DIR", "output/my"], workspace, "detectron2")
    assert "my_val" in told
    assert "mIoU" in told


def _lines_that_run(script: str) -> list[list[str]]:
    """The arguments of each line of the page that runs a script of Detectron2's."""
    lines = PAGE.read_text().splitlines()
    return [
        shlex.split(line)[2:] for line in lines if line.startswith("python ../") and script in line
    ]


def test_lazyconfig_train_net_trains_and_scores_again(workspace: Path) -> None:
    """Detectron2's own script, as the page runs it; then its saved config with its weights."""
    import detectron2

    script = Path(detectron2.__file__).parents[1] / "tools" / "lazyconfig_train_net.py"
    if not script.is_file():
        pytest.skip("Detectron2 is installed without its repository, which has the script")
    train, evaluate = _lines_that_run(script.name)
    few = "train.max_iter=2 train.eval_period=2 dataloader.train.total_batch_size=2"
    few += " dataloader.train.num_workers=0 dataloader.test.num_workers=0"
    lines = (train + few.split(), evaluate)
    told = [run(["python", str(script), *one], workspace, "detectron2") for one in lines]
    scores = [re.search(r"copypaste: (\d[\d.,]+)", text) for text in told]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0][1] == scores[1][1]
