"""Belief matching in the plane: three classes of points, and pseudo points in place of a generator.

This is the toy experiment of Micaelli & Storkey with the published settings and one departure: the paper does not say how
the butterfly of its data was drawn, so the function ``butterfly`` is our own. ``docs/toy.md`` shows the resulting picture.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.seeding import seeded, stream
from trainables.training.losses import kl_divergence, log_probabilities

SEED = 4
LEARNING_RATE = 1e-3  # of Adam, for teacher, student and points
TEACHER_EPOCHS, TEACHER_BATCH = 30, 50
PSEUDO_POINTS, POINT_STEPS, STUDENT_STEPS = 50, 50, 10
POINT_GRADIENT_CLAMP = 3.0  # bound of each coordinate of a point's gradient
STUDENT_GRADIENT_NORM = 3.0
HALF_SIDE = 3.0  # data and pseudo points lie in the square from -3 to 3

CELLS = 120  # cells along each side of the grid on which student and teacher are compared
CLASSES = ("upper wings", "lower wings", "body")


# --- data and networks ---


def butterfly(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points (count, 2) and labels (count,) of a butterfly: upper wings 0, lower wings 1, body 2.

    All classes have the same number of points, up to one. A class is a uniformly filled, tilted ellipse, mirrored at the
    vertical axis and blurred so that the classes touch.
    """
    centres = torch.tensor([[1.25, 0.9], [1.0, -0.95], [0.0, 0.0]])
    half_axes = torch.tensor([[1.25, 0.75], [0.95, 0.6], [0.2, 1.3]])
    tilts = torch.deg2rad(torch.tensor([35.0, -40.0, 0.0]))

    labels = torch.arange(count) % len(CLASSES)
    radius = torch.rand(count, generator=generator).sqrt()  # the square root makes the density uniform on the disc
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    disc = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1) * half_axes[labels]
    cos, sin = tilts[labels].cos(), tilts[labels].sin()
    x = centres[labels, 0] + cos * disc[:, 0] - sin * disc[:, 1]
    y = centres[labels, 1] + sin * disc[:, 0] + cos * disc[:, 1]
    side = torch.randint(2, (count,), generator=generator) * 2 - 1
    points = torch.stack([x * side, y], dim=1) + 0.1 * torch.randn(count, 2, generator=generator)
    return points.clamp(-HALF_SIDE, HALF_SIDE), labels


def build_mlp(seed: int, purpose: str) -> nn.Sequential:
    """Build an MLP 2-100-500-3 with ReLU, from points to logits; its weights depend only on seed and purpose."""
    with seeded(seed, purpose):
        return nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 500), nn.ReLU(), nn.Linear(500, len(CLASSES)))


@torch.no_grad()
def accuracy(network: nn.Module, points: Tensor, labels: Tensor) -> float:
    """Return the share of points that the network classifies as their label."""
    hits: Tensor = network(points).argmax(1) == labels
    return hits.float().mean().item()


