"""``train_net.py`` and ``clipmask-train``: train or evaluate, in the words of Detectron2's training
script.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from clipmask.cli import HelpFormatter, run_main
from clipmask.cli.register import register_file
from clipmask.config import load_cfg
from clipmask.data.descriptor import register_descriptor
from clipmask.errors import UserError
from clipmask.program import program_name
from clipmask.shipped import shipped_folder

EXAMPLES = """\
examples:
  %(prog)s --config-file configs/toy.yaml
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --num-gpus 8 OUTPUT_DIR runs/r50
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --resume OUTPUT_DIR runs/r50
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --eval-only MODEL.WEIGHTS runs/r50/model_best.pth
  your own pictures, described by a YAML file (clipmask-data init writes one):
  %(prog)s --dataset streets.yaml
  %(prog)s --dataset streets.yaml SOLVER.MAX_ITER 4000 OUTPUT_DIR runs/streets
  %(prog)s --dataset streets.yaml MODEL.WEIGHTS clipmask-street SOLVER.MAX_ITER 300
  %(prog)s --dataset streets.yaml --eval-only MODEL.WEIGHTS runs/streets/model_best.pth
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --dataset streets.yaml lanes.yaml --num-gpus 2
  or registered in Python:
  %(prog)s --config-file my.yaml --register my_data.py DATASETS.TRAIN "('mine_train',)" DATASETS.TEST "('mine_val',)"
  two machines of 8 GPUs, on each, with --machine-rank 0 and 1:
  %(prog)s --config-file my.yaml --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://10.0.0.1:29500

SOLVER.IMS_PER_BATCH is the batch of all devices together; SOLVER.MAX_IMS_PER_DEVICE lets fewer devices accumulate it.
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Train a segmentation model, or evaluate one.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    none = argparse.SUPPRESS
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help=(
            "config: a YAML file, or the name of one that comes along, with configs/ before it or"
            " without, such as toy.yaml or camvid/clipmask_r50.yaml; may be left out with"
            " --dataset: then custom.yaml, which starts from ImageNet's weights"
        ),
        default=none,
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.yaml",
        help=(
            "descriptors of datasets: YAML files that name the folders of images and labels, the"
            " classes and the splits. They are registered, and become DATASETS.TRAIN (their split"
            " train) and DATASETS.TEST (val, or test where there is none) unless you give these as"
            " KEY VALUE"
        ),
    )
    parser.add_argument(
        "--register",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE.py",
        help=(
            "Python files to import first, in every process; there you register datasets through"
            " DatasetCatalog and MetadataCatalog of clipmask.d2 (or detectron2.data), backbones in"
            " its BACKBONE_REGISTRY, and a function add_..._config(cfg) adds the keys that they"
            " read"
        ),
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from OUTPUT_DIR's last checkpoint; from the start if there is none",
    )
    parser.add_argument(
        "--start-over",
        action="store_true",
        help=(
            "begin again in an OUTPUT_DIR that holds a run; its files are moved to"
            " OUTPUT_DIR/earlier_N"
        ),
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="only evaluate MODEL.WEIGHTS on DATASETS.TEST"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="make faster code of the network with torch.compile first, MODEL.COMPILE as a key",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        help="devices per machine; with MODEL.DEVICE cpu, processes",
    )
    parser.add_argument("--num-machines", type=int, default=1, help="machines in this run")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="tcp://HOST:PORT of machine 0; auto: a free port, on one machine only",
    )
    parser.add_argument(
        "opts", nargs="*", default=[], metavar="KEY VALUE", help="config values over the file's"
    )
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; options may stand before, between and after the KEY VALUE pairs."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    # What follows the files of an option without another between is KEY VALUE pairs, though
    # argparse can't know.
    args.register, pairs = _leading(args.register, (".py",))
    args.dataset, more = _leading(args.dataset, (".yaml", ".yml"))
    args.opts = pairs + more + args.opts
    args.config_file = getattr(args, "config_file", None)
    if args.config_file is None and not args.dataset:
        parser.error("name a config (--config-file) or your own data (--dataset)")
    return args


