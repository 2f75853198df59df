"""The page in a real browser: a picture in, an overlay out, other names, a broken file, one that is
too large.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from clipmask.cli.serve import command
from clipmask.cli.serve.command import build_parser, main, serve
from tests.checkpoints import pixels, write_checkpoint
from tests.conftest import NAMES, NARROW

pytestmark = pytest.mark.slow
PATIENCE = 120  # seconds for a part of the page to come, on a machine that has much else to do
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and its driver are not installed"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with a small random model, and tight limits."""
    pytest.importorskip("gradio")
    from clipmask import load_cfg

    opts = [
        "MODEL.CLIPMASK.HIDDEN_DIM",
        "16",
        "MODEL.CLIPMASK.NUM_HEADS",
        "2",
        "MODEL.CLIPMASK.NUM_QUERIES",
        "8",
    ]
    checkpoint = write_checkpoint(
        tmp_path_factory.mktemp("model") / "model.pth", load_cfg("toy.yaml", opts)
    )
    words = [
        "--weights",
        str(checkpoint),
        "--device",
        "cpu",
        "--port",
        "0",
        "--max-megapixels",
        "0.1",
    ]
    told: list[str] = []
    ready, done = threading.Event(), threading.Event()
    environment = dict(os.environ)

    def until(address: str) -> None:
        told.append(address)
        ready.set()
        done.wait()

    thread = threading.Thread(
        target=serve, args=(build_parser().parse_args(words), until), daemon=True
    )
    thread.start()
    assert ready.wait(PATIENCE)
    yield told[0]
    done.set()
    thread.join(PATIENCE)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        os.environ.pop(name, None)
    os.environ |= environment


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """The page, freshly opened."""
    browser.get(address)
    found(browser, "#segment")
    return browser


def waited(ask: Callable[[], Any], what: str) -> Any:
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"the page never had {what}")


def found(page: Any, place: str) -> Any:
    """The first element that a CSS selector finds, once it is there."""
    return waited(lambda: page.find_elements("css selector", place), place)[0]


def choose(page: Any, picture: Path) -> None:
    found(page, "#picture input[type=file]").send_keys(str(picture))


def segment(page: Any) -> None:
    waited(lambda: page.find_elements("css selector", "#picture img"), "the picture")
    found(page, "#segment:not([disabled])").click()


def rows(page: Any) -> list[str]:
    """The legend's lines."""
    return [row.text for row in page.find_elements("css selector", "#legend tbody tr")]


def results(page: Any) -> list[Any]:
    """The parts of a result that are shown."""
    return page.find_elements("css selector", "#overlay img, #legend tr, #labels a")


def errors(page: Any) -> str:
    return " ".join(item.text for item in page.find_elements("css selector", ".toast-body"))


@needs_browser
def test_a_picture_in_an_overlay_and_a_label_map_out(
    page: Any, address: str, tmp_path: Path
) -> None:
    Image.fromarray(pixels(48, 64)).save(tmp_path / "street.png")
    choose(page, tmp_path / "street.png")
    segment(page)
    shown = waited(lambda: rows(page), "a legend")
    assert {tuple(row.split(" ")[:2]) for row in shown} <= {
        (str(place), name) for place, name in enumerate(NAMES)
    }
    assert sum(float(row.split(" ")[2]) for row in shown) == pytest.approx(100, abs=0.5)
    overlay = found(page, "#overlay img").get_attribute("src")
    drawn = Image.open(requests.get(overlay, stream=True, timeout=PATIENCE).raw)
    assert drawn.size == (64, 48)
    assert not np.array_equal(np.asarray(drawn.convert("RGB")), pixels(48, 64))
    link = found(page, "#labels a").get_attribute("href")
    labels = np.asarray(Image.open(requests.get(link, stream=True, timeout=PATIENCE).raw))
    assert labels.shape == (48, 64)
    assert {int(row.split(" ")[0]) for row in shown} == set(np.unique(labels)), "ids of the legend"


@needs_browser
def test_other_names(page: Any, tmp_path: Path) -> None:
    Image.fromarray(pixels(48, 64)).save(tmp_path / "street.png")
    box = found(page, "#names textarea")
    assert box.get_attribute("value") == ", ".join(NAMES)
    box.clear()
    box.send_keys("sky")
    choose(page, tmp_path / "street.png")
    segment(page)
    assert waited(lambda: rows(page), "a legend") == ["0 sky 100.0 %"]


