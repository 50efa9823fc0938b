"""Digits in small number, for whole sweeps whose trials take less time than measuring on all images would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits


@contextmanager
def few_images() -> Iterator[None]:
    """Let sweeps in this process read data sets once, and measure students on every tenth image."""

    @cache
    def few(*arguments: Any, **more: Any) -> DatasetSplits:
        splits = load_dataset(*arguments, **more)
        some = torch.arange(0, 1000, 10)
        return replace(splits, validation=splits.validation.subset(some), test=splits.test.subset(some))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("orchestrator.inputs.files.load_dataset", few)
        yield
