"""Builds and compiles the model that a config names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode
from torch import nn

from clipmask.d2 import META_ARCH_REGISTRY
from clipmask.data.configured_classes import named_vocabulary
from clipmask.errors import UserError
from clipmask.modeling.clipmask import ClipMask
from clipmask.vocabulary import Vocabulary


def build_model(
    cfg: CfgNode,
    classes: Sequence[str] | Sequence[Vocabulary] | None = None,
    text_width: int | None = None,
) -> ClipMask:
    """Builds the meta-architecture that ``MODEL.META_ARCHITECTURE`` names, on the CPU.

    Args:
        cfg: the config.
        classes: class names, or vocabularies of several datasets; None: the config's.
        text_width: see ``ClipMask.from_config``.

    Raises:
        UserError: the name is not registered; or an error of ``ClipMask.from_config``.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    registered = None
    if name in META_ARCH_REGISTRY:
        registered = META_ARCH_REGISTRY.get(name)
    if registered is None or registered.__module__.startswith("detectron2."):
        raise UserError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered by ClipMask or by you;"
            " configs/base.yaml sets ClipMask: start your config with _BASE_ and the path of that"
            " file",
            key="MODEL.META_ARCHITECTURE",
        )
    # Arguments that are not given are left out: other meta-architectures may not have them.
    given: dict[str, Any] = {}
    if text_width is not None:
        given["text_width"] = text_width
    if classes:
        names = [item for item in classes if isinstance(item, str)]
        vocabularies = [item for item in classes if isinstance(item, Vocabulary)]
        given["vocabularies"] = vocabularies or [named_vocabulary(cfg, names)]
    return registered(cfg, **given)


def compile_model(model: nn.Module) -> None:
    """Calls ``ClipMask.compile_network``; raises a UserError for a model of another class."""
    if not isinstance(model, ClipMask):
        raise UserError(
            f"MODEL.COMPILE (--compile) needs ClipMask or a subclass, not {type(model).__name__}"
        )
    model.compile_network()
