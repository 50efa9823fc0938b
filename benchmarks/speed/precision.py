"""Time of bfloat16 against float32 on a processor, with and without its instructions for bfloat16.

    python -m benchmarks.speed.precision

Each row is measured in a separate process in which oneDNN, which computes torch's convolutions, is restricted to an
instruction set (``ONEDNN_MAX_CPU_ISA``); an older processor is no faster than that. Times are CPU seconds of one thread for
a small pseudo batch, the median of three, so that other work on the machine matters little.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.speed.training_loop import make_distiller
from trainables.compute.devices import device_name, keep_freed_memory

INSTRUCTIONS = {"ALL": "all that it has", "AVX512_CORE": "AVX-512 alone", "AVX2": "AVX2 alone"}
SMALL: dict[str, Any] = {"batch_size": 16, "generator_width": 16, "student_steps": 3}


def seconds(precision: str) -> float:
    """Return the median CPU seconds of a pseudo batch from WRN-10-2 to WRN-10-1, after one for warm-up."""
    distiller = make_distiller("wrn-10-2:wrn-10-1", precision=precision, **SMALL)
    times = []
    for _ in range(4):
        start = time.process_time()
        distiller.train(1)
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


def main(arguments: Sequence[str]) -> None:
    """Print the table; with an argument, only the row of that instruction set, measured in this process."""
    if arguments:
        torch.set_num_threads(1)
        keep_freed_memory()
        full, half = seconds("float32"), seconds("bfloat16")
        print(f"| {INSTRUCTIONS[arguments[0]]} | {full:.2f} | {half:.2f} | {half / full:.1f} |", flush=True)
        return
    print(f"{device_name(torch.device('cpu'))}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}\n")
    print("| oneDNN may use | float32, s | bfloat16, s | times |\n| --- | ---: | ---: | ---: |", flush=True)
    for name in INSTRUCTIONS:
        command = [sys.executable, "-m", "benchmarks.speed.precision", name]
        subprocess.run(command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": name}, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
