"""ClipMask: semantic segmentation by mask classification, guided by CLIP's text embeddings of the class names."""

from clipmask.errors import UserError

__all__ = ["ClipMask", "Predictor", "UserError", "add_clipmask_config", "build_model", "get_cfg", "load_cfg"]

try:
    from clipmask.config import add_clipmask_config, get_cfg, load_cfg
    from clipmask.data import register_builtin_datasets
    from clipmask.modeling import ClipMask, build_model
    from clipmask.predictor import Predictor

    register_builtin_datasets()
except (UserError, ImportError) as error:  # a Detectron2 or another library that can't be used
    _reason = error

    # Told at the first use of any name instead of here, so that ``python -m clipmask.env`` can report it.
    def __getattr__(name: str) -> object:
        if name in __all__:
            raise _reason
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
