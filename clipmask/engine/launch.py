"""Processes, device and precision of a run: Lightning Fabric, set up from the config.

With several devices every process runs the same command line. Fabric starts the other processes of
this machine, unless torchrun or SLURM has started them.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
from fvcore.common.config import CfgNode
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies import DDPStrategy, Strategy
from torch import Tensor, nn

from clipmask.data.workers import GIVE_UP_S
from clipmask.device import resolve_device
from clipmask.engine.sharding import sharding_strategy
from clipmask.engine.waiting import loader_fault, others_lost, waiting_for
from clipmask.errors import UserError, first_line

logger = logging.getLogger(__name__)


class InputKeepingPrecision(MixedPrecision):
    """Fabric's mixed precision without its rounding of the arguments of ``forward``.

    Autocast rounds inside the model where that is safe. Rounding the arguments to 16 bits would
    make the loss normaliser, a count, inexact beyond 256.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def is_main_process() -> bool:
    """Returns whether this process is the one that writes files and messages; also before the
    launch.
    """
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(rank, "0") == "0" for rank in ranks)


def resolve_precision(enabled: bool, dtype: str, device: torch.device) -> str:
    """Returns Fabric's name for the precision that SOLVER.AMP asks for.

    Args:
        enabled: SOLVER.AMP.ENABLED.
        dtype: SOLVER.AMP.DTYPE, bf16 or fp16; fp16 becomes bf16 on a CPU, with one logged warning.
        device: where the run computes.

    Returns:
        ``32-true``, ``bf16-mixed`` or ``16-mixed``.

    Raises:
        UserError: another dtype, or mixed precision on a device without it.
    """
    if dtype not in ("bf16", "fp16"):
        raise UserError(f"SOLVER.AMP.DTYPE {dtype!r}: say bf16 or fp16")
    if not enabled:
        return "32-true"
    if device.type == "mps":
        raise UserError(
            "SOLVER.AMP.ENABLED True is for cuda and cpu; with MODEL.DEVICE mps say False"
        )
    if dtype == "fp16" and device.type == "cpu":
        logger.warning("SOLVER.AMP.DTYPE is fp16, which a CPU does not train in: using bf16")
        dtype = "bf16"
    if dtype == "bf16":
        return "bf16-mixed"
    return "16-mixed"


def reduce_sum(fabric: Fabric, value: Tensor) -> Tensor:
    """Returns the sum of every process's ``value``, of one shape.

    ``Fabric.all_reduce`` would wait for all processes in a barrier first, which a reduction does by
    itself.
    """
    if fabric.world_size == 1:
        return value
    total = value.to(fabric.device, copy=True)
    with waiting_for("the other processes of the run"):
        torch.distributed.all_reduce(total)
    return total


