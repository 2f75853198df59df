"""A run leaves what its users expect, and one that was stopped anywhere ends in the same bytes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from clipmask.config import load_cfg
from clipmask.engine import train as module
from clipmask.engine.state import TrainingState
from clipmask.engine.step import training_step
from clipmask.engine.train import train
from clipmask.errors import UserError
from clipmask.modeling import build_model
from clipmask.weights.checkpoint import load_checkpoint

from . import tiny

pytestmark = pytest.mark.usefixtures("tiny_root")
TIMES = {"time", "data_time", "img/s", "eta_seconds"}
DEMANDING = [  # everything that a resumed run could get wrong
    *("SOLVER.EMA_DECAY", 0.5, "MODEL.CLIPMASK.DROPOUT", 0.3, "MODEL.BACKBONE.NORM", "BN"),
    *("SOLVER.MAX_IMS_PER_DEVICE", 3, "SOLVER.CLIP_GRADIENTS.ENABLED", True, "TEST.EVAL_PERIOD", 2),
    *("SOLVER.LOG_PERIOD", 3),
]


def _metrics(folder: Path) -> list[dict]:
    """The lines of metrics.json without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Lets ``steps`` steps happen, and then no more."""
    original, left = module.training_step, [steps]

    def step(*args: object):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*args)

    monkeypatch.setattr(module, "training_step", step)


def _train_stopped_and_resumed(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int, *opts: object) -> None:
    with monkeypatch.context() as patch:
        _stop_after(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            train(tiny.tiny_cfg(folder, *opts))
    assert f"interrupted after step {steps} of" in (folder / "log.txt").read_text()
    torch.rand(13)  # whatever the process draws between must not matter
    train(tiny.tiny_cfg(folder, *opts), resume=True)


def test_the_output_folder_is_what_users_of_detectron2_expect(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("config.yaml", "log.txt", "metrics.json", "last_checkpoint", "model_0000001.pth", "model_0000003.pth",
                 "model_final.pth", "model_best.pth", "inference/tiny_val/sem_seg_predictions.json"):  # fmt: skip
        assert name in files
    assert "model_0000005.pth" not in files  # the last is model_final
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert sum(name.startswith("events.out") for name in files) == 1
    assert {name.split("/")[1] for name in files if name.startswith("pictures/")} == {"0000002", "0000005"}
    assert 0 <= results["tiny_val"]["sem_seg"]["mIoU"] <= 100
    log = (tmp_path / "log.txt").read_text()
    for words in ("step 2/6", "mIoU", "IoU-" if "IoU-" in log else "IoU", "model_final.pth", "total time", "seed 7"):
        assert words in log


def test_metrics_have_detectron2s_names(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "TEST.EVAL_PERIOD", 3))
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    losses = [line for line in lines if "total_loss" in line]
    scores = [line for line in lines if "sem_seg/mIoU" in line]
    assert [line["iteration"] for line in losses] == [1, 3, 5]
    assert [line["iteration"] for line in scores] == [2, 5]
    for line in losses:
        assert line.keys() >= {"lr", "loss_cls", "loss_bce", *TIMES}
        assert line["total_loss"] == pytest.approx(line["loss_cls"] + line["loss_bce"])
    assert losses[-1]["eta_seconds"] == 0
    assert {"sem_seg/IoU-car", "sem_seg/pACC"} <= scores[0].keys()


def test_training_learns(tmp_path: Path) -> None:
    results = train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 60, "SOLVER.BASE_LR", 0.03))
    assert results["tiny_val"]["sem_seg"]["mIoU"] > 60


def test_a_checkpoint_tells_all_about_its_run(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    checkpoint = load_checkpoint(tmp_path / "model_final.pth")
    assert checkpoint["iteration"] == 5
    assert checkpoint["class_names"] == list(tiny.CLASSES)
    assert checkpoint["metadata"]["ignore_label"] == tiny.IGNORE
    assert checkpoint["metadata"]["stuff_colors"][0] == [90, 140, 220]
    assert "torch" in checkpoint["versions"]
    assert checkpoint["config"] == (tmp_path / "config.yaml").read_text()
    best = load_checkpoint(tmp_path / "model_best.pth")
    assert best["score"] >= 0
    assert "optimizer" not in best


@pytest.fixture(scope="module")
def uninterrupted(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(tiny.tiny_cfg(folder, *DEMANDING))
    return folder


@pytest.mark.parametrize("steps", range(7))
def test_stopped_anywhere_and_resumed_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Path, steps: int
) -> None:
    folder = uninterrupted.with_name(f"stopped{steps}") / "run"
    monkeypatch.chdir(tmp_path)
    expected = load_checkpoint(uninterrupted / "model_final.pth")["config"]
    if steps == 6:  # the training is done, its evaluation not
        with monkeypatch.context() as patch:
            patch.setattr(module, "evaluate_datasets", _interrupt_last_evaluation(module.evaluate_datasets))
            with pytest.raises(KeyboardInterrupt):
                train(tiny.tiny_cfg(folder, *DEMANDING))
        train(tiny.tiny_cfg(folder, *DEMANDING), resume=True)
    else:
        _train_stopped_and_resumed(folder, monkeypatch, steps, *DEMANDING)
    final = load_checkpoint(folder / "model_final.pth")
    assert final["config"].replace(str(folder), str(uninterrupted)) == expected
    assert _without_config(folder / "model_final.pth") == _without_config(uninterrupted / "model_final.pth")
    assert _metrics(folder) == _metrics(uninterrupted)


def _interrupt_last_evaluation(original):
    def evaluate(cfg, model, fabric, folder=None):
        if folder is not None:
            raise KeyboardInterrupt
        return original(cfg, model, fabric, folder)

    return evaluate


def _without_config(path: Path) -> bytes:
    """The checkpoint's bytes, were OUTPUT_DIR, which its config names, always the same."""
    import io

    from clipmask.weights.checkpoint import canonical

    content = {**load_checkpoint(path), "config": ""}
    file = io.BytesIO()
    torch.save(canonical(content), file)
    return file.getvalue()


