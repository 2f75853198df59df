"""What a folder without pictures holds instead."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from clipmask.data.files import files_below

VOLUMES = (".nii.gz", ".nii", ".dcm", ".mha", ".mhd", ".nrrd")  # suffixes of medical volumes


def other_files(folder: Path) -> str:
    """Returns which files there are in a folder without pictures, as the end of a message."""
    suffixes: Counter[str] = Counter()
    for file in files_below(folder):
        volumes = [known for known in VOLUMES if file.name.lower().endswith(known)]
        suffixes[volumes[0] if volumes else file.suffix.lower()] += 1
    if not suffixes:
        return "; there are no files"
    shown = ", ".join(f"{count} {suffix or 'others'}" for suffix, count in suffixes.most_common(3))
    advice = ""
    if suffixes.keys() & set(VOLUMES):
        advice = "; volumes are not read: save their slices as PNG or TIFF, of 16 bits if need be"
    return f"; there are {shown}{advice}"
