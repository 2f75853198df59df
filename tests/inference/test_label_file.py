"""The temporary file of a label map: what was written is read, and no file stays open."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from clipmask.inference.label_file import LabelFile


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_blocks_are_read_as_they_were_written(dtype: type) -> None:
    labels = LabelFile((5, 7), np.dtype(dtype))
    expected = np.arange(35).reshape(5, 7)
    labels.write(0, 0, expected[:, :4])
    labels.write(0, 4, expected[:2, 4:])
    labels.write(2, 4, expected[2:, 4:])
    np.testing.assert_array_equal(labels[1:4], expected[1:4])
    assert labels.mapped().dtype == dtype


def test_the_file_is_closed_with_the_object_and_what_is_mapped_stays(
    recwarn: pytest.WarningsRecorder,
) -> None:
    labels = LabelFile((2, 3), np.dtype(np.uint8))
    labels.write(0, 0, np.full((2, 3), 7))
    file, mapped = labels._file, labels.mapped()
    del labels
    gc.collect()
    assert file.closed
    assert mapped.tolist() == [[7] * 3] * 2
    del file
    gc.collect()
    assert not [one for one in recwarn.list if "rb+" in str(one.message)]