def test_the_same_folder_name_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, as the file lies on the disk."""
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "a":
            train(tiny.tiny_cfg("run", *DEMANDING))
        else:
            _train_stopped_and_resumed(Path("run"), monkeypatch, 3, *DEMANDING)
        files.append([(Path("run") / file).read_bytes() for file in ("model_final.pth", "model_best.pth")])
    assert files[0] == files[1]


def test_evaluation_changes_no_training_step(tmp_path: Path) -> None:
    weights = []
    for name, period in (("often", 1), ("never", 0)):
        train(tiny.tiny_cfg(tmp_path / name, "MODEL.CLIPMASK.DROPOUT", 0.5, "TEST.EVAL_PERIOD", period))
        weights.append(load_checkpoint(tmp_path / name / "model_final.pth")["model"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 8), resume=True)
    assert load_checkpoint(tmp_path / "model_final.pth")["iteration"] == 7
    assert [line["iteration"] for line in _metrics(tmp_path)] == [1, 3, 5, 5, 7, 7]


def test_resuming_a_finished_run_only_evaluates_again(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before, metrics = (tmp_path / "model_final.pth").read_bytes(), _metrics(tmp_path)
    train(tiny.tiny_cfg(tmp_path), resume=True)
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert _metrics(tmp_path) == metrics


def test_resume_without_a_checkpoint_starts_with_a_note(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path), resume=True)
    assert "starting from the beginning" in (tmp_path / "log.txt").read_text()


def test_resume_keeps_a_drawn_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _train_stopped_and_resumed(tmp_path, monkeypatch, 3, "SEED", -1)
    first, last = (load_checkpoint(tmp_path / name) for name in ("model_0000001.pth", "model_final.pth"))
    assert first["seed"] == last["seed"] >= 0
    assert f"seed {first['seed']}" in (tmp_path / "log.txt").read_text()
    assert f"SEED: {first['seed']}" in (tmp_path / "config.yaml").read_text()


def test_a_new_run_replaces_an_older_one_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is stopped before its first checkpoint: then --resume must not continue the older run."""
    train(tiny.tiny_cfg(tmp_path))
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny.tiny_cfg(tmp_path))
    assert "holds an earlier run" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "last_checkpoint").exists()


def test_a_run_that_fails_at_its_start_takes_nothing_from_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny.tiny_cfg(tmp_path))
    before = {name: (tmp_path / name).read_bytes() for name in ("last_checkpoint", "metrics.json", "model_final.pth")}

    def unreadable(*args: object, **kwargs: object) -> None:
        raise UserError("a bad file")

    monkeypatch.setattr("clipmask.engine.train.training_step", unreadable)
    with pytest.raises(UserError, match="a bad file"):
        train(tiny.tiny_cfg(tmp_path))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_damaged_last_checkpoint_is_named(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    (tmp_path / "model_final.pth").write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"model_final\.pth"):
        train(tiny.tiny_cfg(tmp_path), resume=True)


def test_weights_alone_can_not_be_resumed(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path))
    (tmp_path / "last_checkpoint").write_text("model_best.pth")
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS"):
        train(tiny.tiny_cfg(tmp_path), resume=True)


def test_start_from_weights_names_what_does_not_fit(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path / "first"))
    checkpoint = load_checkpoint(tmp_path / "first" / "model_final.pth")
    checkpoint["model"]["head.weight"] = torch.ones(2, 2)
    torch.save(checkpoint["model"], tmp_path / "other.pth")
    opts = ["MODEL.WEIGHTS", str(tmp_path / "other.pth"), "SOLVER.BASE_LR", 0.0]
    train(tiny.tiny_cfg(tmp_path / "second", *opts))
    assert (
        "head: 1 of another shape, which is head.weight (2, 2) in the file"
        in (tmp_path / "second" / "log.txt").read_text()
    )
    loaded = load_checkpoint(tmp_path / "second" / "model_final.pth")["model"]
    assert torch.equal(loaded["query.weight"], checkpoint["model"]["query.weight"])


