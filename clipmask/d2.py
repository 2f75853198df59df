"""The seam to Detectron2: the eight names that ClipMask takes from it, and the only module that
imports it.

They come from Detectron2 where it is installed and from ``clipmask.builtin`` where it is not;
``IMPLEMENTATION`` says which. The environment variable ``CLIPMASK_D2``, ``builtin`` or
``detectron2``, forces one of the two. An installed Detectron2 that can't be imported is an error,
never a silent change to the other catalogs.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from typing import TYPE_CHECKING, Any

from clipmask.errors import NameTakenError, UserError

__all__ = [
    "BACKBONE_REGISTRY",
    "IMPLEMENTATION",
    "META_ARCH_REGISTRY",
    "Backbone",
    "DatasetCatalog",
    "DatasetEvaluator",
    "MetadataCatalog",
    "SemSegEvaluator",
    "ShapeSpec",
    "detectron2_config",
    "event_storage",
    "register_model",
]


def _find_detectron2() -> str | None:
    """Returns the file of the Detectron2 that an import would load, or None.

    A folder without ``__init__.py``, such as a clone of the repository in the working directory, is
    not installed.
    """
    try:
        spec = importlib.util.find_spec("detectron2")
    except ModuleNotFoundError:  # an import hook forbids it
        return None
    # already in sys.modules, by other means than an import: whoever put it there means it
    except ValueError:
        return "sys.modules"
    if not spec:
        return None
    return spec.origin


def _choose() -> str:
    """Returns ``builtin`` or ``detectron2``, by ``CLIPMASK_D2`` or by what is installed.

    Raises:
        UserError: the variable has another value, or asks for a Detectron2 that is not there.
    """
    wanted = os.environ.get("CLIPMASK_D2", "")
    if wanted not in ("", "builtin", "detectron2"):
        raise UserError(
            f"CLIPMASK_D2={wanted} is neither 'builtin' nor 'detectron2'; "
            "set CLIPMASK_D2=builtin, or unset it to use Detectron2 wherever it is installed"
        )
    if wanted == "builtin":
        return "builtin"
    found = _find_detectron2() is not None
    if wanted == "detectron2" and not found:
        raise UserError(
            "CLIPMASK_D2=detectron2 asks for Detectron2, which is not installed here; install it "
            "(pip install 'clipmask[detectron2]') or set CLIPMASK_D2=builtin to do without it"
        )
    if found:
        return "detectron2"
    return "builtin"


IMPLEMENTATION: str = _choose()

if TYPE_CHECKING or IMPLEMENTATION == "builtin":
    from clipmask.builtin.backbone import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Backbone, ShapeSpec
    from clipmask.builtin.catalog import DatasetCatalog, MetadataCatalog
    from clipmask.builtin.evaluation import DatasetEvaluator, SemSegEvaluator
else:
    try:
        from detectron2.data import DatasetCatalog, MetadataCatalog
        from detectron2.evaluation import DatasetEvaluator, SemSegEvaluator
        from detectron2.layers import ShapeSpec
        from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Backbone
    # a mismatch with torch, Pillow or numpy shows as any kind of error
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:500]  # some compilers' output is in it
        raise UserError(
            f"Detectron2 was found at {_find_detectron2()} but can't be imported"
            f" ({type(error).__name__}: {reason}); repair or remove it, or set CLIPMASK_D2=builtin"
            " to run ClipMask without it"
        ) from error
    if "sem_seg_loading_fn" not in inspect.signature(SemSegEvaluator.__init__).parameters:
        raise UserError(
            f"Detectron2 at {_find_detectron2()} is too old: its SemSegEvaluator takes no"
            " sem_seg_loading_fn, which came in March 2022. Install its current main, or set"
            " CLIPMASK_D2=builtin to run ClipMask without it"
        )


def detectron2_config() -> Any:
    """Returns Detectron2's config with its defaults, for the keys that its backbones read; None
    where it is not in use.

    Raises:
        UserError: Detectron2 can't be imported.
    """
    if IMPLEMENTATION == "builtin":
        return None
    try:
        from detectron2.config import get_cfg
    except (Exception, SystemExit) as error:
        raise UserError(
            f"Detectron2's config can't be imported ({type(error).__name__}: {error})"
        ) from error
    return get_cfg()


def event_storage() -> Any:
    """Returns the event storage of Detectron2's training loop that runs now; None outside of
    one.
    """
    if IMPLEMENTATION == "builtin":
        return None
    from detectron2.utils.events import get_event_storage

    try:
        return get_event_storage()
    except AssertionError:  # how it says that there is none
        return None


def register_model(model: Any) -> Any:
    """Registers a class in ``META_ARCH_REGISTRY`` under its own name, as a decorator.

    Raises:
        NameTakenError: another project has registered the name.
    """
    name = model.__name__
    if name in META_ARCH_REGISTRY:
        raise NameTakenError(
            f"META_ARCH_REGISTRY has a model {name} of {META_ARCH_REGISTRY.get(name).__module__}"
            " already, so that ClipMask's can't be registered; import clipmask before that"
            " project, or in a process of its own"
        )
    return META_ARCH_REGISTRY.register()(model)