def share_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Gives the saved buffers of ``module`` the main process's values in every process.

    The statistics of BatchNorm are those of each process's own samples until its next step; a
    checkpoint holds the main process's.
    """
    if fabric.world_size == 1:
        return
    saved = module.state_dict().keys()
    with waiting_for("the other processes of the run"):
        for name, buffer in module.named_buffers():
            if name in saved:
                torch.distributed.broadcast(buffer, src=0)


def launch(cfg: CfgNode, num_gpus: int = 1, num_machines: int = 1) -> Fabric:
    """Starts the processes of a run and returns this process's Fabric.

    Args:
        cfg: MODEL.DEVICE, SOLVER.AMP and SOLVER.STRATEGY are read.
        num_gpus: devices per machine; on a CPU, processes (gloo) that share its cores.
        num_machines: machines; the address and this machine's number come from the environment
            (MASTER_ADDR, MASTER_PORT, NODE_RANK), which ``--dist-url`` and ``--machine-rank`` set.

    Raises:
        UserError: more devices than there are, a device that can't be shared out so, or a config
            that does not go with SOLVER.STRATEGY.
    """
    if num_gpus < 1 or num_machines < 1:
        raise UserError(f"--num-gpus {num_gpus} --num-machines {num_machines}: both are at least 1")
    if cfg.SOLVER.IMS_PER_BATCH % (num_gpus * num_machines):
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} can't be shared out equally over"
            f" --num-gpus {num_gpus} on {num_machines} machine(s): make it a multiple of"
            f" {num_gpus * num_machines}"
        )
    device = resolve_device(cfg.MODEL.DEVICE)
    if device.type == "cuda" and num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {num_gpus}: this machine has {torch.cuda.device_count()} CUDA device(s)"
        )
    several = num_gpus * num_machines > 1
    if several and (device.type == "mps" or device.index is not None):
        raise UserError(
            f"MODEL.DEVICE {cfg.MODEL.DEVICE} names one device; several processes need cuda or cpu"
        )
    precision = resolve_precision(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE, device)
    mixed, patience = precision != "32-true", timedelta(seconds=GIVE_UP_S)
    strategy: Strategy | str = "auto"
    if several and cfg.SOLVER.STRATEGY == "fsdp":
        strategy = sharding_strategy(cfg, num_gpus * num_machines, patience)
    elif several:
        strategy = DDPStrategy(timeout=patience)
    fabric = Fabric(
        accelerator=device.type,
        devices=num_gpus if device.index is None else [device.index],
        num_nodes=num_machines,
        strategy=strategy,
        plugins=[InputKeepingPrecision(precision, device.type)] if mixed else None,  # type: ignore[arg-type]
        precision=None if mixed else "32-true",
    )
    try:
        with waiting_for(f"all {num_gpus * num_machines} processes of the run to begin"):
            fabric.launch()
    except torch.distributed.DistError as error:
        end_children(fabric)
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = first_line(error)
        raise UserError(
            f"the processes of the run can't meet at {where} ({reason}): give --dist-url another"
            " port where this one is in use, and start all machines"
        ) from error
    return fabric


def child_processes(fabric: Fabric) -> Sequence[subprocess.Popen[Any]]:
    """Returns the processes that this one has started for the run."""
    return getattr(getattr(fabric.strategy, "launcher", None), "procs", [])


def end_children(fabric: Fabric) -> None:
    """Ends the processes that this one has started for the run."""
    for process in child_processes(fabric):
        process.kill()


def _ended_child(fabric: Fabric, patience: float = 5.0) -> str | None:
    """Says which process that this one has started ended with an error, if one does in time."""
    deadline = time.monotonic() + patience
    while child_processes(fabric) and time.monotonic() < deadline:
        for rank, process in enumerate(child_processes(fabric), 1):
            if process.poll():
                return f"process {rank} ended with status {process.returncode}"
        time.sleep(0.05)
    return None


def _tell_lost(fabric: Fabric, ended: str | None, error: BaseException) -> NoReturn:
    """Ends a process that lost another one: that one has said why, and one line is enough."""
    if fabric.global_rank:
        raise SystemExit(2) from error
    raise UserError(
        f"{ended or 'another process of the run was lost'}: its own message, if it could say one,"
        f" stands above and in log.txt ({first_line(error)[:200]})"
    ) from error


@contextmanager
def launched(cfg: CfgNode, num_gpus: int = 1, num_machines: int = 1) -> Iterator[Fabric]:
    """Context of a launched run. At its end the process group is closed; after an error the other
    processes are ended, so that none waits forever.
    """
    fabric = launch(cfg, num_gpus, num_machines)
    try:
        yield fabric
    except BaseException as error:
        lost = fabric.world_size > 1 and others_lost(error)
        ended = None
        if lost:
            ended = _ended_child(fabric)
        end_children(fabric)  # they may wait in a collective for this process
        if lost:
            _tell_lost(fabric, ended, error)
        if fault := loader_fault(error):
            raise UserError(fault, key="DATALOADER.NUM_WORKERS") from error
        raise
    finally:
        if fabric.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
