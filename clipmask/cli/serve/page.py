"""The web page: its elements and their functions, built with gradio."""

from __future__ import annotations

import tempfile
import zipfile
from abc import ABCMeta
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.cli.serve.service import Service, legend
from clipmask.data.toy.scene import draw_scene
from clipmask.errors import UserError
from clipmask.inference import Segmentation

# fonts of the visitor's machine, so that nothing is downloaded from other sites
FONTS = ("system-ui", "sans-serif")
CSS = (
    ".patch {display: inline-block; width: 1.2em; height: 1.2em} .legend td {padding: 0.1em 0.6em}"
    " .legend th {padding: 0.1em 0.6em; font-weight: normal; opacity: 0.7; text-align: left}"
    " .legend, .legend tr, .legend td, .legend th {border: 0 !important}"
)
# all functions share one queue, because the model serves one visitor at a time
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
# without the button that sends the picture to another site
BUTTONS = ["download", "fullscreen"]
_Result = TypeVar("_Result")


def load_gradio() -> Any:
    """Imports gradio and returns the module.

    Raises:
        UserError: it is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise UserError("the web page needs gradio: pip install 'clipmask[web]'") from error
    return gradio


def build_page(service: Service, folder: Path, terms: str, about: str) -> Any:
    """Builds the page as gradio's ``Blocks``, whose method ``launch`` serves it.

    Args:
        service: the service that segments.
        folder: the folder for results that visitors download.
        terms: the model's licences in short, as Markdown.
        about: the model's file, its data and their licences, as Markdown; folded away at first.
    """
    gr = load_gradio()
    theme = gr.themes.Default(font=list(FONTS), font_mono=["monospace"])
    with gr.Blocks(title="ClipMask", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        page.clipmask_look = {"theme": theme, "css": CSS}  # arguments for launch
        some = ", ".join(service.names.split(", ")[:3])
        gr.Markdown(
            "# ClipMask\n\nChoose a picture or a video: each pixel is coloured by what it shows"
            f" ({some}, ...). {terms}"
        )
        with gr.Accordion("About the model", open=False):
            gr.Markdown(
                f"{about}\n\nPrograms may use this page too: [its routes](gradio_api/info) (JSON)",
                elem_id="about",
            )
        names = gr.Textbox(
            service.names,
            label="Class names",
            info="Separated by commas. Each pixel gets the most likely of these names, so also"
            " name what else is in the picture. Empty: the names that the model was trained on.",
            elem_id="names",
            lines=2,
        )
        with gr.Tab("Picture"):
            _add_picture(gr, service, folder, names)
        with gr.Tab("Several pictures"):
            _add_several(gr, service, folder, names)
        with gr.Tab("Video"):
            _add_film(gr, service, folder, names)
    return page


def _add_picture(gr: Any, service: Service, folder: Path, names: Any) -> None:
    """Adds the parts for one picture."""
    example = folder / "a drawn street.png"
    Image.fromarray(draw_scene("val", 0)[0]).save(example)

    def segment(picture: str | None, names: str, opacity: float) -> tuple[Any, ...]:
        if not picture:
            raise gr.Error("choose a picture first", print_exception=False)
        result = _with_errors_shown(gr, lambda: service.segment(Path(picture), names))
        labels = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(picture).stem}_labels.png"
        result.save(labels, "labels")
        return result.overlay(opacity, legend=False), legend(result), str(labels), result

    def draw(result: Segmentation | None, opacity: float) -> Any:
        if result is None:
            return None
        return result.overlay(opacity, legend=False)

    with gr.Row():
        with gr.Column():
            picture = upload_class(gr)(
                type="filepath",
                sources=["upload", "webcam", "clipboard"],
                label="Picture",
                placeholder="Drop a picture here\n- or -\nclick to choose one",
                elem_id="picture",
            )
            start = gr.Button("Segment", variant="primary", elem_id="segment", interactive=False)
            gr.Examples([[str(example)]], picture, label="Example", elem_id="example")
        with gr.Column():
            overlay = gr.Image(
                label="Segmentation",
                elem_id="overlay",
                interactive=False,
                format="png",
                buttons=BUTTONS,
            )
            opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="opacity")
            shares = gr.HTML(elem_id="legend")
            labels = gr.File(
                label="Label map: a PNG of class ids", elem_id="labels", interactive=False
            )
    last = gr.State(None, time_to_live=3600)
    _connect(gr, picture, start, segment, [names, opacity], [overlay, shares, labels, last])
    opacity.release(
        draw, [last, opacity], overlay, api_visibility="private", show_progress="hidden"
    )


def _add_several(gr: Any, service: Service, folder: Path, names: Any) -> None:
    """Adds the parts for several pictures."""

    def segment_several(
        pictures: list[str] | None,
        names: str,
        opacity: float,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[list[tuple[Any, str]], str, str]:
        if not pictures:
            raise gr.Error("choose pictures first", print_exception=False)

        def report(done: int, total: int) -> None:
            progress((done, total), unit="pictures")

        paths = [Path(picture) for picture in pictures]
        results, left_out = _with_errors_shown(
            gr, lambda: service.segment_several(paths, names, report)
        )
        target = Path(tempfile.mkdtemp(dir=folder)) / "segmented.zip"
        shown = write_zip(results, target, opacity)
        lines = [f"{len(results)} of {len(paths)} pictures", *left_out]
        return shown, str(target), "\n\n".join(lines)

    files = gr.File(
        label="Pictures", file_count="multiple", file_types=["image"], elem_id="pictures"
    )
    opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity")
    start = gr.Button(
        "Segment the pictures", variant="primary", elem_id="segment-several", interactive=False
    )
    gallery = gr.Gallery(
        label="Segmentations", elem_id="gallery", interactive=False, format="png", buttons=BUTTONS
    )
    archive = gr.File(
        label="Segmentations and label maps, in one .zip", elem_id="archive", interactive=False
    )
    summary = gr.Markdown(elem_id="summary")
    _connect(gr, files, start, segment_several, [names, opacity], [gallery, archive, summary])


def _add_film(gr: Any, service: Service, folder: Path, names: Any) -> None:
    """Adds the parts for a film."""

    def segment_film(
        film: str | None,
        names: str,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[str, str]:
        if not film:
            raise gr.Error("choose a video first", print_exception=False)
        # all browsers can play .webm
        target = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(film).stem}_overlay.webm"

        def report(done: int, total: int) -> None:
            progress((done, max(done, total)), unit="frames")

        summary = _with_errors_shown(
            gr, lambda: service.segment_film(Path(film), names, target, report)
        )
        return str(target), summary

    with gr.Row():
        with gr.Column():
            film = gr.Video(label="Video", sources=["upload"], elem_id="film")
            start = gr.Button(
                "Segment the video", variant="primary", elem_id="segment-film", interactive=False
            )
        with gr.Column():
            segmented = gr.Video(label="Segmentation", elem_id="segmented", interactive=False)
            summary = gr.Markdown(elem_id="said")
    _connect(gr, film, start, segment_film, [names], [segmented, summary])


def _connect(
    gr: Any,
    upload: Any,
    start: Any,
    work: Callable[..., Any],
    settings: Sequence[Any],
    outputs: Sequence[Any],
) -> None:
    """Connects the parts of a tab: the button starts ``work``, and no result outlives its upload.

    Args:
        gr: gradio.
        upload: the component that takes a file, the first argument of ``work``.
        start: the button; it is active while there is an upload.
        work: the function; its name is that of the route for programs.
        settings: the components of the other arguments.
        outputs: the components of the results; the first one is brought into view.
    """
    nothing = [None] * len(outputs)
    into_view = {
        "fn": None,
        "js": f"() => {{document.getElementById('{outputs[0].elem_id}')"
        ".scrollIntoView({block: 'nearest'})}",
        "api_visibility": "private",
    }
    unseen: dict[str, Any] = {
        "queue": False,
        "show_progress": "hidden",
        "api_visibility": "private",
    }

    def removed() -> list[None]:
        return nothing

    def changed(given: Any) -> list[Any]:
        return [gr.Button(interactive=bool(given)), *nothing]

    # An old result must not be shown while the new one is computed, nor after an error.
    running = start.click(removed, None, list(outputs), **unseen).then(
        work,
        [upload, *settings],
        list(outputs),
        api_name=work.__name__,
        show_progress_on=outputs[0],
        **ONE_AT_A_TIME,
    )
    start.click(**into_view)
    running.success(**into_view)
    upload.change(changed, upload, [start, *outputs], cancels=running, **unseen)


def write_zip(
    results: Sequence[Segmentation], target: Path, opacity: float
) -> list[tuple[NDArray[np.uint8], str]]:
    """Writes the overlays and label maps of several pictures into one .zip file.

    Args:
        results: the results of picture files.
        target: the .zip file.
        opacity: the opacity of the overlays' colours.

    Returns:
        The overlays without legends, each with the name of its picture.
    """
    stems = [Path(str(result.source)).stem for result in results]
    drawn = []
    with zipfile.ZipFile(target, "w") as archive:
        for number, (result, stem) in enumerate(zip(results, stems, strict=True)):
            # pictures from different folders may have the same name
            name = stem if stems.count(stem) == 1 else f"{stem}_{number + 1}"
            for what in ("overlay", "labels"):
                made = target.with_name("one.png")
                result.save(made, what, opacity)
                archive.write(made, f"{name}_{what}.png")
                made.unlink()
            drawn.append((result.overlay(opacity, legend=False), name))
    return drawn


def upload_class(gr: Any) -> Any:
    """Returns a class of gradio's ``Image`` that passes an upload on as its path, not decoded.

    Gradio would decode the picture, but the service must check it before, because it may be too
    large or damaged. A class is needed: gradio makes a component again from its class when a
    visitor chooses the example, so what was set on the old object would be lost.
    """

    def preprocess(self: Any, payload: Any) -> str | None:
        if payload is None:
            return None
        return payload.path

    # ``is_template``: the browser shows it as its base class. Gradio's metaclass, which is left
    # out here, would write a .pyi file beside this one.
    attributes = {"__module__": __name__, "is_template": True, "preprocess": preprocess}
    return ABCMeta.__new__(type(gr.Image), "Upload", (gr.Image,), attributes)


def _with_errors_shown(gr: Any, work: Callable[[], _Result]) -> _Result:
    """Calls ``work``; the message of a ``UserError`` is shown on the page."""
    try:
        return work()
    except UserError as error:
        raise gr.Error(str(error), print_exception=False, duration=None) from error
