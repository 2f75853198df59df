"""One that was stopped anywhere ends in the same bytes, and no run takes anything from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipmask.config import load_cfg
from clipmask.d2 import DatasetCatalog
from clipmask.engine import train as module
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.weights.checkpoint import load_checkpoint

from . import tiny
from .runs import (
    DEMANDING,
    files,
    metrics,
    stop_after,
    train_stopped_and_resumed,
    unreadable,
    without_config,
)

pytestmark = pytest.mark.usefixtures("tiny_root")


@pytest.mark.parametrize("steps", range(7))
def test_stopped_anywhere_and_resumed_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Path, steps: int
) -> None:
    folder = uninterrupted.with_name(f"stopped{steps}") / "run"
    monkeypatch.chdir(tmp_path)
    expected = load_checkpoint(uninterrupted / "model_final.pth")["config"]
    if steps == 6:  # the training is done, its evaluation not
        with monkeypatch.context() as patch:
            patch.setattr(
                module, "evaluate_datasets", _interrupt_last_evaluation(module.evaluate_datasets)
            )
            with pytest.raises(KeyboardInterrupt):
                train(tiny.tiny_cfg(folder, *DEMANDING))
        train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    else:
        train_stopped_and_resumed(folder, monkeypatch, steps, *DEMANDING)
    final = load_checkpoint(folder / "model_final.pth")
    assert final["config"].replace(str(folder), str(uninterrupted)) == expected
    assert without_config(folder / "model_final.pth") == without_config(
        uninterrupted / "model_final.pth"
    )
    assert metrics(folder) == metrics(uninterrupted)


def _interrupt_last_evaluation(original):
    def evaluate(cfg, model, fabric, folder=None):
        if folder is not None:
            raise KeyboardInterrupt
        return original(cfg, model, fabric, folder)

    return evaluate


def test_the_same_folder_name_gives_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, as the file lies on the disk."""
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "a":
            train(tiny.tiny_cfg("run", *DEMANDING))
        else:
            train_stopped_and_resumed(Path("run"), monkeypatch, 3, *DEMANDING)
        contents.append(
            [(Path("run") / file).read_bytes() for file in ("model_final.pth", "model_best.pth")]
        )
    assert contents[0] == contents[1]


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 8), resume=True)
    assert load_checkpoint(tmp_path / "model_final.pth")["iteration"] == 7
    assert [line["iteration"] for line in metrics(tmp_path)] == [1, 3, 5, 5, 7, 7]


def test_resuming_a_finished_run_only_evaluates_again(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before, lines = (tmp_path / "model_final.pth").read_bytes(), metrics(tmp_path)
    train(tiny.tiny_cfg(tmp_path), resume=True)
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert metrics(tmp_path) == lines


def test_resume_without_a_checkpoint_starts_with_a_note(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path), resume=True)
    assert "starting from the beginning" in (tmp_path / "log.txt").read_text()


def test_resume_keeps_a_drawn_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_stopped_and_resumed(tmp_path, monkeypatch, 3, "SEED", -1)
    first, last = (
        load_checkpoint(tmp_path / name) for name in ("model_0000001.pth", "model_final.pth")
    )
    assert first["seed"] == last["seed"] >= 0
    assert f"seed {first['seed']}" in (tmp_path / "log.txt").read_text()
    assert f"SEED: {first['seed']}" in (tmp_path / "config.yaml").read_text()


def test_a_new_run_is_kept_out_of_the_folder_of_another(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before = files(tmp_path)
    with pytest.raises(UserError, match="--resume.*--start-over"):
        train(tiny.tiny_cfg(tmp_path))
    (tmp_path / "last_checkpoint").rename(tmp_path.parent / "pointer")
    with pytest.raises(UserError, match="--resume.*--start-over"):
        train(tiny.tiny_cfg(tmp_path))
    (tmp_path.parent / "pointer").rename(tmp_path / "last_checkpoint")
    assert files(tmp_path) == before


def test_starting_over_moves_the_earlier_run_aside(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before = files(tmp_path)
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 2), start_over=True)
    after = files(tmp_path)
    assert {name: after[f"earlier_1/{name}"] for name in before} == before
    assert [line["iteration"] for line in metrics(tmp_path)] == [1, 1]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert "earlier_1" in (tmp_path / "log.txt").read_text()
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 2), start_over=True)
    assert (tmp_path / "earlier_2" / "model_final.pth").read_bytes() == after["model_final.pth"]
    with pytest.raises(UserError, match="say one of them"):
        train(tiny.tiny_cfg(tmp_path), start_over=True, resume=True)


def test_a_run_that_fails_at_its_start_takes_nothing_from_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before = files(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        train(tiny.tiny_cfg(tmp_path, "MODEL.WEIGHTS", "none.pth"), start_over=True)
    monkeypatch.setattr("clipmask.engine.train.training_step", unreadable)
    with pytest.raises(UserError, match="a bad file"):
        train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 8), resume=True)
    assert {name: files(tmp_path)[name] for name in before if name != "config.yaml"} == {
        name: content for name, content in before.items() if name != "config.yaml"
    }


def test_without_a_pointer_the_newest_checkpoint_is_resumed(
    tmp_path: Path, uninterrupted: Path
) -> None:
    folder = uninterrupted.with_name("pointerless") / "run"
    train(tiny.tiny_cfg(folder, *DEMANDING))
    for name in ("last_checkpoint", "model_final.pth"):
        (folder / name).unlink()
    train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    assert without_config(folder / "model_final.pth") == without_config(
        uninterrupted / "model_final.pth"
    )
    log = (folder / "log.txt").read_text()
    assert "last_checkpoint is missing" in log
    assert f"resumed from {folder / 'model_0000003.pth'}" in log


