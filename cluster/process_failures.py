"""Why Ray has lost a process, in a few words.

Ray's exceptions keep it in their text alone, and Tune keeps the text. The sentences are those of Ray 2.60.
"""

from __future__ import annotations

LOST_MACHINE = "its node has died"
"""What Ray says of an actor whose machine is gone."""

LEFT_MACHINE = "exit_actor()"
"""What it says of one that has ended itself, as trials do on a machine that is about to go."""

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


def cause_of_loss(told: str) -> str | None:
    """Ray's account of a process's end in a few words; none if it is not one of a loss."""
    return next((words for sentence, words in _CAUSES.items() if sentence in told), None)
