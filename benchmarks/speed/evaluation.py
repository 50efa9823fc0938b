"""Time to measure the accuracy on 10,000 test images: a plain DataLoader loop against this project's evaluation.

    python -m benchmarks.speed.evaluation --threads 1 2

Both sides run in turn in one process, on the same random WRN-16-1 and the same images. The plain loop is the usual code: a
data set that converts each image to a tensor and normalises it, batches of 128, no worker processes. Our side has the
network in channels-last memory format, as in a trial.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from benchmarks.speed.training_loop import seconds
from trainables.compute.devices import keep_freed_memory
from trainables.config.datasets import find_normalisation
from trainables.evaluation import accuracy
from trainables.images.splits import ImageSet
from trainables.networks import Network, build_network
from trainables.seeding import seeded, stream

_NORMALISATION = find_normalisation("cifar10")


class PlainImages(Dataset[tuple[torch.Tensor, int]]):
    """A data set like torchvision's: PIL images that are transformed one by one."""

    def __init__(self, data: ImageSet) -> None:
        self._images = [to_pil_image(image) for image in data.images]
        self._labels = data.labels.tolist()
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(_NORMALISATION.mean, _NORMALISATION.std)]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one normalised image (channels, height, width) and its label."""
        return self._transform(self._images[index]), self._labels[index]


def plain_accuracy(network: Network, loader: DataLoader[tuple[torch.Tensor, int]]) -> float:
    """Measure accuracy, as a share, by the usual loop over a data loader."""
    network.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in loader:
            logits, _activations = network(images)
            correct += (logits.argmax(1) == labels).sum().item()
            total += len(labels)
    return correct / total


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table with a row for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    keep_freed_memory()
    with seeded(0, "benchmark"):
        plain, ours = build_network("wrn-16-1", num_classes=10), build_network("wrn-16-1", num_classes=10)
    ours.load_state_dict(plain.state_dict())
    ours.to(memory_format=torch.channels_last)
    shape = (chosen.images, 3, 32, 32)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=stream(0, "images"))
    data = ImageSet(images=images, labels=torch.arange(chosen.images) % 10)
    loader = DataLoader(PlainImages(data), batch_size=128)
    print(f"WRN-16-1, {chosen.images:,} images, {chosen.repeats} repeats\n")
    print("| threads | DataLoader loop, s | ours, s | ratio |\n| --- | ---: | ---: | ---: |")
    for threads in chosen.threads:
        torch.set_num_threads(threads)
        times: list[tuple[float, float]] = []
        for _ in range(chosen.repeats + 1):
            first = seconds(lambda: plain_accuracy(plain, loader))
            times.append((first, seconds(lambda: accuracy(ours, data, _NORMALISATION))))
        theirs, own = zip(*times[1:], strict=True)  # the first warms up
        ratios = [a / b for a, b in times[1:]]
        print(
            f"| {threads} | {statistics.fmean(theirs):.2f} | {statistics.fmean(own):.2f} | "
            f"{statistics.fmean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
