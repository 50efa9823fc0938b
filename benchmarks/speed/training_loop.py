"""Time of a pseudo batch on a CPU: the published loop, and this project's loop with one optimisation after another.

    python -m benchmarks.speed.training_loop --threads 1 2

All sides, the published loop included, run in turn in one process, on equal random networks, with glibc's allocator set to
keep freed memory (``trainables.compute.devices``). GFLOP/s counts the operations that a side really executes; its share of
the peak refers to the fastest convolution measured here in the same arithmetic. The last column compares the weights of
student and generator after the first pseudo batch: the distance from the published loop's weights, as a share of the
distance that those have moved.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.published_loop import PublishedLoop
from trainables.compute.devices import keep_freed_memory
from trainables.config import ZeroShotConfig
from trainables.profiling.dummies import dummy_splits, dummy_teacher
from trainables.training.distiller import ZeroShotDistiller

PAIRS = ("wrn-16-2:wrn-16-1", "wrn-40-2:wrn-16-1")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One implementation of the training loop, and the data type of its convolutions."""

    name: str
    networks: tuple[nn.Module, nn.Module]
    """Student and generator, whose weights are compared."""

    pseudo_batch: Callable[[], object]
    same_work: Callable[[], object] | None = None
    """Function that does the same work uncompiled, so that its operations can be counted. None means ``pseudo_batch``."""

    dtype: torch.dtype = torch.float32


def make_distiller(
    pair: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32, **changes: object
) -> ZeroShotDistiller:
    """Make a distiller with the published settings and untrained networks."""
    config = make_config(pair, **changes)
    splits = dummy_splits(config, train=0, test=1)
    return ZeroShotDistiller(config, teacher=dummy_teacher(config), splits=splits, device=device, dtype=dtype)


def make_published(pair: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> PublishedLoop:
    """Make the published loop with the same networks as ``make_distiller``."""
    config = make_config(pair)
    splits = dummy_splits(config, train=0, test=1)
    return PublishedLoop.beginning(config, dummy_teacher(config), splits, dtype, device=device)


def make_config(pair: str, **changes: object) -> ZeroShotConfig:
    """Return the published settings for a pair of networks."""
    teacher, student = pair.split(":")
    return ZeroShotConfig.model_validate({"teacher": teacher, "student": student, "compilation": "never", **changes})


def sides(pair: str, *, with_compiled: bool) -> list[Side]:
    """Return the implementations from the published loop to the fastest, each with one more optimisation."""
    plain = make_published(pair)
    last, fused = make_distiller(pair, numerics="exact"), make_distiller(pair, numerics="exact")
    for distiller in (last, fused):
        for network in (distiller.teacher, distiller.student, distiller.generator):
            network.to(memory_format=torch.channels_last)
    fused.generator.fused_upsampling = True
    fast, half = make_distiller(pair), make_distiller(pair, precision="bfloat16")
    found = [
        Side(name="published loop", networks=(plain.student, plain.generator), pseudo_batch=plain.pseudo_batch),
        _side("exact", make_distiller(pair, numerics="exact")),
        _side("+ channels last", last),
        _side("+ upsampling fused", fused),
        _side("+ teacher's BatchNorm folded: fast", fast),
    ]
    if with_compiled:
        found.append(_side("fast, compiled", make_compiled(pair, "float32"), counted=fast))
    found.append(_side("fast, bfloat16", half, dtype=torch.bfloat16))
    if with_compiled:
        both = make_compiled(pair, "bfloat16")
        found.append(_side("fast, compiled, bfloat16", both, counted=half, dtype=torch.bfloat16))
    return found


def make_compiled(pair: str, precision: str) -> ZeroShotDistiller:
    """Make a compiled distiller; exit the program if torch cannot compile."""
    distiller = make_distiller(pair, compilation="always", precision=precision)
    if not distiller.compiled:
        sys.exit(f"{distiller.notes[0]}\nTo leave out compiled loops: --no-compile")
    return distiller


def _side(
    name: str,
    distiller: ZeroShotDistiller,
    *,
    counted: ZeroShotDistiller | None = None,
    dtype: torch.dtype = torch.float32,
) -> Side:
    same_work = partial(counted.train, 1) if counted else None
    return Side(
        name=name,
        networks=(distiller.student, distiller.generator),
        pseudo_batch=partial(distiller.train, 1),
        same_work=same_work,
        dtype=dtype,
    )


def weights(networks: Iterable[nn.Module]) -> list[Tensor]:
    """Return copies of all weights of the networks, in the order of their parameters."""
    return [parameter.detach().clone() for network in networks for parameter in network.parameters()]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor], start: Sequence[Tensor]) -> str:
    """Format the distance of weights from the published loop's, as a share of the distance that those have moved.

    Returns:
        "equal bits" if all weights are equal, else the share. A share near 1 means that the results have nothing in common.
    """
    if all(map(torch.equal, ours, theirs)):
        return "equal bits"
    apart, way = (
        math.sqrt(sum(float((a - b).double().square().sum()) for a, b in zip(left, theirs, strict=True)))
        for left in (ours, start)
    )
    return f"{apart / way:.1e}"


