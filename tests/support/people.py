"""What people who have never seen this project bring: photographs, networks, and teachers of their own training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import binom
from torch import Tensor, nn

from trainables.images.load import load_dataset

NETS = """from torch import nn


def make_teacher(num_classes, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


class Student(nn.Module):
    def __init__(self, num_classes, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(16 * 7 * 7, num_classes)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))
"""
"""A file with networks for 28 x 28 pixels."""

CLASSES = 10
_PER_CLASS = 60


@dataclass(frozen=True)
class Photos:
    """Handwritten digits as somebody else keeps them: images in [0, 255] (images, height, width), and labels (images,)."""

    images: np.ndarray
    labels: Tensor

    def of_size(self, height: int, width: int) -> Photos:
        """Return the same photographs at another size."""
        resized = [
            np.asarray(_picture(image).resize((width, height), Image.Resampling.BILINEAR)) for image in self.images
        ]
        return Photos(np.stack(resized), self.labels)

    def save(self, folder: Path, *, mode: str) -> None:
        """Write them as PNG files, one folder for each class; ``mode`` is Pillow's, L or RGB."""
        for number, (image, label) in enumerate(zip(self.images, self.labels.tolist(), strict=True)):
            file = folder / f"digit-{label}" / f"{number:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            _picture(image).convert(mode).save(file)

    def tensors(self, channels: int) -> Tensor:
        """Return what a network is given that expects pixels in [-1, 1]."""
        pixels = torch.tensor(self.images, dtype=torch.float32)[:, None].div(127.5).sub(1)
        return pixels.expand(-1, channels, -1, -1)


@cache
def photos() -> tuple[Photos, Photos]:
    """Return some to learn from, and 600 to be measured on, as many of each class: chance is one in ten."""
    splits = load_dataset("digits", data_root=Path("data"), validation_fraction=0)
    # The 28 x 28 pixels that lie in the margin of the packaged ones.
    cropped = [part.images[:, 0, 2:30, 2:30].numpy() for part in (splits.train, splits.test)]
    labels = splits.test.labels
    few = torch.cat([(labels == label).nonzero()[:_PER_CLASS, 0] for label in range(CLASSES)])
    return Photos(cropped[0], splits.train.labels), Photos(cropped[1][few.numpy()], labels[few])


def lay_out(folder: Path, learnt: Photos, held: Photos, *, mode: str, count: int = 300) -> None:
    """Write some photographs to learn from, and those to be measured on, as one folder a class below train and test."""
    some(learnt, count).save(folder / "train", mode=mode)
    held.save(folder / "test", mode=mode)


def some(whole: Photos, count: int) -> Photos:
    """Return the first photographs."""
    return Photos(whole.images[:count], whole.labels[:count])


def train(network: nn.Module, data: Photos, *, channels: int, epochs: int, optimizer: torch.optim.Optimizer) -> None:
    """Train a network in the plainest way."""
    images, labels = data.tensors(channels), data.labels
    order = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=order).split(50):
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()


def right(classify: Callable[[Tensor], Tensor], data: Photos, *, channels: int) -> int:
    """Count the photographs whose highest logit is their label."""
    with torch.no_grad():
        return int((classify(data.tensors(channels)).argmax(1) == data.labels).sum())


def chance_of(correct: int, images: int) -> float:
    """How likely somebody who guesses is right as often, or more often: the binomial distribution's tail."""
    return float(binom.sf(correct - 1, images, 1 / CLASSES))


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image)
