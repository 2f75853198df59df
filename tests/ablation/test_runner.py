"""Jobs: run at once, stopped, continued, failing; on a stand-in for ``train_net.py`` that takes no
time.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from clipmask.errors import UserError
from clipmask_tools.ablation import jobs as jobs_module
from clipmask_tools.ablation import runner as runner_module
from clipmask_tools.ablation.grid import Variant
from clipmask_tools.ablation.jobs import Job, Slot, check_jobs, make_jobs, slots
from clipmask_tools.ablation.results import Result
from clipmask_tools.ablation.runner import run_jobs, unfinished
from clipmask_tools.ablation.settings import settings
from tests.ablation.made import made_grid, made_result, write_results

# Writes what a run writes, and says which of the others it saw at work; the run "less" of seed 1
# fails at first.
STAND_IN = """
import json, os, sys, time
from pathlib import Path
words = sys.argv[1:]
folder = Path(words[words.index("OUTPUT_DIR") + 1])
(folder / "words.json").open("a").write(json.dumps(words) + "\\n")
(folder / "environment.json").write_text(json.dumps(dict(os.environ)))
if "--eval-only" in words:
    sys.exit()
if "less_seed1" in str(folder) and not (folder / "failed").exists():
    (folder / "failed").touch()
    sys.exit("error: no luck")
for step in range(6):
    with (folder / "metrics.json").open("a") as file:
        file.write(json.dumps({"iteration": step}) + "\\n")
    time.sleep(float(os.environ.get("STEP", "0.01")))
"""
CORE = sorted(os.sched_getaffinity(0))[0] if hasattr(os, "sched_getaffinity") else 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose training is the stand-in; every run's result is the same."""
    (tmp_path / "train_net.py").write_text(STAND_IN)
    monkeypatch.setattr(jobs_module, "ROOT", tmp_path)
    monkeypatch.setattr(runner_module, "_LOOK", 0.01)
    monkeypatch.setattr(runner_module, "collect", made_of)
    return tmp_path


def made_of(folder: Path, cfg: CfgNode, variant: Variant, seed: int) -> Result:
    return made_result(variant.name, seed, settings=settings(cfg))


def make(
    folder: Path, text: str = "full: full model\n  less: less of it", opts: tuple[str, ...] = ()
) -> list[Job]:
    grid = made_grid(folder / "grid", text)
    opts = ("DATASETS.TEST", "('toy_street_sem_seg_val',)", "MODEL.DEVICE", "cpu", *opts)
    return make_jobs(grid, grid.choose(None, None), opts, folder / "output", folder / "results")


def test_runs_end_in_results_and_a_failure_stops_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = make(folder)
    failed = run_jobs(jobs, [Slot(CORE, False)] * 2)
    assert [job.name for job in failed] == ["less seed 1"]
    assert sorted(path.name for path in (folder / "results" / "grid").iterdir()) == [
        *("full_seed0.json", "full_seed1.json", "less_seed0.json")
    ]
    said = capsys.readouterr().out
    assert "less seed 1: FAILED: exit status 1, error: no luck (all of it: " in said
    assert said.count(": mIoU ") == 3
    again = unfinished(make(folder))
    assert [job.name for job in again] == ["less seed 1"]
    assert run_jobs(again, [Slot(CORE, False)]) == []
    assert unfinished(make(folder)) == []


def test_a_run_has_its_device_and_its_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    jobs = make(
        folder, "full: {title: full model, also_test: [more_val]}", ("SOLVER.IMS_PER_BATCH", "2")
    )
    run_jobs(jobs[:1], [Slot(CORE, False)])
    own = folder / "output" / "grid" / "full_seed0"
    first, second = map(json.loads, (own / "words.json").read_text().splitlines())
    assert first[:2] == ["--config-file", str(folder / "grid" / "full.yaml")]
    assert "--resume" in first
    assert " ".join(first).endswith(f"SOLVER.IMS_PER_BATCH 2 SEED 0 OUTPUT_DIR {own}")
    assert "--eval-only" in second
    assert second[-4:] == [
        "MODEL.WEIGHTS",
        str(own / "model_final.pth"),
        "DATASETS.TEST",
        "('more_val',)",
    ]
    environment = json.loads((own / "environment.json").read_text())
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert Slot(3, True).environment()["CUDA_VISIBLE_DEVICES"] == "3"


