"""The command as users run it: its words, its errors, several processes, a kill in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from clipmask.cli import TRY_AGAIN, run_main
from clipmask.cli.train import main, parse_args, register_datasets, set_environment
from clipmask.errors import UserError
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.names import OWN_MODEL
from tests.conftest import PATIENCE, ROOT
from tests.data.described import write_described, write_yaml
from tests.forked import Forked, ranks, run_forked

TINY = ROOT / "tests" / "engine"
# Registered, it keeps a run from its end: a kill comes in time, however slow this machine is and
# fast that process.
ENDLESS = """
import time
from clipmask.engine import train as module

original = module.training_step


def step(state, *others):
    while state.iteration + 1 == 29:
        time.sleep(1)
    return original(state, *others)


module.training_step = step
"""


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a module that registers the tiny segmenter and its dataset."""
    folder = tmp_path_factory.mktemp("tiny")
    code = f"import sys\nsys.path.insert(0, {str(TINY)!r})\nimport tiny\n"
    (folder / "my_data.py").write_text(code + f"tiny.register({str(folder)!r})\n")
    (folder / "endless.py").write_text(ENDLESS)
    script = (
        code + f"import yaml, pathlib\ntiny.write_dataset(pathlib.Path({str(folder)!r}))\n"
        "cfg = tiny.tiny_cfg('run')\n"
        f"pathlib.Path({str(folder / 'tiny.yaml')!r}).write_text(cfg.dump())\n"
    )
    made = run_forked(["python", "-c", script], folder, _environment(), PATIENCE)
    assert made.returncode == 0, made.stderr
    return folder


