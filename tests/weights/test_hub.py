"""Models of a hub arrive whole or not at all, however the network is; timm's and open_clip's own
paths likewise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from safetensors.torch import save

from clipmask import Predictor, UserError
from clipmask.backbones.timm_backbone import TimmBackbone
from clipmask.text.clip_encoder import load_tower
from clipmask.weights import hub as hub_module
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.hub import FILE, download, model_card, push, short_wait
from clipmask.weights.licenses import DATA, License
from clipmask.weights.packed import pack
from tests.checkpoints import pixels, write_checkpoint
from tests.conftest import PATIENCE
from tests.hub_server import Hub

NAME = "hf-hub:somebody/streets"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this test's own, an empty cache, and a client that does not wait long."""
    from huggingface_hub import constants

    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # what is kept of a break is whole chunks
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
        # between its attempts
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


@pytest.fixture
def packed(tmp_path: Path, small_cfg: CfgNode) -> bytes:
    """A small random model as ``clipmask pack`` writes it."""
    return pack(
        load_checkpoint(write_checkpoint(tmp_path / "model.pth", small_cfg)),
        "model.pth",
        half=False,
    )


@pytest.fixture
def streets(hub: Hub, packed: bytes) -> Hub:
    """The hub with that model."""
    hub.files["somebody/streets"] = {FILE: packed}
    return hub


def test_a_model_is_fetched_once(streets: Hub, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(NAME, "cpu")
    here = Predictor.from_checkpoint(tmp_path / "model.pth", "cpu")
    np.testing.assert_array_equal(predictor(pixels()).labels, here(pixels()).labels)
    again = download(f"{NAME}@v1")
    assert again.read_bytes() == streets.files["somebody/streets"][FILE]
    assert len(streets.asked) == 1


def test_a_download_that_breaks_off_is_continued(streets: Hub, packed: bytes) -> None:
    streets.cuts = 2
    assert download(NAME).read_bytes() == packed
    assert streets.asked[0] == 0
    assert 0 < streets.asked[1] < streets.asked[2] < len(packed)


def test_a_download_that_never_ends_is_told(streets: Hub, packed: bytes) -> None:
    streets.cuts = 1000
    with pytest.raises(
        UserError, match=r"hf-hub:somebody/streets: could not be downloaded .*try again"
    ):
        download(NAME)
    streets.cuts = 0
    assert download(NAME).read_bytes() == packed


def test_a_slow_hub_is_waited_for(
    streets: Hub, packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause beyond the client's patience is a break, and is continued."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    streets.pause = 0.05
    assert download(NAME).read_bytes() == packed


def test_a_wrong_checksum_is_told_and_nothing_of_it_stays(
    streets: Hub, packed: bytes, tmp_path: Path
) -> None:
    streets.wrong = True
    with pytest.raises(UserError, match=r"hf-hub:somebody/streets: .*its checksum is wrong"):
        Predictor.from_pretrained(NAME)
    streets.wrong = False
    assert download(NAME).read_bytes() == packed


def test_without_a_network_the_cache_serves(streets: Hub, packed: bytes) -> None:
    download(NAME)
    streets.shutdown()
    streets.server_close()
    assert download(NAME).read_bytes() == packed
    with pytest.raises(
        UserError,
        match="hf-hub:somebody/other: the hub can't be reached, and the cache has no copy",
    ):
        download("hf-hub:somebody/other")


@pytest.mark.parametrize("state", ["refuses", "is silent", "behind a gateway"])
def test_a_hub_that_can_not_be_reached_is_asked_once(
    streets: Hub, monkeypatch: pytest.MonkeyPatch, tiny_clip: Path, state: str
) -> None:
    """The libraries would ask five times more for each of several files, and wait between."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", waits.append)
    if state == "refuses":
        streets.shutdown()
        streets.server_close()
    elif state == "is silent":
        streets.silent = True
    else:
        streets.gateway = True
    key = {"backbone": r"MODEL\.BACKBONE\.WEIGHTS", "clip": r"MODEL\.CLIP\.EMBEDDINGS"}
    with pytest.raises(UserError, match=rf"can't be reached, and the cache.*{key['backbone']}"):
        TimmBackbone("test_resnet", "pretrained")
    assert streets.heads <= 1
    with pytest.raises(UserError, match=rf"can't be reached, and the cache.*{key['clip']}"):
        load_tower("hf-hub:somebody/tiny", "")
    with pytest.raises(UserError, match="can't be reached, and the cache.*check the network"):
        download(NAME)
    assert streets.heads <= 3
    assert waits == []
    assert not constants.HF_HUB_OFFLINE


def test_threads_do_not_end_each_others_wait(streets: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library has one switch for all of them."""
    from huggingface_hub import constants

    monkeypatch.setattr(hub_module, "_unreachable", lambda: "no answer")
    inside, leave, entered = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def first() -> None:
        with short_wait():
            inside.set()
            leave.wait(PATIENCE)

    def second() -> None:
        with short_wait():
            entered.set()
            threads[0].join(PATIENCE)
            seen.append(bool(constants.HF_HUB_OFFLINE))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    assert not entered.wait(0.2)
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert seen == [True]
    assert not constants.HF_HUB_OFFLINE


def test_a_fault_of_another_kind_is_handed_on(streets: Hub) -> None:
    streets.shutdown()
    streets.server_close()
    with pytest.raises(ValueError, match="no file"), short_wait():
        raise ValueError("this is no file")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:nobody/streets", "there is no such model, or it is private"),
        ("hf-hub:somebody/secret", "there is no such model, or it is private"),
        ("hf-hub:somebody/streets@v9", "no such revision"),
        ("hf-hub:somebody/empty", r"no file model\.safetensors: clipmask pack makes one"),
    ],
)
def test_what_is_not_there(streets: Hub, name: str, message: str) -> None:
    streets.files |= {"somebody/empty": {}, "somebody/secret": {FILE: b""}}
    streets.private.add("somebody/secret")
    with pytest.raises(UserError, match=message) as told:
        download(name)
    assert str(told.value).startswith(name)
    assert "\n" not in str(told.value)


