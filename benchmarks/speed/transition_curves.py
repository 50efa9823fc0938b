"""Time of the transition curves of one image: one curve at a time, as published, against many in a batch.

    python -m benchmarks.speed.transition_curves --images 16 --steps 4 --threads 1 2

Both sides run in turn in one process, on the same random weights and images. The plain side follows the published
description (section 4.2): one image and one target at a time, with a backward pass that also computes the gradients of the
weights. The batched side also chooses its images, and leaves out the gradient after the last point.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from trainables.compute.devices import keep_freed_memory
from trainables.config.datasets import find_normalisation
from trainables.evaluation import transition_curves
from trainables.images.splits import ImageSet, normalise
from trainables.networks import Network, build_network
from trainables.seeding import seeded, stream

_CLASSES = 10
_NORMALISATION = find_normalisation("cifar10")


def one_at_a_time(attacked: Network, other: Network, data: ImageSet, steps: int) -> None:
    """Run the published loop over the given images, and discard the recorded probabilities."""
    for index in range(len(data)):
        for offset in range(1, _CLASSES):
            target = (data.labels[index : index + 1] + offset) % _CLASSES
            image = normalise(data.images[index : index + 1], _NORMALISATION).requires_grad_()
            for _ in range(steps):
                logits, _activations = attacked(image)
                with torch.no_grad():
                    other_logits, _activations = other(image)
                attacked.zero_grad()
                image.grad = None
                F.cross_entropy(logits, target).backward()
                with torch.no_grad():
                    for answer in (logits, other_logits):
                        answer.softmax(1)[0, target]
                    assert image.grad is not None
                    image -= image.grad


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(*, images: int, plain_images: int, steps: int, repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds for each image in each repeat, of the plain side and of the batched side."""
    with seeded(0, "benchmark"):
        attacked = build_network("wrn-16-1", num_classes=_CLASSES).eval()
        other = build_network("wrn-16-2", num_classes=_CLASSES).eval()
    with torch.no_grad():
        # Both networks predict class 0 for all images, so that no time is spent on finding images on which they agree.
        for network in (attacked, other):
            network.get_parameter("fc.bias")[0] = 20
    pixels = torch.randint(256, (images, 3, 32, 32), generator=stream(0, "benchmark"), dtype=torch.uint8)
    data = ImageSet(images=pixels, labels=torch.arange(images) % _CLASSES)
    few = data.subset(torch.arange(plain_images))

    def plain() -> None:
        one_at_a_time(attacked, other, few, steps)

    def batched() -> None:
        transition_curves(attacked, other, data, _NORMALISATION, images=images, steps=steps)

    for warm_up in (plain, batched):
        warm_up()
    pairs = [(seconds(plain) / plain_images, seconds(batched) / images) for _ in range(repeats)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def main() -> None:
    """Print a row for each number of threads, with mean and standard deviation over the repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="images of the batched side")
    parser.add_argument("--plain-images", type=int, default=2, help="images of the plain side")
    parser.add_argument("--steps", type=int, default=10, help="recorded points of each curve")
    parser.add_argument("--repeats", type=int, default=5, help="number of timed repeats of both sides, at least 2")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    keep_freed_memory()  # for both sides
    print("| threads | one at a time, s/image | many at once, s/image | ratio |")
    print("| --- | --- | --- | --- |")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        plain, batched = compare(
            images=arguments.images,
            plain_images=arguments.plain_images,
            steps=arguments.steps,
            repeats=arguments.repeats,
        )
        ratios = [slow / fast for slow, fast in zip(plain, batched, strict=True)]
        print(f"| {threads} | {_spread(plain, 3)} | {_spread(batched, 3)} | {_spread(ratios, 2)} |", flush=True)


if __name__ == "__main__":
    main()
