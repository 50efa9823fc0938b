"""Networks and divergences of a user's own that fail in the middle of a trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.tiny import make_inputs, tiny_settings
from trainables.config.plugins import failing_part, load_from_file
from trainables.trial_result import DONE, FAILURE, OUT_OF_MEMORY, parse_settings
from trainables.trial_run import TrialRun

FILE = """
import torch
from trainables.networks.lenet import LeNet

ERROR = {error}
calls = 0

def worn_out():
    global calls
    calls += 1
    if calls > {calls}:
        raise ERROR

def gap(student, teacher):
    worn_out()
    return (student - teacher).pow(2)

class Small(LeNet):
    def forward(self, images):
        if self.training:
            worn_out()
        return super().forward(images)
"""


@pytest.mark.parametrize("error", ["OSError('no lookup table')", "SystemExit('no lookup table')", "KeyError('table')"])
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"student_divergence": "{file}:gap"}, "divergence {file}:gap"),
        ({"student": "{file}:Small"}, "network {file}:Small"),
    ],
)
def test_a_trial_fails_of_them_for_good_and_says_of_which(
    changes: dict[str, str], part: str, error: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(error=error, calls=7))
    named = {field: name.format(file=file) for field, name in changes.items()}
    settings = {"trial_id": "t0000", **tiny_settings(attention_weight=0, **named)}
    run = TrialRun.start(settings, inputs=make_inputs(parse_settings(settings)))
    assert FAILURE not in run.step()
    failed = run.step()
    kind, _, text = error.partition("(")
    assert (
        failed[FAILURE] == f"{part.format(file=file)} fails: {kind}: {text[1:-2] if kind != 'KeyError' else text[:-1]}"
    )
    assert (failed[DONE], failed[OUT_OF_MEMORY]) == (True, False)


def test_too_little_memory_is_no_fault_of_theirs(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(error="torch.OutOfMemoryError('CUDA out of memory. Tried to allocate')", calls=0))
    settings = {"trial_id": "t0000", **tiny_settings(student_divergence=f"{file}:gap")}
    failed = TrialRun.start(settings, inputs=make_inputs(parse_settings(settings))).step()
    assert (failed[FAILURE], failed[OUT_OF_MEMORY]) == ("OutOfMemoryError: CUDA out of memory", True)


def test_a_part_is_found_by_where_its_error_was_raised(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(error="OSError('gone')", calls=0))
    gap, _ = load_from_file("divergence", f"{file}:gap"), load_from_file("network", f"{file}:Small")

    def caught(call: Callable[..., object], *arguments: object) -> Exception:
        with pytest.raises(OSError, match="gone|No such file") as info:
            call(*arguments)
        return info.value

    assert failing_part(caught(gap, torch.ones(1), torch.ones(1))) == f"divergence {file}:gap"
    assert failing_part(caught(gap.__globals__["worn_out"])) == f"divergence {file}:gap or network {file}:Small"
    assert failing_part(caught(open, tmp_path / "nothing")) is None