def test_averaged_weights_are_the_ones_that_count(tmp_path: Path) -> None:
    train(tiny.tiny_cfg(tmp_path, "SOLVER.EMA_DECAY", 0.9))
    final = load_checkpoint(tmp_path / "model_final.pth")
    best = load_checkpoint(tmp_path / "model_best.pth")
    assert not torch.equal(final["model"]["head.weight"], final["ema"]["trained"]["head.weight"])
    assert torch.equal(final["model"]["head.weight"], best["model"]["head.weight"])


def _poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Makes the loss of some steps (0-based) nan."""
    original = module.training_step

    def step(state, batch, solver):
        if state.iteration + 1 in steps:
            batch[0]["image"] = torch.full_like(batch[0]["image"], 255)
        return original(state, batch, solver)

    monkeypatch.setattr(module, "training_step", step)


def test_a_failed_step_is_skipped_and_its_files_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _poison(monkeypatch, {2})
    train(tiny.tiny_cfg(tmp_path))
    log = (tmp_path / "log.txt").read_text()
    assert "step 3 skipped" in log
    assert ".png" in log
    line = next(line for line in _metrics(tmp_path) if line["iteration"] == 3)
    assert line["skipped_steps"] == 1
    assert line["total_loss"] > 0


def test_five_failed_steps_in_a_row_stop_the_run_and_leave_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {1, 3, 4, 5, 6, 7})  # 1 does not count: step 2 went well
    with pytest.raises(UserError, match="5 steps in a row") as error:
        train(tiny.tiny_cfg(tmp_path, "SOLVER.MAX_ITER", 12))
    assert "model_0000007.pth" in str(error.value)
    stopped, good = (load_checkpoint(tmp_path / f"model_000000{step}.pth")["model"] for step in (7, 3))
    assert all(torch.equal(value, good[name]) for name, value in stopped.items())
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000005.pth"


def test_absent_cuda_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING, "clipmask"):
        train(tiny.tiny_cfg(tmp_path, "MODEL.DEVICE", "cuda", "TEST.EVAL_PERIOD", 2))
    assert [record.getMessage() for record in caplog.records if "CUDA" in record.getMessage()] != []
    assert caplog.text.count("running on the CPU") == 1


def test_without_test_datasets(tmp_path: Path) -> None:
    assert train(tiny.tiny_cfg(tmp_path, "DATASETS.TEST", ())) == {}
    assert not (tmp_path / "model_best.pth").exists()
    assert (tmp_path / "model_final.pth").exists()


def test_the_real_model_trains_and_resumes_to_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy config's model on the tiny dataset, twice, once stopped after two of three steps; on small crops."""
    data = tiny.settings("run")
    kept = ("DATASETS", "DATALOADER", "INPUT.SCALE_RANGE", "INPUT.MIN_SIZE_TEST", "OUTPUT_DIR", "MODEL.DEVICE")
    opts = [str(word) for key, value in zip(data[::2], data[1::2], strict=True) if key.startswith(kept)
            for word in (key, value)]  # fmt: skip
    opts += ["SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.IMS_PER_BATCH", "2"]
    opts += ["SOLVER.LOG_PERIOD", "1", "SOLVER.MAX_IMS_PER_DEVICE", "1", "SOLVER.EMA_DECAY", "0.5"]
    opts += ["INPUT.CROP.SIZE", "[32, 32]", "TEST.NUM_PICTURES", "1", "SEED", "1"]
    cfg = load_cfg(Path(__file__).resolve().parents[2] / "configs" / "toy.yaml", opts)
    files = []
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "stopped":
            with monkeypatch.context() as patch:
                _stop_after(patch, 2)
                with pytest.raises(KeyboardInterrupt):
                    train(cfg)
        train(cfg, resume=name == "stopped")
        files.append((Path("run") / "model_final.pth").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["MODEL.CLIPMASK.INJECTION", "none"],
        ["MODEL.CLIPMASK.FUSION", "joint"],
        ["MODEL.CLIPMASK.FUSION", "pairwise"],
        ["MODEL.CLIPMASK.CLASSIFIER", "linear"],
        ["MODEL.CLIPMASK.TEXT_QUERIES", "False"],
        ["MODEL.CLIPMASK.SCALES", "['res5']"],
        ["MODEL.BACKBONE.TIMM_NAME", "swin_tiny_patch4_window7_224", "MODEL.BACKBONE.FREEZE_AT", "2"],
        ["MODEL.BACKBONE.TIMM_NAME", "mobilenetv2_100"],
    ],
    ids=lambda opts: opts[-1] if opts else "default",
)
def test_every_trainable_parameter_of_the_real_model_gets_a_gradient(fabric, opts: list[str]) -> None:
    """Else several processes, which wait for all gradients, would not train."""
    cfg = load_cfg(Path(__file__).resolve().parents[2] / "configs" / "toy.yaml", opts)
    state = TrainingState(cfg, build_model(cfg, tiny.CLASSES), fabric, seed=0)
    state.module.train()
    training_step(state, tiny.make_batch(2, size=(64, 64)), cfg.SOLVER)
    assert [name for name, p in state.model.named_parameters() if p.requires_grad and p.grad is None] == []
