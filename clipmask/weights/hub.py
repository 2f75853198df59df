"""Models on Hugging Face's hub, or on another server that speaks its protocol (``HF_ENDPOINT``).

A repository holds one model: ``model.safetensors``, as ``clipmask pack`` writes it, and a card,
``README.md``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipmask.errors import UserError, first_line
from clipmask.vocabulary import first_synonym
from clipmask.weights.licenses import UNKNOWN, License, checkpoint_licenses, phrase

HUB = "hf-hub:"
FILE = "model.safetensors"
# Of the hub's identifiers of licences, those that need no further terms; any other mixture is
# "other".
_HUB_LICENSES = (
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
)
_CHUNK = 1 << 20  # bytes that are read together
_NO_WAY = (502, 503, 504)  # what a gateway answers that does not reach the hub
_SWITCH = threading.RLock()  # one body may contain another


class HubUnreachable(ConnectionError):
    """The hub can't be reached, and the cache has no copy of what is needed."""


@contextlib.contextmanager
def short_wait() -> Iterator[None]:
    """Asks the hub once whether it is there; where it is not, the body has the cache alone.

    The hub's library asks again and again for every file that is missing, which takes most of a
    minute without a network, and minutes where a firewall swallows the packets. Here a run waits
    ``HF_HUB_ETAG_TIMEOUT`` seconds at the most, 10 unless the environment says otherwise.

    The library has one switch for the whole process. So the bodies of several threads run one after
    the other, and none switches the library for another one.

    Raises:
        HubUnreachable: in place of what the body raises for a file that the cache lacks.
    """
    from huggingface_hub import constants

    with _SWITCH:
        fault = None if constants.HF_HUB_OFFLINE else _unreachable()
        if fault is None:
            yield
            return
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        except Exception as error:  # every library wraps it in an exception of its own
            if _for_want_of_a_file(error):
                raise HubUnreachable(
                    f"the hub can't be reached, and the cache has no copy ({fault})"
                ) from error
            raise
        finally:
            constants.HF_HUB_OFFLINE = False


def _unreachable() -> str | None:
    """Says why the hub can't be reached; None: it answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        answer = get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the network's library has exceptions of its own
        return f"{constants.ENDPOINT}: {type(error).__name__}: {first_line(error)}"
    status = int(answer.status_code)
    if status not in _NO_WAY:
        return None
    return f"{constants.ENDPOINT} answers {status}"


def _for_want_of_a_file(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised for, says that the cache lacks a file."""
    from huggingface_hub import errors

    while error is not None:
        if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
            return True
        error = error.__cause__ or error.__context__
    return False


def download(name: str) -> Path:
    """Returns the local file of a repository's model, from the hub's cache if it is there.

    A download that breaks off is continued, a few times.

    Args:
        name: ``hf-hub:owner/name`` or ``hf-hub:owner/name@revision``.

    Raises:
        UserError: the name is none; the repository, revision or file is not there; the hub can't be
            reached and the cache has no copy; or what came is not what the hub announced.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(
            f"{name}: a model of the hub is written {HUB}owner/name, or {HUB}owner/name@revision"
        )
    from huggingface_hub import hf_hub_download

    try:
        with short_wait():
            path = Path(hf_hub_download(repository, FILE, revision=revision or None))
    except Exception as error:  # the hub's library and the network's have exceptions of their own
        raise UserError(f"{name}: {_reason(error)}") from error
    check_cached(repository)
    return path


def _reason(error: Exception) -> str:
    """Says what the hub's library met, and the way out."""
    from huggingface_hub import errors

    kinds: list[tuple[type[Exception], str]] = [
        (
            errors.GatedRepoError,
            "its owner must grant access to it: ask on the model's page, then hf auth login",
        ),
        (
            errors.RepositoryNotFoundError,
            "there is no such model, or it is private: check the name, or hf auth login",
        ),
        (errors.RevisionNotFoundError, "the model has no such revision"),
        (
            errors.LocalEntryNotFoundError,
            "the hub can't be reached, and the cache has no copy: check the network, or "
            "download the file elsewhere and name it",
        ),
        (
            HubUnreachable,
            f"{first_line(error)}: check the network, or download the file elsewhere and name it",
        ),
        (errors.EntryNotFoundError, f"the model has no file {FILE}: clipmask pack makes one"),
    ]
    for kind, meaning in kinds:
        if isinstance(error, kind):
            return meaning
    slow = "Timeout" in type(error).__name__
    patience = ""
    if slow:
        patience = (
            "; HF_HUB_DOWNLOAD_TIMEOUT=60 in the environment waits longer than 10 s for a slow"
            " network"
        )
    return (
        f"could not be downloaded ({type(error).__name__}: {first_line(error)}); try again, or"
        f" download the file elsewhere{patience}"
    )