def test_of_a_damaged_last_checkpoint_the_one_before_is_resumed(
    tmp_path: Path, uninterrupted: Path
) -> None:
    folder = uninterrupted.with_name("damaged") / "run"
    train(tiny.tiny_cfg(folder, *DEMANDING))
    (folder / "model_final.pth").write_bytes(b"garbage")
    train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    assert without_config(folder / "model_final.pth") == without_config(
        uninterrupted / "model_final.pth"
    )
    warning = next(
        line for line in (folder / "log.txt").read_text().splitlines() if "WARNING" in line
    )
    assert f"{folder / 'model_final.pth'}: damaged" in warning
    assert str(folder / "model_0000003.pth") in warning


def test_weights_alone_can_not_be_resumed(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    (tmp_path / "last_checkpoint").write_text("model_best.pth")
    for path in tmp_path.glob("model_[0f]*.pth"):
        path.unlink()
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS"):
        train(tiny.tiny_cfg(tmp_path), resume=True)


def test_the_real_model_trains_and_resumes_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy config's model on the tiny dataset, twice, once stopped after two of three steps; on
    small crops.
    """
    data = tiny.settings("run")
    kept = (
        "DATASETS",
        "DATALOADER",
        "INPUT.SCALE_RANGE",
        "INPUT.MIN_SIZE_TEST",
        "OUTPUT_DIR",
        "MODEL.DEVICE",
    )
    opts = [
        str(word)
        for key, value in zip(data[::2], data[1::2], strict=True)
        if key.startswith(kept)
        for word in (key, value)
    ]
    opts += ["SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.IMS_PER_BATCH", "2"]
    opts += ["SOLVER.LOG_PERIOD", "1", "SOLVER.MAX_IMS_PER_DEVICE", "1", "SOLVER.EMA_DECAY", "0.5"]
    opts += ["INPUT.CROP.SIZE", "[64, 64]", "TEST.NUM_PICTURES", "1", "SEED", "1"]
    cfg = load_cfg(Path(__file__).resolve().parents[2] / "configs" / "toy.yaml", opts)
    contents = []
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "stopped":
            with monkeypatch.context() as patch:
                stop_after(patch, 2)
                with pytest.raises(KeyboardInterrupt):
                    train(cfg)
        train(cfg, resume=name == "stopped")
        contents.append((Path("run") / "model_final.pth").read_bytes())
    assert contents[0] == contents[1]


def _samples(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the file names that steps are made of, from now on."""
    original, names = module.training_step, []

    def noting(state, batch, solver):
        names.extend(Path(sample["file_name"]).name for sample in batch)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", noting)
    return names


def test_another_batch_size_skips_and_repeats_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 images: three steps of 4, then steps of 2 and of 6, are the first epochs in order."""
    with monkeypatch.context() as patch:
        whole = _samples(patch)
        train(tiny.tiny_cfg(tmp_path / "whole"))
    parts = []
    for steps, batch in ((2, 4), (5, 2), (6, 6)):
        with monkeypatch.context() as patch:
            names = _samples(patch)
            opts = ("SOLVER.MAX_ITER", steps, "SOLVER.IMS_PER_BATCH", batch)
            train(tiny.tiny_cfg(tmp_path / "parts", *opts), resume=steps > 2)
            parts += names
    assert len(parts) == 2 * 4 + 3 * 2 + 6
    assert parts == whole[:20]
    log = (tmp_path / "parts" / "log.txt").read_text()
    assert "SOLVER.IMS_PER_BATCH 4 -> 2" in log
    assert "SOLVER.IMS_PER_BATCH 2 -> 6" in log


def test_what_differs_is_said(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    opts = (
        "SOLVER.BASE_LR",
        0.001,
        "SOLVER.EMA_DECAY",
        0.5,
        "SOLVER.MAX_ITER",
        7,
        "DATALOADER.NUM_WORKERS",
        1,
    )
    train(tiny.tiny_cfg(tmp_path, *opts), resume=True)
    told = next(
        line for line in (tmp_path / "log.txt").read_text().splitlines() if "another config" in line
    )
    for words in (
        "SOLVER.BASE_LR 0.01 -> 0.001",
        "SOLVER.EMA_DECAY 0.0 -> 0.5",
        "SOLVER.MAX_ITER 6 -> 7",
    ):
        assert words in told
    assert "SEED" not in told


def test_a_run_resumed_as_it_was_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_stopped_and_resumed(tmp_path, monkeypatch, 3, "SEED", -1)
    assert "another config" not in (tmp_path / "log.txt").read_text()


def test_a_dataset_that_grew_is_mentioned(tmp_path: Path, tiny_root: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    tiny.register(tiny_root, prefix="grown")
    records = DatasetCatalog.get("tiny_train")
    DatasetCatalog.remove("grown_train")
    DatasetCatalog.register("grown_train", lambda: [*records, *records[:2]])
    opts = ("DATASETS.TRAIN", ("grown_train",), "SOLVER.MAX_ITER", 7)
    train(tiny.tiny_cfg(tmp_path, *opts), resume=True)
    assert "7 training images instead of 5" in (tmp_path / "log.txt").read_text()


def test_a_run_can_not_be_resumed_to_fewer_steps(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    with pytest.raises(UserError, match=r"SOLVER\.MAX_ITER 4.*6 steps"):
        train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 4), resume=True)