def adam(parameters: Iterable[Tensor]) -> torch.optim.Adam:
    """Return the Adam optimiser of the experiment; the fused form computes the same updates in fewer calls."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


def train_teacher(points: Tensor, labels: Tensor, *, seed: int, epochs: int) -> nn.Sequential:
    """Train a network on labelled points with cross-entropy, then freeze it."""
    teacher = build_mlp(seed, "teacher")
    optimiser = adam(teacher.parameters())
    order = stream(seed, "teacher batches")
    for _ in range(epochs):
        for batch in torch.randperm(len(points), generator=order).split(TEACHER_BATCH):
            optimiser.zero_grad()
            F.cross_entropy(teacher(points[batch]), labels[batch]).backward()
            optimiser.step()
    return teacher.requires_grad_(False)


# --- belief matching ---


class BeliefMatching:
    """A student that learns from a frozen teacher on pseudo points, which move to where student and teacher disagree.

    No data are used. The pseudo points and the states of both optimisers are kept from epoch to epoch.
    """

    def __init__(self, teacher: nn.Module, *, seed: int) -> None:
        self.teacher = teacher
        self.student = build_mlp(seed, "student")
        # Unbounded coordinates, which `points` maps into the square. All points start in one corner, from N((3, 3), I).
        start = 3 + torch.randn(PSEUDO_POINTS, 2, generator=stream(seed, "pseudo points"))
        self.free_points = start.requires_grad_()
        self.point_optimiser = adam([self.free_points])
        self.student_optimiser = adam(self.student.parameters())

    def points(self) -> Tensor:
        """Return the pseudo points (50, 2), inside the square."""
        return 2 * HALF_SIDE * torch.sigmoid(self.free_points) - HALF_SIDE

    def divergence(self, points: Tensor) -> Tensor:
        """Return the KL divergence from teacher to student on the points, averaged over points and classes."""
        student, teacher = (log_probabilities(network(points), 1.0) for network in (self.student, self.teacher))
        return kl_divergence(student, teacher)

    def point_step(self) -> None:
        """Update the points to increase the divergence; no gradients of the student's weights are computed."""
        (gradient,) = torch.autograd.grad(-self.divergence(self.points()), [self.free_points])
        self.free_points.grad = gradient.clamp(-POINT_GRADIENT_CLAMP, POINT_GRADIENT_CLAMP)
        self.point_optimiser.step()

    def student_step(self) -> None:
        """Update the student to decrease the divergence on the current points."""
        self.student_optimiser.zero_grad()
        self.divergence(self.points().detach()).backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), STUDENT_GRADIENT_NORM)
        self.student_optimiser.step()

    def epoch(self) -> None:
        """Run one epoch: 50 point steps, then 10 student steps."""
        for _ in range(POINT_STEPS):
            self.point_step()
        for _ in range(STUDENT_STEPS):
            self.student_step()


# --- the picture ---


@torch.no_grad()
def regions(network: nn.Module, cells: int) -> Tensor:
    """Return the class that a network predicts at the centre of each grid cell, (cells, cells), from the top row down."""
    centres = (torch.arange(cells) + 0.5) / cells * 2 * HALF_SIDE - HALF_SIDE
    rows = [network(torch.stack([centres, y.expand(cells)], dim=1)).argmax(1) for y in centres.flip(0)]
    return torch.stack(rows)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One square of the picture."""

    title: str
    regions: Tensor
    """Class of each pixel, as `regions` returns it."""
    points: Tensor
    """Coordinates of the points, (n, 2)."""
    labels: Tensor | None = None
    """Classes of the points, (n,). None for pseudo points."""


SIDE, GAP, HEAD, FOOT = 320, 24, 30, 30  # pixels
LIGHT = ("#cfe1f2", "#fbe3b5", "#c9e8dc")
STRONG = ("#0f5f9c", "#c77700", "#00795a")
PSEUDO_POINT = 'r="4" fill="#fff" stroke="#111" stroke-width="1.5"'
BORDER = 'fill="none" stroke="#222" stroke-width="1.2" stroke-linecap="square"'


def region_paths(classes: Tensor) -> Iterator[str]:
    """Yield class 0 as the background, and one path for each other class, with a rectangle for each run of equal pixels."""
    yield f'<rect width="{SIDE}" height="{SIDE}" fill="{LIGHT[0]}"/>'
    for label in range(1, len(CLASSES)):
        runs = []
        for row, pixels in enumerate((classes == label).int()):
            edges = torch.diff(pixels, prepend=torch.zeros(1), append=torch.zeros(1)).nonzero().flatten().tolist()
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                runs.append(f"M{start} {row}h{end - start}v1H{start}z")
        yield f'<path fill="{LIGHT[label]}" shape-rendering="crispEdges" d="{"".join(runs)}"/>'


def border_path(classes: Tensor) -> str:
    """Return the borders between classes as an SVG path along the pixels' edges."""
    below = (classes[1:] != classes[:-1]).nonzero().tolist()
    beside = (classes[:, 1:] != classes[:, :-1]).nonzero().tolist()
    lines = [f"M{column} {row + 1}h1" for row, column in below] + [f"M{column + 1} {row}v1" for row, column in beside]
    return f'<path {BORDER} d="{"".join(lines)}"/>'


def dots(panel: Panel) -> Iterator[str]:
    """Yield the circles of a panel's points: small and in the colour of the class for data, white for pseudo points."""
    pixels = (panel.points + HALF_SIDE) / (2 * HALF_SIDE) * SIDE
    for index, (x, y) in enumerate(pixels.tolist()):
        look = PSEUDO_POINT if panel.labels is None else f'r="1.8" fill="{STRONG[int(panel.labels[index])]}"'
        yield f'<circle cx="{x:.1f}" cy="{SIDE - y:.1f}" {look}/>'


