"""Weights by address are fetched once, into Detectron2's cache, and held to the checksum in their
name.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clipmask.errors import UserError
from clipmask.weights import addresses
from clipmask.weights.addresses import is_address, local_file
from clipmask.weights.checkpoint import load_checkpoint


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which a server on this machine has it; the cache is a folder
    of the test's.
    """
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    addresses._manager.cache_clear()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
    addresses._manager.cache_clear()


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("https://a.b/c.pth", True),
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", True),
        ("s3://bucket/c.pth", True),
        ("models/c.pth", False),
        ("/models/c.pth", False),
        ("C:/models/c.pth", False),
        ("", False),
    ],
)
def test_addresses_are_told_from_paths(source: str, address: bool) -> None:
    assert is_address(source) is address


def test_a_path_stays_as_it_is(tmp_path: Path) -> None:
    assert local_file("nowhere/a.pth") == Path("nowhere/a.pth")
    assert local_file(tmp_path) == tmp_path


def test_a_file_is_fetched_once(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "a.bin").write_bytes(b"weights")
    path = local_file(f"{address}a.bin")
    assert path.read_bytes() == b"weights"
    assert path.is_relative_to(tmp_path / "cache")
    (folder / "a.bin").unlink()
    assert local_file(f"{address}a.bin") == path


def test_detectron2s_scheme(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = served
    (folder / "ImageNetPretrained").mkdir()
    (folder / "ImageNetPretrained" / "R-50.pkl").write_bytes(b"weights")
    monkeypatch.setattr(addresses, "DETECTRON2", address)
    assert local_file("detectron2://ImageNetPretrained/R-50.pkl").read_bytes() == b"weights"


@pytest.mark.parametrize("right", [True, False])
def test_the_checksum_in_a_name(served: tuple[Path, str], right: bool) -> None:
    folder, address = served
    digest = hashlib.sha256(b"weights" if right else b"others").hexdigest()[:8]
    (folder / f"resnet-{digest}.pth").write_bytes(b"weights")
    if right:
        assert local_file(f"{address}resnet-{digest}.pth").is_file()
        return
    with pytest.raises(UserError, match=digest):
        local_file(f"{address}resnet-{digest}.pth")
    (folder / f"resnet-{digest}.pth").write_bytes(b"others")
    assert local_file(f"{address}resnet-{digest}.pth").read_bytes() == b"others", (
        "the wrong one is not kept"
    )


@pytest.mark.parametrize("source", ["s3://bucket/a.pth", "catalog://ImageNetPretrained/MSRA/R-50"])
def test_other_schemes_are_refused(source: str) -> None:
    with pytest.raises(UserError, match="detectron2://"):
        local_file(source)


def test_what_is_not_there_is_an_error_with_a_way_out(served: tuple[Path, str]) -> None:
    _, address = served
    with pytest.raises(
        UserError, match=r"MODEL\.BACKBONE\.WEIGHTS .*nothing\.pth.*404.*local file"
    ):
        local_file(f"{address}nothing.pth", "MODEL.BACKBONE.WEIGHTS")


def test_a_checkpoint_by_its_address(served: tuple[Path, str]) -> None:
    folder, address = served
    torch.save({"model": {"a": torch.ones(2)}}, folder / "model.pth")
    assert torch.equal(load_checkpoint(f"{address}model.pth")["model"]["a"], torch.ones(2))