def test_what_is_pushed_comes_back(
    hub: Hub, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(tmp_path / "model.pth")
    with pytest.raises(UserError, match="hf auth login"):
        push(checkpoint, packed, "somebody/mine")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    assert push(checkpoint, packed, "somebody/mine").endswith("somebody/mine")
    assert hub.files["somebody/mine"].keys() == {FILE, "README.md"}
    assert download("hf-hub:somebody/mine").read_bytes() == packed
    with pytest.raises(UserError, match="owner/name"):
        push(checkpoint, packed, "mine")


def test_a_card_states_classes_and_licences() -> None:
    card = model_card("a/b", ["road", "car;automobile"], [License(DATA, "streets", "CC BY-NC 4.0")])
    assert "\nlicense: cc-by-nc-4.0\n" in card.split("---")[1]
    assert "Classes: road, car." in card
    assert "trained on streets (CC BY-NC 4.0)" in card
    several = [License(DATA, "streets", "CC BY-NC 4.0"), License(DATA, "fields", "MIT")]
    assert "license: other" in model_card("a/b", ["road"], several)
    assert "license: other" in model_card("a/b", ["road"], [])


# The libraries' own paths, with tiny weights


def timm_weights() -> dict[str, torch.Tensor]:
    import timm

    return dict(timm.create_model("test_resnet").state_dict())


def test_timm_fetches_its_weights(hub: Hub) -> None:
    weights = timm_weights()
    hub.files["timm/test_resnet.r160_in1k"] = {FILE: save(weights)}
    body = TimmBackbone("test_resnet", "pretrained").body.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in body.items() if name in weights)
    assert len(body.keys() & weights.keys()) > 20


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"backbone weights test_resnet.*MODEL\.BACKBONE\.WEIGHTS"),
        ("cut", r"backbone weights test_resnet.*MODEL\.BACKBONE\.WEIGHTS"),
        ("wrong", "checksum is wrong"),
    ],
)
def test_timm_s_faults_are_one_line(hub: Hub, fault: str, message: str) -> None:
    if fault != "missing":
        hub.files["timm/test_resnet.r160_in1k"] = {FILE: save(timm_weights())}
    hub.cuts, hub.wrong = 1000 * (fault == "cut"), fault == "wrong"
    with pytest.raises(UserError, match=message) as told:
        TimmBackbone("test_resnet", "pretrained")
    assert "\n" not in str(told.value)
    hub.cuts, hub.wrong = 0, False
    if fault != "missing":
        TimmBackbone("test_resnet", "pretrained")


def tiny_repository(tiny_clip: Path) -> dict[str, bytes]:
    """What open_clip looks for in a repository of the hub."""
    import open_clip

    weights = torch.load(tiny_clip, weights_only=True)
    config = {"model_cfg": open_clip.factory._MODEL_CONFIGS["tiny-clip"], "preprocess_cfg": {}}
    return {
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": save(
            {name: value.contiguous() for name, value in weights.items()}
        ),
    }


def test_open_clip_fetches_description_and_weights(hub: Hub, tiny_clip: Path) -> None:
    hub.files["somebody/tiny"] = tiny_repository(tiny_clip)
    fetched, local = load_tower("hf-hub:somebody/tiny", ""), load_tower("tiny-clip", str(tiny_clip))
    ids = local.tokenize(["a road"])
    torch.testing.assert_close(fetched(ids), local(ids))


@pytest.mark.parametrize("fault", ["missing", "cut", "wrong"])
def test_open_clip_s_faults_are_one_line(hub: Hub, tiny_clip: Path, fault: str) -> None:
    if fault != "missing":
        hub.files["somebody/tiny"] = tiny_repository(tiny_clip)
    hub.cuts, hub.wrong = 1000 * (fault == "cut"), fault == "wrong"
    message = (
        "checksum"
        if fault == "wrong"
        else r"CLIP weights hf-hub:somebody/tiny.*MODEL\.CLIP\.EMBEDDINGS"
    )
    with pytest.raises(UserError, match=message) as told:
        load_tower("hf-hub:somebody/tiny", "")
    assert "\n" not in str(told.value)
