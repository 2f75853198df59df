"""ClipMask: semantic segmentation by mask classification, guided by CLIP's text embeddings of the
class names.
"""

from typing import TYPE_CHECKING, Any

from clipmask.errors import NameTakenError, UserError

__version__ = "0.1.0"  # of the distribution too: setup.cfg reads it here

__all__ = [
    "ClipMask",
    "Predictor",
    "UserError",
    "add_clipmask_config",
    "build_model",
    "get_cfg",
    "load_cfg",
]

_failure: Exception | None = None
try:
    from clipmask.config import add_clipmask_config, get_cfg, load_cfg
    from clipmask.data import register_builtin_datasets
    from clipmask.inference import Predictor
    from clipmask.modeling import ClipMask, build_model

    register_builtin_datasets()
except NameTakenError:
    raise  # at once: a script that goes on would build the other project's model by our name
# a Detectron2, or a torch, that can't be used; libraries show that as any kind of error
except Exception as error:
    # Raised at the first use of a public name and not here, so that ``python -m clipmask.env`` can
    # tell about it. What was imported before it goes too: half of the names would carry a user's
    # script on to an error far from the cause.
    _failure = error
    for _name in set(__all__) - {"UserError"}:
        globals().pop(_name, None)

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """Raises what the import of the package met, for names that would be here without it."""
        if _failure is not None and name in __all__:
            raise _failure
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
