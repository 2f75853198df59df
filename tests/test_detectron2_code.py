"""What code that was written for Detectron2 does with a model and a folder of ClipMask's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clipmask import ClipMask, add_clipmask_config, build_model
from clipmask.engine.optimizer import build_optimizer, build_scheduler
from clipmask.engine.train import train
from tests.contract import needs_detectron2
from tests.engine import tiny

pytestmark = [needs_detectron2, pytest.mark.contract]


def test_default_trainer_resumes_in_a_folder_of_ours(tmp_path: Path) -> None:
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultTrainer

    tiny.write_dataset(tmp_path / "data")
    tiny.register(tmp_path / "data")
    folder = tmp_path / "run"
    train(tiny.tiny_cfg(folder, "SOLVER.MAX_ITER", 4))
    cfg = get_cfg()
    add_clipmask_config(cfg)
    cfg.merge_from_list([*tiny.settings(folder), "SOLVER.MAX_ITER", 4])

    class Trainer(DefaultTrainer):
        @classmethod
        def build_model(cls, cfg: Any) -> torch.nn.Module:
            return build_model(cfg)

        @classmethod
        def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
            return build_optimizer(cfg, model)

        @classmethod
        def build_lr_scheduler(cls, cfg: Any, optimizer: Any) -> Any:
            return build_scheduler(cfg, optimizer)

    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 4
    assert trainer.scheduler.last_epoch == 4
    written = torch.load(folder / "model_final.pth")["optimizer"]["state"]
    own = trainer._trainer.optimizer.state_dict()["state"]
    assert own.keys() == written.keys()
    assert all(torch.equal(own[key]["exp_avg"], written[key]["exp_avg"]) for key in own)


def test_each_view_of_others_is_one_pass(
    small_cfg: Any, small_model: ClipMask, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    """A model whose own views are configured too: those are of our predictor and evaluation."""
    from detectron2.modeling import DatasetMapperTTA

    small_cfg.merge_from_list(["TEST.AUG.ENABLED", True])
    small_model = build_model(small_cfg, small_model.class_names).eval()
    views = DatasetMapperTTA(min_sizes=[32, 64], max_size=128, flip=True)
    sample = {**make_inputs((64, 96))[0], "height": 64, "width": 96}
    passes = []
    small_model.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        outputs = [small_model([view])[0]["sem_seg"] for view in views(sample)]
    assert len(passes) == len(outputs) == 4
    assert {tuple(output.shape[1:]) for output in outputs} == {(64, 96)}


def test_pictures_every_vis_period(
    small_cfg: Any, small_model: ClipMask, make_inputs: Callable[..., list[dict[str, Any]]]
) -> None:
    from detectron2.utils.events import EventStorage

    small_cfg.merge_from_list(["VIS_PERIOD", 2])
    model = build_model(small_cfg, small_model.class_names).train()
    model(make_inputs((64, 64)))  # outside of a training loop
    steps = []
    with EventStorage() as storage:
        for step in range(4):
            storage.iter = step
            model(make_inputs((64, 64), (32, 64)))
            steps += [found for _, picture, found in storage._vis_data]
            assert all(picture.shape[0] == 3 for _, picture, _ in storage._vis_data)
            storage.clear_images()
    assert steps == [0, 2]
