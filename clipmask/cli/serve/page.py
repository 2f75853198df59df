"""The web page: its elements and their functions, built with gradio."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.cli.serve.service import Service, legend
from clipmask.data.toy.scene import draw_scene
from clipmask.errors import MissingText, UserError
from clipmask.inference import Segmentation

# fonts of the visitor's machine, so that nothing is downloaded from other sites
FONTS = ("system-ui", "sans-serif")
CSS = (
    ".patch {display: inline-block; width: 1.2em; height: 1.2em} .legend td {padding: 0.1em 0.6em}"
    " .legend, .legend tr, .legend td {border: 0 !important}"
)
# all functions share one queue, because the model serves one visitor at a time
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
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


def build_page(service: Service, folder: Path, about: str) -> Any:
    """Builds the page as gradio's ``Blocks``, whose method ``launch`` serves it.

    Args:
        service: the service that segments.
        folder: the folder for results that visitors download.
        about: a line about the model.
    """
    gr = load_gradio()
    example = folder / "a drawn street.png"
    Image.fromarray(draw_scene("val", 0)[0]).save(example)

    def segment(picture: str | None, names: str, opacity: float) -> tuple[Any, ...]:
        if not picture:
            raise gr.Error("choose a picture first", print_exception=False)
        result = _with_errors_shown(gr, service, lambda: service.segment(Path(picture), names))
        labels = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(picture).stem}_labels.png"
        result.save(labels, "labels")
        return result.overlay(opacity, legend=False), legend(result), str(labels), result

    def draw(result: Segmentation | None, opacity: float) -> Any:
        return None if result is None else result.overlay(opacity, legend=False)

    def segment_film(
        film: str | None,
        names: str,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[str, str]:
        if not film:
            raise gr.Error("choose a film first", print_exception=False)
        # all browsers can play .webm
        target = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(film).stem}_overlay.webm"

        def report(done: int, total: int) -> None:
            progress((done, max(done, total)), unit="frames")

        summary = _with_errors_shown(
            gr, service, lambda: service.segment_film(Path(film), names, target, report)
        )
        return str(target), summary

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
            gr, service, lambda: service.segment_several(paths, names, report)
        )
        target = Path(tempfile.mkdtemp(dir=folder)) / "segmented.zip"
        shown = write_zip(results, target, opacity)
        lines = [f"{len(results)} of {len(paths)} pictures", *left_out]
        return shown, str(target), "\n\n".join(lines)

    theme = gr.themes.Default(font=list(FONTS), font_mono=["monospace"])
    with gr.Blocks(title="ClipMask", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        page.clipmask_look = {"theme": theme, "css": CSS}  # arguments for launch
        gr.Markdown(f"# ClipMask\n\n{about}")
        names = gr.Textbox(
            service.names,
            label="Class names",
            info="the classes, separated by commas",
            elem_id="names",
            lines=2,
        )
        with gr.Tab("Picture"):
            with gr.Row():
                with gr.Column():
                    picture = gr.Image(
                        type="filepath",
                        sources=["upload", "webcam", "clipboard"],
                        label="Picture",
                        elem_id="picture",
                    )
                    picture.preprocess = _path_of_upload
                    start = gr.Button("Segment", variant="primary", elem_id="segment")
                    gr.Examples([[str(example)]], picture, label="Example")
                with gr.Column():
                    # without the button that sends the picture to another site
                    buttons = ["download", "fullscreen"]
                    overlay = gr.Image(
                        label="Classes",
                        elem_id="overlay",
                        interactive=False,
                        format="png",
                        buttons=buttons,
                    )
                    opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="opacity")
                    shares = gr.HTML(elem_id="legend")
                    labels = gr.File(
                        label="Label map: a PNG of class ids", elem_id="labels", interactive=False
                    )
            last = gr.State(None, time_to_live=3600)
            outputs = [overlay, shares, labels, last]
            start.click(
                segment,
                [picture, names, opacity],
                outputs,
                api_name="segment",
                **ONE_AT_A_TIME,
            )
            opacity.release(
                draw, [last, opacity], overlay, api_visibility="private", show_progress="hidden"
            )
        with gr.Tab("Several pictures"):
            files = gr.File(
                label="Pictures",
                file_count="multiple",
                file_types=["image"],
                elem_id="pictures",
            )
            strength = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity")
            each = gr.Button("Segment them", variant="primary", elem_id="segment-several")
            gallery = gr.Gallery(
                label="Classes", elem_id="gallery", interactive=False, format="png", buttons=buttons
            )
            archive = gr.File(
                label="Overlays and label maps, in one .zip", elem_id="archive", interactive=False
            )
            summary = gr.Markdown(elem_id="summary")
            each.click(
                segment_several,
                [files, names, strength],
                [gallery, archive, summary],
                api_name="segment_several",
                **ONE_AT_A_TIME,
            )
        with gr.Tab("Film"):
            with gr.Row():
                with gr.Column():
                    film = gr.Video(label="Film", sources=["upload"], elem_id="film")
                    go = gr.Button("Segment the film", variant="primary", elem_id="segment-film")
                with gr.Column():
                    segmented = gr.Video(label="Classes", elem_id="segmented", interactive=False)
                    film_summary = gr.Markdown(elem_id="said")
            go.click(
                segment_film,
                [film, names],
                [segmented, film_summary],
                api_name="segment_film",
                **ONE_AT_A_TIME,
            )
    return page


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


def _path_of_upload(payload: Any) -> str | None:
    """Returns the path of an uploaded picture; it replaces gradio's own preprocessing.

    Gradio would decode the picture, but the service must check it before, because it may be too
    large or damaged.
    """
    return None if payload is None else payload.path


def _with_errors_shown(gr: Any, service: Service, work: Callable[[], _Result]) -> _Result:
    """Calls ``work``; the message of a ``UserError`` is shown on the page."""
    try:
        return work()
    except MissingText as error:
        # the usual message names options of the command line, which a visitor does not have
        message = (
            f"Names that the model was not trained on need CLIP, which could not be loaded here."
            f" Those it was trained on work without it: {service.names}"
        )
        raise gr.Error(message, print_exception=False, duration=None) from error
    except UserError as error:
        raise gr.Error(str(error), print_exception=False, duration=None) from error
