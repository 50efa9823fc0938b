"""Short causes of failures of trial processes.

The cause is found only in the text of Ray's exceptions, which Tune writes to a file. The phrases below are those of
Ray 2.60.
"""

from __future__ import annotations

from pathlib import Path

LOST_MACHINE = "its node has died"
"""Ray's phrase for an actor whose machine is lost."""

LEFT_MACHINE = "exit_actor()"
"""Ray's phrase for an actor that ended itself, as a trial does on a machine that is about to be preempted."""

_NEXT_FAILURE = "Failure # "
"""Text with which Tune begins each entry in a trial's file of failures."""

_CAUSES = {
    "the actor's node was preempted": "its machine was lost (taken away, as announced)",
    "the actor's node was terminated expectedly": "its machine was lost (shut down)",
    "the actor's node was terminated unexpectedly": "its machine was lost (it stopped answering)",
    LOST_MACHINE: "its machine was lost",
    LEFT_MACHINE: "its machine is about to be taken away",
    "due to the node running low on memory": "its process was ended, as the machine ran low on memory",
    "its worker process has died": "its process crashed or was killed, perhaps because the machine ran out of memory",
}
"""Causes of failures by Ray's phrase; more specific phrases come first."""


def is_without_machine(told: str) -> bool:
    """Return whether a process failed only because it lost its machine, or left a machine that is about to be preempted.

    Args:
        told: See ``last_failure``.
    """
    return LOST_MACHINE in told or LEFT_MACHINE in told


def last_failure(file: str | None) -> str:
    """Return Tune's record of a trial's last failure, with the stack trace; empty if the trial has not failed.

    Args:
        file: File in which Tune records all failures of the trial. None if the trial has not failed.
    """
    if not file or not Path(file).exists():
        return ""
    return Path(file).read_text(errors="replace").rpartition(_NEXT_FAILURE)[2].strip()


def cause_of_failure(told: str) -> str:
    """Return the cause of a failure in one line: the known cause of the process's loss, else the exception.

    Args:
        told: See ``last_failure``.
    """
    loss = next((words for sentence, words in _CAUSES.items() if sentence in told), None)
    # The last line of a stack trace names the exception.
    return loss or (told.splitlines() or ["unknown cause"])[-1].strip()