@needs_browser
def test_a_picture_beyond_the_limit_is_told(page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300)).save(tmp_path / "wide.png")
    choose(page, tmp_path / "wide.png")
    segment(page)
    assert "at most 0.1 are" in waited(lambda: errors(page), "an error")


@needs_browser
def test_uploads_are_checked_after_the_example_too(page: Any, tmp_path: Path) -> None:
    """A picture is refused in the service's words before it is decoded."""
    (tmp_path / "noise.png").write_bytes(b"noise" * 100)
    Image.new("RGB", (400, 300)).save(tmp_path / "wide.png")
    found(page, "#example button").click()
    segment(page)
    waited(lambda: rows(page), "a legend")
    for name, told in (("noise.png", "noise.png: can't be read"), ("wide.png", "at most 0.1 are")):
        found(page, "#picture button[aria-label='Remove Image']").click()
        choose(page, tmp_path / name)
        segment(page)
        waited(lambda told=told: told in errors(page), told)


@needs_browser
def test_no_result_outlives_its_picture(page: Any, tmp_path: Path) -> None:
    Image.fromarray(pixels(48, 64)).save(tmp_path / "street.png")
    assert not found(page, "#segment").is_enabled(), "there is no picture yet"
    choose(page, tmp_path / "street.png")
    segment(page)
    waited(lambda: rows(page), "a legend")
    waited(lambda: page.find_elements("css selector", "#overlay img"), "an overlay")
    box = found(page, "#names textarea")
    box.clear()
    box.send_keys("sky, sky")
    found(page, "#segment").click()
    waited(lambda: errors(page), "an error")
    assert not results(page), "after an error"
    box.clear()
    box.send_keys("sky")
    found(page, "#segment").click()
    waited(lambda: rows(page), "a legend")
    found(page, "#picture button[aria-label='Remove Image']").click()
    waited(lambda: not results(page), "an empty result")
    assert not found(page, "#segment").is_enabled()


@needs_browser
def test_the_result_comes_into_view(page: Any, tmp_path: Path) -> None:
    Image.fromarray(pixels(48, 64)).save(tmp_path / "street.png")
    page.set_window_size(500, 700)
    choose(page, tmp_path / "street.png")
    segment(page)
    waited(lambda: rows(page), "a legend")
    place = "return document.getElementById('overlay').getBoundingClientRect()"
    waited(lambda: page.execute_script(f"{place}.bottom <= window.innerHeight + 1"), "it in view")
    page.set_window_size(1280, 900)


@needs_browser
def test_the_page_fits_a_phone(page: Any) -> None:
    page.set_window_size(500, 900)  # as narrow as chromium's window can be
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    page.set_window_size(1280, 900)


def test_nothing_is_fetched_from_elsewhere(address: str) -> None:
    text = requests.get(address, timeout=PATIENCE).text
    assert "fonts.googleapis.com/css" not in text


def test_a_server_that_is_ended_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    from clipmask import load_cfg

    weights = write_checkpoint(tmp_path / "model.pth", load_cfg("toy.yaml", NARROW))
    seen: list[str] = []

    def ended(*others: object) -> None:
        seen.extend(path.name for path in (tmp_path / "temporary").iterdir())
        os.kill(os.getpid(), signal.SIGTERM)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(command, "_launch", ended)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    assert main(["--weights", str(weights), "--device", "cpu"]) == 130
    assert len(seen) == 1
    assert not list((tmp_path / "temporary").iterdir())


def test_the_route_for_programs(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page documents it; a broken file is told in the words of the command line."""
    client = pytest.importorskip("gradio_client")
    # the client leaves an empty folder there for each file that it fetches
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Image.fromarray(pixels(48, 64)).save(tmp_path / "street.png")
    (tmp_path / "noise.png").write_bytes(b"noise" * 100)
    fetched = tmp_path / "fetched"
    route = client.Client(address, verbose=False, download_files=str(fetched))
    street, noise = (
        client.handle_file(str(tmp_path / name)) for name in ("street.png", "noise.png")
    )
    overlay, legend, labels, *_ = route.predict(street, "", 0.5, api_name="/segment")
    assert Image.open(labels).size == (64, 48)
    assert "<table" in str(legend)
    assert Path(overlay).is_relative_to(fetched)
    with pytest.raises(Exception, match="be read"):
        route.predict(noise, "", 0.5, api_name="/segment")