def seconds(run: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def operations(run: Callable[[], object]) -> int:
    """Return the floating-point operations of convolutions and matrix products in one call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def convolution_peak(dtype: torch.dtype) -> float:
    """Return the operations per second of the fastest of three convolutions as they occur in the loop."""
    fastest = 0.0
    for channels, size in ((64, 8), (128, 8), (64, 16)):
        images = torch.randn(128, channels, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        work = 2 * images.numel() * channels * 9
        convolve = partial(F.conv2d, images, weight, padding=1)
        times = [seconds(convolve) for _ in range(20)]
        fastest = max(fastest, work / min(times))
    return fastest


def table(pair: str, threads: int, repeats: int, *, with_compiled: bool) -> list[str]:
    """Return the lines of one Markdown table, after a line on the setting."""
    torch.set_num_threads(threads)
    measured = sides(pair, with_compiled=with_compiled)
    peaks = {dtype: convolution_peak(dtype) for dtype in {side.dtype for side in measured}}
    start = weights(measured[0].networks)
    warm_up = {side.name: seconds(side.pseudo_batch) for side in measured}
    after = {side.name: weights(side.networks) for side in measured}
    work = {side.name: operations(side.same_work or side.pseudo_batch) for side in measured}
    times: dict[str, list[float]] = {side.name: [] for side in measured}
    for _ in range(repeats):
        for side in measured:
            times[side.name].append(seconds(side.pseudo_batch))
    lines = [
        f"{pair.replace(':', ' to ')}, batch 128, 10 student steps, {threads} thread{'s' if threads > 1 else ''}, "
        f"{repeats} repeats, torch {torch.__version__}; convolutions up to "
        + ", ".join(
            f"{peak / 1e9:.0f} GFLOP/s in {str(dtype).removeprefix('torch.')}" for dtype, peak in peaks.items()
        ),
        "",
        "| | s per pseudo batch | times the published loop | GFLOP | GFLOP/s | share of peak | first call, s | weights |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for side in measured:
        # Ratios are taken within a repeat, since a temporary slowdown of the machine affects both sides.
        ratios = [plain / ours for plain, ours in zip(times["published loop"], times[side.name], strict=True)]
        apart = "" if side is measured[0] else distance(after[side.name], after["published loop"], start)
        mean, rate = statistics.fmean(times[side.name]), work[side.name] / statistics.fmean(times[side.name])
        lines.append(
            f"| {side.name} | {mean:.2f} | {statistics.fmean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{work[side.name] / 1e9:.0f} | {rate / 1e9:.0f} | {rate / peaks[side.dtype]:.0%} | "
            f"{warm_up[side.name]:.1f} | {apart} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each pair of networks and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="TEACHER:STUDENT")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out compiled loops, which take a minute to compile"
    )
    chosen = parser.parse_args(arguments)
    keep_freed_memory()
    for pair in chosen.pairs:
        for threads in chosen.threads:
            print(
                "\n".join(table(pair, threads, chosen.repeats, with_compiled=not chosen.no_compile)),
                end="\n\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
