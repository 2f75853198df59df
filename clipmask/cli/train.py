"""``train_net.py`` and ``clipmask-train``: train or evaluate, with Detectron2's options."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from clipmask.cli import command
from clipmask.cli.arguments import add_register, new_parser
from clipmask.cli.register import register_file
from clipmask.config import load_cfg
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.errors import UserError
from clipmask.shipped import shipped_folder

EXAMPLES = """\
examples:
  %(prog)s --config-file configs/toy.yaml
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --num-gpus 8 OUTPUT_DIR runs/r50
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --resume OUTPUT_DIR runs/r50
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --eval-only MODEL.WEIGHTS runs/r50/model_best.pth
  for your own pictures, described by a YAML file (clipmask-data init writes one):
  %(prog)s --dataset streets.yaml
  %(prog)s --dataset streets.yaml SOLVER.MAX_ITER 4000 OUTPUT_DIR runs/streets
  %(prog)s --dataset streets.yaml MODEL.WEIGHTS clipmask-street SOLVER.MAX_ITER 300
  %(prog)s --dataset streets.yaml --eval-only MODEL.WEIGHTS runs/streets/model_best.pth
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --dataset streets.yaml lanes.yaml --num-gpus 2
  for datasets that are registered in Python:
  %(prog)s --config-file my.yaml --register my_data.py DATASETS.TRAIN "('mine_train',)" DATASETS.TEST "('mine_val',)"
  for two machines with 8 GPUs each; run it on both, with --machine-rank 0 and 1:
  %(prog)s --config-file my.yaml --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://10.0.0.1:29500

SOLVER.IMS_PER_BATCH is the batch of all devices together. With SOLVER.MAX_IMS_PER_DEVICE, fewer devices accumulate it.
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser("Train a segmentation model, or evaluate one.", EXAMPLES)
    none = argparse.SUPPRESS
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help=(
            "config: a YAML file, or the name of a bundled one, with or without configs/ before it,"
            " such as toy.yaml or camvid/clipmask_r50.yaml; with --dataset it is optional, and the"
            " default is custom.yaml, which starts from ImageNet's weights"
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
            " classes and the splits. Their split train becomes DATASETS.TRAIN, and val (or test,"
            " if there is no val) becomes DATASETS.TEST, unless you give these as KEY VALUE"
        ),
    )
    add_register(
        parser,
        "Python files that are imported first, in every process. They may register datasets in"
        " DatasetCatalog and MetadataCatalog of clipmask.d2 (or detectron2.data) and backbones in"
        " its BACKBONE_REGISTRY; a function add_..._config(cfg) in them adds config keys",
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
            "start a new run in an OUTPUT_DIR that contains a run, whose files are moved to"
            " OUTPUT_DIR/earlier_N"
        ),
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="only evaluate MODEL.WEIGHTS on DATASETS.TEST"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the network with torch.compile (the config key MODEL.COMPILE)",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        help="number of devices per machine; with MODEL.DEVICE cpu, number of processes",
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, help="number of machines in this run"
    )
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        help="tcp://HOST:PORT of machine 0; auto: a free port, for a single machine",
    )
    parser.add_argument(
        "opts",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="config values that replace those of the file",
    )
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; options and KEY VALUE pairs may be in any order."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    # argparse adds KEY VALUE pairs after the files of --register or --dataset to these files
    args.register, pairs = _leading(args.register, (".py",))
    args.dataset, more = _leading(args.dataset, (".yaml", ".yml"))
    args.opts = pairs + more + args.opts
    args.config_file = getattr(args, "config_file", None)
    if args.config_file is None and not args.dataset:
        parser.error("name a config (--config-file) or your own data (--dataset)")
    return args


def _leading(words: list[str], endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Splits words after the file names at their start; the first word always counts as one."""
    files = [index == 0 or word.endswith(endings) for index, word in enumerate(words)]
    count = files.index(False) if False in files else len(files)
    return words[:count], words[count:]


def register_datasets(paths: Sequence[str], *, eval_only: bool = False) -> list[str]:
    """Registers descriptors and returns the KEY VALUE pairs that select them as datasets.

    Args:
        paths: the paths of the descriptors.
        eval_only: True: no split for training is needed.

    Raises:
        UserError: a descriptor is wrong; or none has a split ``train``, but one is needed.
    """
    if not paths:
        return []
    registered = [register_descriptor(path) for path in paths]
    train = tuple(names["train"] for names in registered if "train" in names)
    tested = (names.get("val") or names.get("test") for names in registered)
    if not train and not eval_only:
        splits = ", ".join(itertools.chain.from_iterable(registered))
        raise UserError(
            f"--dataset {' '.join(paths)}: no split is called train (there are {splits}): rename"
            " one, or choose the training data with DATASETS.TRAIN"
        )
    test = tuple(name for name in tested if name)
    return ["DATASETS.TRAIN", repr(train), "DATASETS.TEST", repr(test)]


def set_environment(args: argparse.Namespace) -> None:
    """Sets the environment variables of the launcher from --dist-url and --machine-rank.

    torchrun and SLURM have already started the processes, so their numbers replace those in
    ``args``.

    Raises:
        UserError: there are several machines but no address; the address is wrong; SLURM started
            tasks that can't be the processes of one run.
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
            f"--machine-rank {args.machine_rank}: with --num-machines {args.num_machines}, it must"
            f" be 0 to {args.num_machines - 1}"
        )
    if args.dist_url != "auto":
        try:
            url = urlsplit(args.dist_url)
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if not host or not port:
            raise UserError(
                f"--dist-url {args.dist_url}: give tcp://HOST:PORT of machine 0, or auto"
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
    """Sets the numbers of devices and machines to those of ``srun``'s tasks."""
    tasks, machines = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    # Fabric ignores SLURM in jobs with these names
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        raise UserError(
            f"srun started {tasks} tasks in an interactive job, and each would be a separate"
            " training: start one task with --num-gpus, or give the job another name (srun"
            " --job-name=train)"
        )
    if tasks % machines:
        raise UserError(
            f"srun started {tasks} tasks on {machines} machines: start the same number on each"
        )
    args.num_gpus, args.num_machines = tasks // machines, machines


def _run(argv: Sequence[str] | None) -> int:
    args = parse_args(argv)
    set_environment(args)
    for path in args.register:
        register_file(path)
    train_given = "DATASETS.TRAIN" in args.opts[::2]
    datasets = register_datasets(args.dataset, eval_only=args.eval_only or train_given)
    compiled = ["MODEL.COMPILE", "True"] if args.compile else []
    cfg = load_cfg(
        args.config_file or shipped_folder("configs") / "custom.yaml",
        [*datasets, *compiled, *args.opts],
    )
    # These imports take seconds; they come last, so that a mistake in the command line is reported
    # at once.
    from clipmask.engine.evaluation import evaluate_checkpoint
    from clipmask.engine.train import train

    machines = {"num_gpus": args.num_gpus, "num_machines": args.num_machines}
    if args.eval_only:
        evaluate_checkpoint(cfg, resume=args.resume, **machines)
    else:
        train(cfg, resume=args.resume, start_over=args.start_over, **machines)
    return 0


# with several processes the arguments are those of sys.argv, as the others are started with them
main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
