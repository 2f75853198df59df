"""Failed steps: named with their pictures, counted in a row and in all."""

from __future__ import annotations

import logging

import pytest
from lightning_fabric import Fabric

from clipmask.engine.failures import MAX_FAILED_STEPS, FailedSteps
from clipmask.errors import UserError

BATCH = [{"file_name": "a.png"}, {"file_name": "b.png"}]


@pytest.fixture
def steps() -> FailedSteps:
    return FailedSteps(Fabric(accelerator="cpu", devices=1))


def test_a_run_stops_after_failed_steps_in_a_row_alone(
    steps: FailedSteps, caplog: pytest.LogCaptureFixture
) -> None:
    for round_ in range(2):  # a good step between them starts the count again
        for step in range(1, MAX_FAILED_STEPS):
            assert not steps.note(True, BATCH, 10 * round_ + step)
        assert not steps.note(False, BATCH, 10 * round_ + MAX_FAILED_STEPS)
    assert "step 11 skipped" in caplog.text
    assert "a.png, b.png" in caplog.text
    stop = [steps.note(True, BATCH, 30 + step) for step in range(MAX_FAILED_STEPS)]
    assert stop == [False] * (MAX_FAILED_STEPS - 1) + [True]


def test_more_than_half_of_the_steps_may_not_fail(
    steps: FailedSteps, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    steps.judge(4)
    assert not caplog.records
    for step in range(2):
        steps.note(True, BATCH, step)
    steps.judge(4)
    assert "2 of 4 steps were skipped" in caplog.text
    with pytest.raises(UserError, match="2 of 3 steps"):
        steps.judge(3)
