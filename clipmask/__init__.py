"""ClipMask: semantic segmentation by mask classification, guided by CLIP's text embeddings of the class names."""

from clipmask.config import add_clipmask_config, get_cfg, load_cfg
from clipmask.data import register_builtin_datasets
from clipmask.errors import UserError
from clipmask.modeling import ClipMask, build_model
from clipmask.predictor import Predictor

__all__ = ["ClipMask", "Predictor", "UserError", "add_clipmask_config", "build_model", "get_cfg", "load_cfg"]

register_builtin_datasets()
