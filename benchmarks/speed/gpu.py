"""Time of a pseudo batch on a GPU: the published loop, and this project's loop with one optimisation after another.

    python -m benchmarks.speed.gpu --pairs wrn-40-2:wrn-16-1

The benchmark needs torch and an NVIDIA GPU, but no sweep. It first compares the loop as a CUDA graph, not compiled, with the
published loop in float64, and ends if the results differ. Kernels are counted on the GPU for one pseudo batch, launches are
the host's calls that started them. GPU busy is the time of kernels and copies as a share of the time of a pseudo batch.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.training_loop import PAIRS, make_distiller, make_published
from trainables.compute.cuda_graphs import WARM_UPS
from trainables.compute.devices import claim_device

PUBLISHED_BATCHES = 80_000
"""Pseudo batches of a published run, for the projected hours."""

COMPARED_BATCHES = WARM_UPS + 2
"""Number of compared pseudo batches; the last two run as a recorded CUDA graph. The number is small because the loop is
chaotic: after more pseudo batches rounding alone would make a visible difference."""

TOLERANCE = 1e-5
"""Largest accepted difference, relative to the largest number of a tensor. Rounding in float64 is far smaller, but one side
has its learning rates in float32."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One implementation of the training loop."""

    name: str
    train: Callable[[int], None]
    """Function that runs a number of pseudo batches."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one pseudo batch."""

    milliseconds: float
    kernels: int
    launches: int
    busy: float
    """Time of kernels and copies as a share of the whole time. Since they are timed under a profiler, the share may exceed
    1 slightly."""


def sides(pair: str, device: str, *, with_compiled: bool) -> list[Callable[[], Side]]:
    """Return functions that make the implementations, from the published loop to the fastest.

    Each implementation is made only when it is measured, so that only one occupies memory.
    """
    graphs: dict[str, Any] = {"cuda_graphs": True}
    compiled: dict[str, Any] = {"cuda_graphs": True, "compilation": "always"}
    ways: list[tuple[str, dict[str, Any]]] = [
        ("exact", {"numerics": "exact"}),
        ("fast", {}),
        ("fast, graphs", graphs),
        ("fast, graphs, compiled", compiled),
        ("tf32, graphs", {**graphs, "precision": "tf32"}),
        ("tf32, graphs, compiled", {**compiled, "precision": "tf32"}),
        ("bfloat16, graphs", {**graphs, "precision": "bfloat16"}),
        ("bfloat16, graphs, compiled", {**compiled, "precision": "bfloat16"}),
    ]

    def published() -> Side:
        loop = make_published(pair, device=device)
        return Side(name="published loop", train=lambda batches: _repeat(loop.pseudo_batch, batches))

    def ours(name: str, changes: dict[str, Any]) -> Side:
        distiller = make_distiller(pair, device=device, **changes)
        if distiller.config.compilation == "always" and not distiller.compiled:
            sys.exit(f"{distiller.notes[0]}\nTo leave out compiled loops: --no-compile")
        return Side(name=name, train=distiller.train)

    wanted = [way for way in ways if with_compiled or "compilation" not in way[1]]
    return [published, *(partial(ours, *way) for way in wanted)]


def difference(pair: str, device: str) -> float:
    """Return the largest relative difference of the student's state in float64 between two loops.

    The loops are ``numerics=fast`` with CUDA graphs and the published one; the state is all weights and running statistics.
    """
    ours = make_distiller(pair, device=device, dtype=torch.float64, cuda_graphs=True)
    theirs = make_published(pair, device=device, dtype=torch.float64)
    ours.train(COMPARED_BATCHES)
    _repeat(theirs.pseudo_batch, COMPARED_BATCHES)
    found = ours.student.state_dict()
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp_min(1e-12))
        for name, value in theirs.student.state_dict().items()
    )


def measure(side: Side, batches: int) -> Measured:
    """Time a number of pseudo batches after the warm-up, then profile one more."""
    side.train(WARM_UPS + 1)  # compiles, and records the CUDA graph
    _wait()
    start = time.perf_counter()
    side.train(batches)
    _wait()
    seconds = (time.perf_counter() - start) / batches
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        side.train(1)
        _wait()
    events = list(profiler.events())
    # User annotations, such as the optimizer's step, are listed among the kernels.
    on_gpu = [event for event in events if event.device_type.name == "CUDA" and not event.is_user_annotation]
    kernels = [event for event in on_gpu if not event.name.startswith(("Memcpy", "Memset"))]
    launches = [event for event in events if event.name.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch"))]
    return Measured(
        milliseconds=1000 * seconds,
        kernels=len(kernels),
        launches=len(launches),
        busy=sum(event.time_range.elapsed_us() for event in on_gpu) / 1e6 / seconds,
    )


def table(pair: str, device: str, batches: int, *, with_compiled: bool) -> list[str]:
    """Return the lines of one Markdown table, after a line on the setting."""
    lines = [
        f"{pair.replace(':', ' to ')}, batch 128, 10 student steps, {_name(device)}, torch {torch.__version__}",
        "",
        "| | ms per pseudo batch | times the published loop | kernels | launches | GPU busy | hours for 80,000 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    published = 0.0
    for make in sides(pair, device, with_compiled=with_compiled):
        side = make()
        found = measure(side, batches)
        published = published or found.milliseconds
        lines.append(
            f"| {side.name} | {found.milliseconds:.1f} | {published / found.milliseconds:.2f} | {found.kernels:,} | "
            f"{found.launches:,} | {found.busy:.0%} | {found.milliseconds * PUBLISHED_BATCHES / 3.6e6:.2f} |"
        )
        del side
        gc.collect()  # the distiller and its recorded graph refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each pair of networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="TEACHER:STUDENT")
    parser.add_argument("--batches", type=int, default=50, help="number of timed pseudo batches")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out compiled loops, which take minutes to compile"
    )
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU here; on a CPU: python -m benchmarks.speed.training_loop")
    claim_device(cpus=1, gpus=1)  # as a trial does: TF32 is off unless the precision asks for it
    for pair in chosen.pairs:
        found = difference(pair, "cuda")
        print(
            f"{pair}: after {COMPARED_BATCHES} pseudo batches in float64, students differ by {found:.1e}\n", flush=True
        )
        if not found < TOLERANCE:
            sys.exit(f"the difference is above {TOLERANCE:.0e}: this is not the published loop")
        lines = table(pair, "cuda", chosen.batches, with_compiled=not chosen.no_compile)
        print("\n".join(lines), end="\n\n", flush=True)


def _repeat(work: Callable[[], None], times: int) -> None:
    for _ in range(times):
        work()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


if __name__ == "__main__":
    main()
