"""Combined throughput of several processes on one GPU, measured as in a sweep with ``resources: {gpu: auto}``.

    python -m benchmarks.speed.gpu_sharing --pair wrn-40-2:wrn-16-1 --processes 1 2 4 8

All processes train the published settings at the same time, on a dummy teacher and dummy images, each with one thread. A
sweep stops adding processes when they gain little; this benchmark adds processes as long as the GPU's memory suffices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.speed.training_loop import make_config
from cluster.session import ray_session
from orchestrator.formatting import readable
from orchestrator.run.gpu_sharing import PROCESSES, ColocatedTrials, SharingError
from orchestrator.run.gpu_sharing_measurement import ray_colocated
from trainables.config import ZeroShotConfig

PATIENCE_SECONDS = 1800.0
"""Time-out in seconds for all processes to start, to compile if the config says so, and to be measured."""


def table(config: ZeroShotConfig, colocated: ColocatedTrials, processes: Sequence[int]) -> list[str]:
    """Return the lines of one Markdown table; if the table ends early, the last line says why.

    Args:
        config: Config of the trial that all processes train.
        colocated: Processes on one GPU, of which none has started.
        processes: Ascending numbers of processes, 1 first.

    Raises:
        SharingError: a single process could not be measured.
    """
    beginning = colocated.scale_to(1)
    needs, one = colocated.peak_memory(), colocated.throughput()
    lines = [
        f"{config.teacher} to {config.student}, batch {config.batch_size}, {config.student_steps} student steps, "
        f"{beginning.device_name} with {readable(beginning.gpu_bytes)}, of which a process needs {readable(needs)}; torch "
        f"{torch.__version__}",
        "",
        "| processes | pseudo batches a second in all | times one process | students a GPU hour | memory in all |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for number in processes:
        try:
            if number > 1:
                colocated.scale_to(number)
            rate = one if number == 1 else colocated.throughput()
        except SharingError as error:
            return [*lines, "", f"{number} processes could not be measured: {error}"]
        students = 3600 * rate / config.total_pseudo_batches
        lines.append(f"| {number} | {rate:.2f} | {rate / one:.2f} | {students:.3f} | {readable(number * needs)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="wrn-40-2:wrn-16-1", metavar="TEACHER:STUDENT")
    parser.add_argument("--processes", nargs="+", type=int, default=PROCESSES, choices=PROCESSES)
    parser.add_argument("--seconds", type=float, default=20, help="seconds of measurement for each number of processes")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="other fields of the trial")
    chosen = parser.parse_args(arguments)
    config = make_config(chosen.pair, **dict(assignment.split("=", 1) for assignment in chosen.set))
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU on this machine, and this benchmark needs one")
    processes = sorted({1, *chosen.processes})
    most = processes[-1]
    with ray_session("local") as session:
        cpus = min(1.0, session.cpus / most)  # cores that Ray reserves; each process has one thread in any case
        try:
            with ray_colocated(
                config, cpus=cpus, most=most, seconds=chosen.seconds, patience=PATIENCE_SECONDS
            ) as colocated:
                print("\n".join(table(config, colocated, processes)))
        except SharingError as error:
            sys.exit(f"a single process could not be measured: {error}")


if __name__ == "__main__":
    main()
