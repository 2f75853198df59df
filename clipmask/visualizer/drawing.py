"""The options of overlays, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from clipmask.errors import UserError


@dataclass(frozen=True)
class Drawing:
    """The options of overlays.

    Attributes:
        opacity: of the colours, 0 (the image as it is, without names) to 1.
        paint_background: whether a class called background is painted. It is painted in any case if
            it is the only class.

    Raises:
        UserError: the opacity is not from 0 to 1.
    """

    opacity: float = 0.5
    paint_background: bool = False

    def __post_init__(self) -> None:
        check_opacity(self.opacity)


def check_opacity(opacity: float) -> None:
    """Raises a ``UserError`` if an opacity is not from 0 to 1."""
    if not 0 <= opacity <= 1:
        raise UserError(f"opacity {opacity}: is between 0 (the picture) and 1 (the colours)")