def check_cached(repository: str) -> None:
    """Compares what the cache holds of a repository with the checksums that the hub announced.

    The cache calls large files by their SHA-256; the hub's library itself compares sizes alone.

    Raises:
        UserError: the content of a file does not have the announced checksum. The file is removed,
            so that the next call fetches it.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    blobs = [path for path in folder.glob("blobs/*") if re.fullmatch(r"[0-9a-f]{64}", path.name)]
    damaged = [path for path in blobs if _sha256(path) != path.name]
    for path in damaged:
        path.unlink()
    for link in folder.glob("snapshots/*/*"):
        if link.is_symlink() and not link.exists():
            link.unlink()
    if damaged:
        raise UserError(
            f"{HUB}{repository}: what came is not what the hub announced (its checksum is wrong);"
            " the file was removed from the cache, so try again"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()


def push(
    checkpoint: dict[str, Any],
    content: bytes,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Uploads a model to the hub, with a card that says its classes and its licences; returns the
    model's address.

    Args:
        checkpoint: what the model was packed from: class names and licences are read.
        content: the bytes that ``clipmask.weights.packed.pack`` made of it.
        repository: ``owner/name``, made if it is not there.
        private: of a repository that is made.
        message: of the commit.

    Raises:
        UserError: the name is none, or the hub refuses: without a login, say.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"{repository}: a repository of the hub is written owner/name")
    from huggingface_hub import HfApi

    licenses = checkpoint_licenses(checkpoint)
    try:
        api = HfApi()
        address = str(api.create_repo(repository, private=private, exist_ok=True))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / FILE).write_bytes(content)
            card = model_card(repository, checkpoint["class_names"], licenses)
            (Path(folder) / "README.md").write_text(card, encoding="utf-8")
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=message or "A model packed by ClipMask",
            )
    except Exception as error:  # as in download
        raise UserError(
            f"{repository}: could not be uploaded ({type(error).__name__}: {first_line(error)});"
            " hf auth login gives this machine the right to"
        ) from error
    return address


def model_card(repository: str, class_names: Sequence[str], licenses: Sequence[License]) -> str:
    """Returns the text of a card, with the head that the hub reads."""
    from huggingface_hub import ModelCardData

    head = ModelCardData(
        license=_hub_license(licenses),
        library_name="clipmask",
        pipeline_tag="image-segmentation",
        tags=["semantic-segmentation", "mask-classification", "clip"],
    )
    names = ", ".join(map(first_synonym, class_names))
    return (
        f"---\n{head.to_yaml()}\n---\n\n# {repository.partition('/')[2]}\n\n"
        "A ClipMask model: semantic segmentation by mask classification, guided by CLIP.\n\n"
        "```python\nfrom clipmask import Predictor\n\n"
        f'predictor = Predictor.from_pretrained("{HUB}{repository}")\n'
        'predictor("street.jpg").save("overlay.png")\n```\n\n'
        f"Classes: {names}.\n\nLicences: {phrase(licenses)}.\n"
    )


def _hub_license(licenses: Sequence[License]) -> str:
    """The hub's identifier of the licence that all of a model stands under; ``other`` where there
    are several.
    """
    identifiers = {item.license.lower().replace(" ", "-") for item in licenses}
    if len(identifiers) == 1 and UNKNOWN not in identifiers and identifiers <= set(_HUB_LICENSES):
        return identifiers.pop()
    return "other"