def _environment() -> dict[str, str]:
    """This process's, without what a launcher left and without more threads than the machine shares
    out.
    """
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    own = {name: value for name, value in os.environ.items() if name not in ranks}
    return {**own, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def _start(
    folder: Path,
    tiny_run: Path,
    *words: object,
    new_session: bool = False,
    rank: Mapping[str, str] | None = None,
) -> Forked:
    """Starts a training in a folder.

    Args:
        new_session: whether it leads a process group of its own.
        rank: what torchrun adds to the environment of one of its processes.
    """
    folder.mkdir(exist_ok=True)
    command = ["python", ROOT / "train_net.py", "--config-file", tiny_run / "tiny.yaml"]
    command += ["--register", tiny_run / "my_data.py", *words]
    return Forked(command, folder, {**_environment(), **(rank or {})}, new_session)


def _finish(process: Forked) -> str:
    out, err = process.communicate(PATIENCE)
    assert process.returncode == 0, out + err
    return out


# The words of the command line


def _parsed(*words: str) -> tuple[list[str], list[str]]:
    args = parse_args(["--config-file", "c.yaml", *words])
    return args.register, args.opts


def test_overrides_may_stand_anywhere() -> None:
    args = parse_args(["A", "1", "--config-file", "c.yaml", "SEED", "-1", "--resume", "B", "2"])
    assert (args.config_file, args.resume, args.opts) == (
        "c.yaml",
        True,
        ["A", "1", "SEED", "-1", "B", "2"],
    )
    assert (args.num_gpus, args.eval_only, args.register) == (1, False, [])


def test_overrides_may_follow_the_registered_files() -> None:
    assert _parsed("--register", "a.py", "b.py", "SEED", "1") == (["a.py", "b.py"], ["SEED", "1"])
    assert _parsed("--register", "a.py", "--register", "b.py", "SEED", "1") == (
        ["a.py", "b.py"],
        ["SEED", "1"],
    )
    assert _parsed("SEED", "1", "--register", "a.py") == (["a.py"], ["SEED", "1"])


def test_overrides_may_follow_the_descriptors() -> None:
    args = parse_args(["--dataset", "a.yaml", "b.yml", "SEED", "1", "--register", "c.py", "X", "2"])
    assert (args.dataset, args.register, args.config_file) == (["a.yaml", "b.yml"], ["c.py"], None)
    assert args.opts == ["X", "2", "SEED", "1"]


def test_a_run_needs_a_config_or_data(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_args(["SEED", "1"])
    assert "name a config (--config-file) or your own data (--dataset)" in capsys.readouterr().err


def test_help_shows_examples_and_defaults(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for words in (
        "--config-file",
        "--register",
        "examples:",
        "(default: 1)",
        "--eval-only MODEL.WEIGHTS",
    ):
        assert words in text


# A dataset that a YAML file describes


@pytest.fixture
def described(tmp_path: Path, catalogs: None) -> Path:
    """A descriptor of eight drawn pictures with coloured labels."""
    return write_described(tmp_path / "data", count=8)


def test_descriptors_become_the_datasets_of_a_run(described: Path) -> None:
    pairs = ["DATASETS.TRAIN", "('fields_train',)", "DATASETS.TEST", "('fields_val',)"]
    assert register_datasets([str(described)]) == pairs
    content = yaml.safe_load(described.read_text())
    tested = write_yaml(
        described.with_name("more.yaml"), **{**content, "splits": {"train": 0.5, "test": 0.5}}
    )
    pairs = [
        "DATASETS.TRAIN",
        "('fields_train', 'more_train')",
        "DATASETS.TEST",
        "('fields_val', 'more_test')",
    ]
    assert register_datasets([str(described), str(tested)]) == pairs
    write_yaml(tested, **{**content, "splits": {"all": 1}})
    with pytest.raises(
        UserError, match=r"more\.yaml: no split is called train \(there are all\).*DATASETS\.TRAIN"
    ):
        register_datasets([str(tested)])
    assert register_datasets([str(tested)], eval_only=True)[1::2] == ["()", "()"]
    assert register_datasets([]) == []


@pytest.mark.slow
def test_coloured_labels_train_from_the_model_that_comes_along(
    described: Path, tmp_path: Path
) -> None:
    """From another folder, without a config: three steps of two processes, and the score of what
    they made.
    """
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    small = [
        *("MODEL.DEVICE", "cpu", "MODEL.CLIP.EMBEDDINGS", "random", "DATALOADER.NUM_WORKERS", "0"),
        *("INPUT.MIN_SIZE_TEST", "64", "INPUT.CROP.SIZE", "[48, 64]", "SOLVER.IMS_PER_BATCH", "2"),
        *("TEST.EVAL_PERIOD", "0", "OUTPUT_DIR", "run", "MODEL.WEIGHTS", OWN_MODEL),
    ]  # fmt: skip

    def run(*words: str) -> str:
        command = ["python", ROOT / "train_net.py", "--dataset", described, *small, *words]
        return _finish(Forked(command, folder, _environment()))

    first = run("SOLVER.MAX_ITER", "3", "--num-gpus", "2")
    assert "training ClipMask on fields_train, 2 process(es)" in first
    assert "572 of the model's 575 tensors come from it" in first
    assert "licences of that start: trained on camvid_sem_seg_trainval (CC BY-NC 4.0)" in first
    assert (
        "text embeddings: computed for sky, field, house; those of the file are of other classes"
        in first
    )
    checkpoint = load_checkpoint(folder / "run" / "model_final.pth")
    assert checkpoint["class_names"] == ["sky", "field", "house"]
    assert {(item["role"], item["of"], item["license"]) for item in checkpoint["licenses"]} >= {
        ("trained on", "fields_train", "unknown"),
        ("started from", "camvid_sem_seg_trainval", "CC BY-NC 4.0"),
    }
    assert checkpoint["metadata"]["stuff_colors"] == [[0, 0, 255], [0, 255, 0], [255, 0, 0]]
    scored = run("--eval-only", "--resume")
    assert "evaluating run/model_final.pth" in scored
    assert [line.split()[0] for line in scored.split("fields_val:")[1].splitlines()[3:6]] == [
        "sky",
        "field",
        "house",
    ]


# Errors: one paragraph, status 2


def test_mistakes_in_a_descriptor(capsys, described: Path) -> None:
    content = yaml.safe_load(described.read_text())
    write_yaml(described, **{**content, "lables": "masks"})
    assert f"descriptor {described}: there is no key 'lables'; did you mean labels" in _error(
        capsys, "--dataset", str(described)
    )


def _error(capsys, *words: str) -> str:
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def test_an_output_folder_that_can_not_be_made(capsys, tmp_path: Path, config: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "OUTPUT_DIR" in _error(capsys, *config, "OUTPUT_DIR", str(tmp_path / "file" / "run"))


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump({"OUTPUT_DIR": str(tmp_path / "run"), "MODEL": {"DEVICE": "cpu"}})
    )
    return ["--config-file", str(path)]


def test_a_missing_config_and_a_misspelt_key(capsys, tmp_path: Path, config: list[str]) -> None:
    assert "no such file" in _error(capsys, "--config-file", str(tmp_path / "none.yaml"))
    assert "SOLVER.MAX_ITER" in _error(capsys, *config, "SOLVER.MAX_ITERS", "3")


def test_an_unknown_dataset_and_a_missing_checkpoint(capsys, config: list[str]) -> None:
    assert "toy_street_sem_seg_train" in _error(
        capsys, *config, "DATASETS.TRAIN", "('toy_streets',)"
    )
    words = ["--eval-only", "DATASETS.TEST", "('x',)"]
    assert "gone.pth" in _error(capsys, *config, *words, "MODEL.WEIGHTS", "gone.pth")
    assert "MODEL.WEIGHTS" in _error(capsys, *config, *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--num-gpus", "0"], "at least 1"),
        (["--machine-rank", "1"], "--machine-rank 1"),
        (["--num-machines", "2"], "--dist-url"),
        (["--num-machines", "2", "--dist-url", "somewhere"], "tcp://HOST:PORT"),
        (["--num-machines", "2", "--dist-url", "tcp://host:port"], "tcp://HOST:PORT"),
    ],
)
def test_impossible_machines(
    capsys, config: list[str], words: list[str], expected: str, monkeypatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert expected in _error(capsys, *config, *words)


def test_how_a_command_ends(capsys) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    def returns(value: int | None) -> int | None:
        return value

    assert run_main(returns, 7) == 7
    assert run_main(returns, None) == 0
    assert run_main(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ZeroDivisionError):  # our own mistakes keep their traceback
        run_main(lambda: 1 // 0)


def test_a_reader_that_ends_first_is_no_error() -> None:
    """As in clipmask-data check photos.yaml | head."""
    code = (
        "import sys; from clipmask.cli import run_main;"
        " sys.exit(run_main(lambda: [print('word' * 1000) for _ in range(1000)] and None))"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        written = process.stderr.read()  # libraries may warn
    assert b"Traceback" not in written
    assert b"BrokenPipeError" not in written
    assert process.returncode == 141

    def other_pipe() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):  # of a worker, say
        run_main(other_pipe)


def test_torchrun_knows_the_numbers(monkeypatch) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "6",
    }.items():
        monkeypatch.setenv(name, value)
    args = parse_args(["--config-file", "c.yaml"])
    set_environment(args)
    assert (args.num_gpus, args.num_machines) == (2, 3)


def test_slurm_knows_the_numbers(monkeypatch) -> None:
    for name, value in {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    args = parse_args(["--config-file", "c.yaml"])
    set_environment(args)
    assert (args.num_gpus, args.num_machines) == (2, 2)
    monkeypatch.setenv("SLURM_NTASKS", "3")
    with pytest.raises(UserError, match="3 tasks on 2 machines"):
        set_environment(args)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    with pytest.raises(UserError, match="3 tasks in an interactive job"):
        set_environment(args)
    monkeypatch.delenv("SLURM_PROCID")  # a shell of a job, in which no task was started
    args = parse_args(["--config-file", "c.yaml"])
    set_environment(args)
    assert (args.num_gpus, args.num_machines) == (1, 1)


# Whole runs


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "run" / "model_final.pth")["model"]


def test_killed_at_any_moment_and_resumed_ends_in_the_same_file(
    tmp_path: Path, tiny_run: Path
) -> None:
    opts: Sequence[object] = [
        "SOLVER.MAX_ITER",
        30,
        "SOLVER.CHECKPOINT_PERIOD",
        1,
        "TEST.EVAL_PERIOD",
        10,
    ]
    whole = _start(tmp_path / "whole", tiny_run, *opts)
    killed = _start(tmp_path / "killed", tiny_run, "--register", tiny_run / "endless.py", *opts)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "killed" / "run" / "last_checkpoint").exists():
        assert killed.poll() is None, killed.communicate(PATIENCE)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(PATIENCE)
    assert not (tmp_path / "killed" / "run" / "model_final.pth").exists()
    again = _start(tmp_path / "killed", tiny_run, *opts, "--resume")
    _finish(whole)
    assert "resumed from" in _finish(again)
    for name in ("model_final.pth", "model_best.pth"):
        files = [(tmp_path / folder / "run" / name).read_bytes() for folder in ("whole", "killed")]
        assert files[0] == files[1], name


@pytest.mark.parametrize("group", [False, True], ids=["main process", "all processes"])
def test_a_signal_stops_both_processes_after_the_same_step(
    tmp_path: Path, tiny_run: Path, group: bool
) -> None:
    """With loader processes, which get the signal too where a scheduler sends it to all; resumed,
    nothing is lost.
    """
    opts: Sequence[object] = [
        "SOLVER.MAX_ITER",
        400,
        "SOLVER.CHECKPOINT_PERIOD",
        1000,
        "DATALOADER.NUM_WORKERS",
        1,
        "SOLVER.LOG_PERIOD",
        1,
        "--num-gpus",
        2,
    ]
    process = _start(tmp_path / "signal", tiny_run, *opts, new_session=True)
    run = tmp_path / "signal" / "run"
    while not (run / "metrics.json").exists():
        assert process.poll() is None, process.communicate(PATIENCE)
        time.sleep(0.01)
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    out, err = process.communicate(PATIENCE)
    assert process.returncode == TRY_AGAIN, out + err
    assert "Traceback" not in err
    assert out.count("stopped by SIGTERM after step") == 1
    last = load_checkpoint(run / (run / "last_checkpoint").read_text())
    assert (
        f"stopped by SIGTERM after step {last['iteration'] + 1} of 400"
        in (run / "log.txt").read_text()
    )
    assert len(last["rng"]) == 2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one(tmp_path: Path, tiny_run: Path, strategy: str) -> None:
    opts: Sequence[object] = ["SOLVER.MAX_IMS_PER_DEVICE", 1, "SOLVER.BASE_LR", 0.001]
    opts = [*opts, "SOLVER.STRATEGY", strategy, "VIS_PERIOD", 3]
    pair = [_start(tmp_path / "two", tiny_run, *opts, rank=rank) for rank in ranks(2)]
    one = _start(tmp_path / "one", tiny_run, *opts)
    outputs = [_finish(one), "".join(map(_finish, pair))]
    assert "2 process(es)" in outputs[1]
    assert outputs[1].count("mIoU") == outputs[0].count("mIoU")  # one process talks
    for name, value in _weights(tmp_path / "one").items():
        torch.testing.assert_close(value, _weights(tmp_path / "two")[name], rtol=1e-3, atol=1e-4)
    lines = [
        (tmp_path / name / "run" / "metrics.json").read_text().splitlines()
        for name in ("one", "two")
    ]
    assert len(lines[0]) == len(lines[1])
    for first, second in zip(*lines, strict=True):
        first, second = yaml.safe_load(first), yaml.safe_load(second)
        for key in {"total_loss", "loss_cls", "loss_bce", "lr"} & first.keys():
            assert first[key] == pytest.approx(second[key], rel=1e-3)
    resumed = _finish(_start(tmp_path / "two", tiny_run, *opts, "SOLVER.MAX_ITER", 8, "--resume"))
    assert "with 1 process(es) instead of 2" in resumed


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_one_line_whichever_process_reads_it(
    tmp_path: Path, tiny_run: Path, workers: int
) -> None:
    path = tiny_run / "val" / "2.png"
    content = path.read_bytes()
    path.write_bytes(b"not a picture")
    try:
        process = _start(tmp_path / "bad", tiny_run, "DATALOADER.NUM_WORKERS", workers)
        _, err = process.communicate(PATIENCE)
    finally:
        path.write_bytes(content)
    assert process.returncode == 2
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(path) in errors[0]


def test_an_error_in_one_of_two_processes_ends_both(tmp_path: Path, tiny_run: Path) -> None:
    process = _start(tmp_path / "odd", tiny_run, "MODEL.WEIGHTS", "none.pth", "--num-gpus", 2)
    _, err = process.communicate(PATIENCE)
    assert process.returncode != 0
    assert "none.pth: no such file" in err
    assert "Traceback" not in err


def test_a_batch_that_can_not_be_shared_out_is_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str], config: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    err = _error(capsys, *config, "SOLVER.IMS_PER_BATCH", "3", "--num-gpus", "2")
    assert "SOLVER.IMS_PER_BATCH 3 can't be shared out equally over --num-gpus 2" in err