def _leading(words: list[str], endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts the file names at the start of ``words``, at least one, from what follows them."""
    files = [index == 0 or word.endswith(endings) for index, word in enumerate(words)]
    count = files.index(False) if False in files else len(files)
    return words[:count], words[count:]


def register_datasets(paths: Sequence[str], *, eval_only: bool = False) -> list[str]:
    """Registers descriptors and returns the KEY VALUE pairs that make them this run's datasets.

    Args:
        paths: of the descriptors.
        eval_only: none of them needs a split to train on.

    Raises:
        UserError: a descriptor is wrong; or none has a split ``train``, though one is needed.
    """
    registered = [register_descriptor(path) for path in paths]
    train = tuple(names["train"] for names in registered if "train" in names)
    tested = (names.get("val") or names.get("test") for names in registered)
    if paths and not train and not eval_only:
        raise UserError(
            f"--dataset {' '.join(paths)}: no split is called train (there are"
            f" {', '.join(name for names in registered for name in names)}): name one so, or say"
            " which to train on with DATASETS.TRAIN"
        )
    pairs = {"DATASETS.TRAIN": train, "DATASETS.TEST": tuple(name for name in tested if name)}
    words = []
    for key, names in pairs.items():
        words += [key, repr(names)]
    return words if paths else []


def set_environment(args: argparse.Namespace) -> None:
    """Hands --dist-url and --machine-rank to the launcher, in the variables that it reads.

    Under torchrun and SLURM their own numbers go into ``args``: the processes are there already.

    Raises:
        UserError: several machines without an address, or an address that is none; SLURM started
            several tasks that can't be one run.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        args.num_gpus = int(os.environ["LOCAL_WORLD_SIZE"])
        args.num_machines = int(os.environ["WORLD_SIZE"]) // args.num_gpus
        return
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        _adopt_slurm(args)
        return
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank}: with --num-machines {args.num_machines} it is 0 to "  # noqa: E501
            f"{args.num_machines - 1}"
        )
    if args.dist_url != "auto":
        try:
            url = urlsplit(args.dist_url)
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if not host or not port:
            raise UserError(
                f"--dist-url {args.dist_url}: say tcp://HOST:PORT of machine 0, or auto"
            )
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, str(port)
    elif args.num_machines > 1 and "MASTER_ADDR" not in os.environ:
        raise UserError(
            f"--num-machines {args.num_machines} needs --dist-url tcp://HOST:PORT, the address of"
            " machine 0"
        )
    if args.num_machines > 1:
        os.environ.setdefault("NODE_RANK", str(args.machine_rank))


def _adopt_slurm(args: argparse.Namespace) -> None:
    """Takes the numbers of ``srun``'s tasks, of which each is a process of the run."""
    tasks, machines = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    # where Fabric does not look at SLURM
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        raise UserError(
            f"srun started {tasks} tasks in an interactive job, each of which would train by"
            " itself: start one task with --num-gpus, or name the job otherwise (srun"
            " --job-name=train)"
        )
    if tasks % machines:
        raise UserError(
            f"srun started {tasks} tasks on {machines} machines: give each the same number of tasks"
        )
    args.num_gpus, args.num_machines = tasks // machines, machines


def _run(argv: Sequence[str] | None) -> int:
    args = parse_args(argv)
    set_environment(args)
    for path in args.register:
        register_file(path)
    train_given = "DATASETS.TRAIN" in args.opts[::2]
    datasets = register_datasets(args.dataset, eval_only=args.eval_only or train_given)
    cfg = load_cfg(
        args.config_file or shipped_folder("configs") / "custom.yaml",
        [*datasets, *(["MODEL.COMPILE", "True"] if args.compile else []), *args.opts],
    )
    # Only now what takes seconds to import: a mistake in the command line is reported at once.
    from clipmask.engine.evaluation import evaluate_checkpoint
    from clipmask.engine.train import train

    machines = {"num_gpus": args.num_gpus, "num_machines": args.num_machines}
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume, **machines)
    else:
        train(cfg, resume=args.resume, start_over=args.start_over, **machines)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``. More than one process
            needs None, for the others are started with this process's own command line.

    Returns:
        The exit status: 0, 2 for a user's mistake, 130 for Ctrl-C.
    """
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