def test_gpus_are_those_that_the_command_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [Slot(number, True).environment()["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == [
        "2",
        "5",
    ]
    assert Slot(0, False).environment()["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(UserError, match=r"MODEL.DEVICE cuda:1: .*CUDA_VISIBLE_DEVICES=1"):
        slots("cuda:1", None)


def test_several_run_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP", "0.1")
    jobs, most = make(folder), 0

    def count(seconds: float) -> None:
        nonlocal most
        most = max(most, sum(is_running(job) for job in jobs))
        time.sleep(seconds)

    monkeypatch.setattr(runner_module, "time", SimpleNamespace(sleep=count, strftime=time.strftime))
    run_jobs(jobs, [Slot(CORE, False)] * 3)
    assert most == 3


def is_running(job: Job) -> bool:
    return job.process is not None and job.process.poll() is None


def test_an_interruption_ends_the_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEP", "60")
    monkeypatch.setattr(runner_module, "_PATIENCE", 0.1)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    jobs = make(folder)
    stand_in = SimpleNamespace(sleep=interrupt, strftime=time.strftime)
    monkeypatch.setattr(runner_module, "time", stand_in)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, [Slot(CORE, False)] * 2)
    started = [job for job in jobs if job.process is not None]
    assert len(started) == 2
    assert not any(is_running(job) for job in started)


@pytest.mark.parametrize("place", ["result", "run"])
def test_other_settings_are_not_mixed(folder: Path, place: str) -> None:
    jobs = make(folder)
    if place == "result":
        write_results(folder / "results", made_grid(folder / "grid"), made_result())
    else:
        jobs[0].folder.mkdir(parents=True)
        (jobs[0].folder / "config.yaml").write_text(
            make(folder, opts=("SOLVER.MAX_ITER", "9"))[0].cfg.dump()
        )
    with pytest.raises(
        UserError, match=r"made with other settings than this command's: .*MAX_ITER (600|9), 6"
    ):
        unfinished(jobs)


def test_a_control_gets_a_file_of_text_for_each_seed(folder: Path) -> None:
    opts = ("MODEL.CLIP.EMBEDDINGS", "random", "DATASETS.TRAIN", "('toy_street_sem_seg_train',)")
    jobs = make(
        folder, "full: full model\n  drawn: {title: drawn, config: full.yaml, text: random}", opts
    )
    files = [Path(job.cfg.MODEL.CLIP.EMBEDDINGS) for job in jobs if job.variant.name == "drawn"]
    assert all(file.parent == job.folder for file, job in zip(files, jobs[1::2], strict=True))
    rows = [np.load(file)["embeddings"] for file in files]
    assert not np.allclose(*rows)
    again = make(
        folder, "full: full model\n  drawn: {title: drawn, config: full.yaml, text: random}", opts
    )
    assert [job.cfg.MODEL.CLIP.EMBEDDINGS for job in again] == [
        job.cfg.MODEL.CLIP.EMBEDDINGS for job in jobs
    ]


def test_mistakes_before_anything_starts(folder: Path) -> None:
    with pytest.raises(UserError, match=r"SEED: the grid sets it; use --seeds"):
        make(folder, opts=("SEED", "3"))
    with pytest.raises(UserError, match=r"did you mean SOLVER.MAX_ITER"):
        make(folder, opts=("SOLVER.MAXITER", "3"))
    with pytest.raises(UserError, match=r"full.yaml: DATASETS.TEST is empty"):
        make(folder, opts=("DATASETS.TEST", "()"))
    with pytest.raises(UserError, match=r"dataset 'none_val' is not registered"):
        check_jobs(make(folder, opts=("DATASETS.TEST", "('none_val',)")))
    with pytest.raises(
        UserError,
        match=r"--jobs 999: .*may use only \d+",
    ):
        slots("cpu", 999)
    assert len(slots("cpu", 1)) == 1
