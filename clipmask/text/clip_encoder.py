"""CLIP's text tower in open_clip's own modules, without the image tower.

    features = E(ids)                               sentences as CLIP reads them
    features = E([start; v_1 .. v_M; name; end])    with M learned vectors before the name, see
                                                    learned.py

Depending on the model, open_clip keeps the parts of the tower in the model itself (``CLIP``) or in
a module of their own (``CustomTextCLIP``, CoCa). Here they are always in a module of their own, so
the names of the weights are the same for all models.

Shapes: N sentences, L CLIP's context length in tokens, M learned vectors, W the tower's token
width, D text width.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipmask.errors import MissingText, UserError, first_line
from clipmask.weights.hub import HUB, check_cached, short_wait

CHUNK = 256  # the most sentences that are encoded in one batch


class ClipTextEncoder(nn.Module):
    """Encodes sentences. It is always in evaluation mode, so that no dropout makes T random.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        quick_gelu: the activation that the weights were trained with, see ``uses_quick_gelu``.

    Raises:
        UserError: open_clip does not know the name, or the model's description can't be downloaded.
    """

    def __init__(self, name: str, quick_gelu: bool) -> None:
        super().__init__()
        # A private function of open_clip, because no public one builds the tower alone. Therefore
        # setup.cfg limits the version of open_clip.
        from open_clip.model import _build_text_tower

        config = model_config(name)
        text = {**config["text_cfg"], "hf_model_pretrained": False}
        self.encoder = _build_text_tower(config["embed_dim"], text, quick_gelu)
        self.context_length = token_count(config)
        self._name = name
        mask = getattr(self.encoder, "attn_mask", None)
        if mask is not None:
            # An average of weights includes buffers, and -inf minus -inf would be nan in the mask.
            mask.clamp_(min=torch.finfo(mask.dtype).min)
        self.eval()

    def train(self, mode: bool = True) -> ClipTextEncoder:
        """Keeps the evaluation mode for every ``mode``."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """The device of the tower."""
        return next(self.parameters()).device

    def tokenize(self, texts: Sequence[str], room: int = 0) -> Tensor:
        """Turns texts into ids (N, L) on the tower's device.

        Args:
            texts: N sentences. Longer ones than L tokens are cut, but their end token is kept.
            room: M, the number of places to leave free between the start token and the text.
        """
        with torch.inference_mode(False):  # ids made in an evaluation may be used in training
            return _ids(self._name, tuple(texts), self.context_length, room).to(
                self.device, non_blocking=True
            )

    def forward(self, ids: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns features (N, D), float, not normalised.

        Args:
            ids: (N, L) from ``tokenize``.
            context: (M, W) or (N, M, W) vectors for the places left by ``room``; None if there are
                none.
        """
        parts = ids.split(CHUNK)
        if context is None:
            return torch.cat([self._encode(part) for part in parts])
        vectors = context.expand(len(ids), -1, -1).split(CHUNK)
        pairs = zip(parts, vectors, strict=True)
        return torch.cat([self._encode_after(part, given) for part, given in pairs])

    def _encode(self, ids: Tensor) -> Tensor:
        features = self.encoder(ids)
        if isinstance(features, tuple):  # CoCa's tower also returns its tokens
            features = features[0]
        return features.float()

    def _encode_after(self, ids: Tensor, context: Tensor) -> Tensor:
        """Encodes ids (N, L) with the vectors ``context`` (N, M, W) at the M places left free."""
        start, length = _tokenizer(self._name)[1], context.shape[1]

        def put_in(module: nn.Module, args: Any, embedded: Tensor) -> Tensor:
            return torch.cat(
                [embedded[:, :start], context.to(embedded), embedded[:, start + length :]], dim=1
            )

        handle = self.encoder.token_embedding.register_forward_hook(put_in)
        try:
            return self._encode(ids)
        finally:
            handle.remove()


def load_tower(name: str, pretrained: str) -> ClipTextEncoder:
    """Loads CLIP and keeps its text tower, on the CPU. Random states are not changed.

    Args:
        name: open_clip's model name or ``hf-hub:owner/name``.
        pretrained: open_clip's tag for it, or a local file.

    Raises:
        UserError: the weights can't be loaded or downloaded.
    """
    import open_clip

    hub, quick_gelu = name.startswith(HUB), uses_quick_gelu(name, pretrained)
    # open_clip draws random weights before it loads the trained ones; the fork keeps the caller's
    # random state. Inference mode is left, because a tower that is loaded during an evaluation may
    # be used in training afterwards.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), _own_log():
        try:
            # a model that open_clip describes, with weights in a local file, needs no hub
            with nullcontext() if Path(pretrained).is_file() and not hub else short_wait():
                model = open_clip.create_model(
                    name,
                    pretrained=None if hub else pretrained,
                    require_pretrained=not hub,
                    force_quick_gelu=quick_gelu,
                )
                _tokenizer(name)
            _check_cached(name, pretrained)
        except UserError:
            raise
        except Exception as error:  # every hub and network library has exceptions of its own
            _check_cached(name, pretrained)
            raise unavailable(name, pretrained, error) from error
        tower = ClipTextEncoder(name, quick_gelu)
        weights = getattr(model, "text", model).state_dict()
        tower.encoder.load_state_dict({key: weights[key] for key in tower.encoder.state_dict()})
    return tower