def legend(baseline: int) -> Iterator[str]:
    """Yield the legend of colours, circles and lines in one row."""
    entries = [(f'<rect y="-12" width="14" height="14" fill="{STRONG[i]}"/>', name) for i, name in enumerate(CLASSES)]
    entries.append((f'<circle cx="7" cy="-5" {PSEUDO_POINT}/>', "pseudo point"))
    entries.append((f'<path d="M0 -5h14" {BORDER}/>', "teacher's border"))
    for index, (symbol, name) in enumerate(entries):
        yield f'<g transform="translate({GAP + 130 * index} {baseline})">{symbol}<text x="20" fill="#111">{name}</text></g>'


def draw(panels: Sequence[Panel]) -> str:
    """Draw the panels as one SVG, two in a row, each with the borders between the teacher's classes as black lines."""
    rows = (len(panels) + 1) // 2
    width, height = 2 * SIDE + 3 * GAP, rows * (SIDE + HEAD + GAP) + FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" font-family="sans-serif" font-size="14">',
        "<title>Belief matching in the plane: " + "; ".join(panel.title for panel in panels) + "</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, panel in enumerate(panels):
        left, top = GAP + index % 2 * (SIDE + GAP), HEAD + index // 2 * (SIDE + HEAD + GAP)
        lines += [
            f'<g transform="translate({left} {top})">',
            f'<text y="-8" fill="#111">{panel.title}</text>',
            *region_paths(panel.regions),
            border_path(panels[0].regions),
            f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>',
            *dots(panel),
            "</g>",
        ]
    lines += legend(height - FOOT + 8)
    return "\n".join([*lines, "</svg>", ""])


# --- the experiment ---


def say(line: str) -> None:
    """Print a line to the terminal and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(epochs: int, *, seed: int = SEED, report_every: int = 100) -> str:
    """Train teacher and student, print the progress, and return the picture as SVG."""
    start = time.perf_counter()
    train_points, train_labels = butterfly(3000, stream(seed, "training data"))
    test_points, test_labels = butterfly(3000, stream(seed, "test data"))
    teacher = train_teacher(train_points, train_labels, seed=seed, epochs=TEACHER_EPOCHS)
    say(f"teacher: {accuracy(teacher, test_points, test_labels):.2%} test accuracy")

    matching = BeliefMatching(teacher, seed=seed)
    panels = [
        Panel(
            title="Teacher and test data",
            regions=regions(teacher, SIDE),
            points=test_points[:600],
            labels=test_labels[:600],
        )
    ]
    teacher_classes = regions(teacher, CELLS)
    say("epoch  KL on the points  agreement on the grid  test accuracy")
    for epoch in range(epochs + 1):
        if epoch:
            matching.epoch()
        if epoch % report_every == 0 or epoch == epochs:
            distance = matching.divergence(matching.points()).item()
            agreement = (regions(matching.student, CELLS) == teacher_classes).float().mean().item()
            tested = accuracy(matching.student, test_points, test_labels)
            say(f"{epoch:5}  {distance:16.2e}  {agreement:21.2%}  {tested:13.2%}")
        if epoch in {0, epochs // 2, epochs}:
            panels.append(
                Panel(
                    title=f"Student and pseudo points, epoch {epoch:,}",
                    regions=regions(matching.student, SIDE),
                    points=matching.points().detach(),
                )
            )
    say(f"{time.perf_counter() - start:.0f} s")
    return draw(panels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment from the command line and write the picture."""
    parser = argparse.ArgumentParser(description="Belief matching on three classes in the plane.")
    parser.add_argument("--epochs", type=int, default=2000, help="50 point steps and 10 student steps each")
    parser.add_argument("--output", type=Path, default=Path("toy.svg"), help="file for the picture")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of data, weights and points")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, not {options.epochs}")
    torch.set_num_threads(1)  # the networks are small, and the results' last digits depend on the number of threads
    picture = run(options.epochs, seed=options.seed)
    options.output.write_text(picture)
    say(f"wrote {options.output}")


if __name__ == "__main__":
    main()
