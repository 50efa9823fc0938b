"""Why a trial's process has failed, in a few words.

Ray's exceptions keep it in their text alone, and Tune keeps the text in a file. The sentences are those of Ray 2.60.
"""

from __future__ import annotations

from pathlib import Path

LOST_MACHINE = "its node has died"
"""What Ray says of an actor whose machine is gone."""

LEFT_MACHINE = "exit_actor()"
"""What it says of one that has ended itself, as trials do on a machine that is about to go."""

_NEXT_FAILURE = "Failure # "
"""What Tune begins the account of each of a trial's failures with."""

_CAUSES = {
    "the actor's node was preempted": "its machine was lost (taken away, as announced)",
    "the actor's node was terminated expectedly": "its machine was lost (shut down)",
    "the actor's node was terminated unexpectedly": "its machine was lost (it stopped answering)",
    LOST_MACHINE: "its machine was lost",
    LEFT_MACHINE: "its machine is about to be taken away",
    "due to the node running low on memory": "its process was ended, as the machine ran low on memory",
    "its worker process has died": "its process crashed or was killed, perhaps because the machine ran out of memory",
}
"""By what Ray says; one that says more comes before one that says less."""


def is_without_machine(told: str) -> bool:
    """Whether a process has lost its machine or left one that is about to go, by Ray's account: nothing that it has done."""
    return LOST_MACHINE in told or LEFT_MACHINE in told


def last_failure(file: str | None) -> str:
    """Return Tune's account of a trial's last failure, with its stack trace; empty if there is none.

    Args:
        file: Where Tune keeps the accounts of all of the trial's failures; None as long as there was none.
    """
    if not file or not Path(file).exists():
        return ""
    return Path(file).read_text(errors="replace").rpartition(_NEXT_FAILURE)[2].strip()


def cause_of_failure(told: str) -> str:
    """Return the cause of a failure in a line: what became of the process, else the exception.

    Args:
        told: See ``last_failure``.
    """
    loss = next((words for sentence, words in _CAUSES.items() if sentence in told), None)
    # The last line of a stack trace names the exception.
    return loss or (told.splitlines() or ["unknown cause"])[-1].strip()