def _check_cached(name: str, pretrained: str) -> None:
    """Raises a ``UserError`` if the cached weights are not those that the hub announced."""
    from open_clip.pretrained import get_pretrained_cfg

    if name.startswith(HUB):
        check_cached(name.removeprefix(HUB))
    elif place := (get_pretrained_cfg(name, pretrained) or {}).get("hf_hub", ""):
        check_cached("/".join(place.split("/")[:2]))  # owner/name/, or owner/name/file


def model_config(name: str) -> dict[str, Any]:
    """Returns open_clip's description of a model.

    Raises:
        UserError: there is none, or it can't be downloaded.
    """
    import open_clip

    if name.startswith(HUB):
        try:
            from open_clip.factory import _get_hf_config

            with short_wait():
                return dict(_get_hf_config(name.removeprefix(HUB))["model_cfg"])
        except Exception as error:  # every hub and network library has exceptions of its own
            raise unavailable(name, "its hub's weights", error) from error
    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.3)
        raise UserError(
            f"MODEL.CLIP.NAME {name!r}: open_clip has no such model; near: {', '.join(near)}",
            key="MODEL.CLIP.NAME",
        )
    return dict(config)


def check_pretrained(name: str, pretrained: str) -> None:
    """Checks that MODEL.CLIP.PRETRAINED is a file or a tag of the model.

    Raises:
        UserError: it is neither.
    """
    import open_clip

    tags = [] if name.startswith(HUB) else open_clip.list_pretrained_tags_by_model(name)
    if not (name.startswith(HUB) or Path(pretrained).is_file() or pretrained.lower() in tags):
        raise UserError(
            f"MODEL.CLIP.PRETRAINED {pretrained!r} is neither a file nor a tag of {name}; its tags:"
            f" {', '.join(tags) or 'none'}",
            key="MODEL.CLIP.PRETRAINED",
        )


def uses_quick_gelu(name: str, pretrained: str) -> bool:
    """Returns whether the weights were trained with x sigmoid(1.702 x) in place of GELU.

    OpenAI's weights were.

    open_clip's entry for the tag says so. If the model's description contradicts it, open_clip 3
    only warns. For a local file only the description is known: for a file with OpenAI's ViT-B-16,
    use the model ViT-B-16-quickgelu.
    """
    from open_clip.pretrained import get_pretrained_cfg

    tagged = {} if name.startswith(HUB) else get_pretrained_cfg(name, pretrained)
    return bool(model_config(name).get("quick_gelu", False) or tagged.get("quick_gelu", False))


def token_count(config: dict[str, Any]) -> int:
    """Returns L of a model with this description."""
    return int(config["text_cfg"].get("context_length", 77))


def token_width(name: str, room: int) -> int:
    """Returns W of a model, after checking that its tower can take M = ``room`` learned vectors.

    Raises:
        UserError: the tower can't take learned vectors, or can't take so many.
    """
    config = model_config(name)
    if "hf_model_name" in config["text_cfg"]:
        raise UserError(
            f"MODEL.CLIP.TOWER context: the text tower of {name} comes from Hugging Face and"
            " can't take learned vectors; use frozen or full, or a model with open_clip's"
            " own text tower, such as ViT-B-16",
            key="MODEL.CLIP.TOWER",
        )
    most = token_count(config) // 2
    if not 1 <= room <= most:
        raise UserError(
            f"MODEL.CLIP.CONTEXT_LENGTH {room}: must be 1 to {most}, half of the"
            f" {token_count(config)} tokens that {name} reads",
            key="MODEL.CLIP.CONTEXT_LENGTH",
        )
    return int(config["text_cfg"].get("width", 512))


def unavailable(name: str, pretrained: str, error: Exception) -> MissingText:
    """Returns the error for weights that can't be loaded, with the reason and what to do."""
    reason = first_line(error)
    return MissingText(
        f"CLIP weights {name} ({pretrained}) can't be loaded through open_clip"
        f" ({type(error).__name__}: {reason}). Set MODEL.CLIP.PRETRAINED to a local file of them,"
        " MODEL.CLIP.EMBEDDINGS to an .npz with the embeddings of your class names (clipmask-embed"
        " writes one on a machine with a network), or MODEL.CLIP.EMBEDDINGS to random to go"
        " without CLIP on purpose"
    )


@functools.lru_cache(maxsize=8)
def _ids(name: str, texts: tuple[str, ...], length: int, room: int) -> Tensor:
    """See ``ClipTextEncoder.tokenize``; on the CPU. Cached, since training asks at every step."""
    tokenizer, start, filler = _tokenizer(name)
    ids = tokenizer(list(texts), context_length=length - room)
    return torch.cat(
        [ids[:, :start], ids.new_full((len(ids), room), filler), ids[:, start:]], dim=1
    )


@functools.cache
def _tokenizer(name: str) -> tuple[Any, int, int]:
    """Returns the model's tokenizer, its number of ids before a text, and the id of any word."""
    import open_clip

    with _own_log():
        tokenizer = open_clip.get_tokenizer(name)
    one, other = tokenizer(["road", "sky"])
    start = int((one != other).int().argmax())
    return tokenizer, start, int(one[start])


@contextmanager
def _own_log() -> Iterator[None]:
    """Keeps open_clip from adding a handler to the root logger, which would print lines twice."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
