"""Which activations of a student and its teacher attention transfer compares, for one trial."""

from __future__ import annotations

from trainables.networks import Network
from trainables.networks.activations import activation_sizes, attention_pairs


def watch_layers(network: Network, layers: str | None, *, name: str) -> None:
    """Let a network return the activations that a config names.

    Args:
        network: Student or teacher.
        layers: Names of modules with commas between; None: the network's own choice.
        name: The network's, for messages.

    Raises:
        ValueError: it has no such module.
    """
    if layers is None:
        return
    try:
        network.watch(layers.split(","))
    except AttributeError as error:
        known = [layer for layer, _ in network.named_children()] or ["none"]
        raise ValueError(
            f"attention_layers: {name} has no module of that name ({error}); its outermost modules: {', '.join(known)}"
        ) from error


def compared_layers(
    student: Network,
    teacher: Network,
    image_shape: tuple[int, int, int],
    *,
    weight: float,
    names: tuple[str, str],
    all_named: bool = False,
) -> list[tuple[int, int]]:
    """Return which activations are compared, as (index in the student's, index in the teacher's); none at weight 0.

    Args:
        student: Looks at one blank image, as the teacher does.
        teacher: See ``student``.
        image_shape: Channels, height and width of the images.
        weight: The trial's ``attention_weight``.
        names: The networks' names, for messages: student, teacher.
        all_named: Whether a config names the layers of both, which then must fit each other one by one.

    Raises:
        ValueError: there are none, or layers that a config names have other sizes than those of the other network.
    """
    if weight == 0:
        return []
    sizes = [activation_sizes(network, image_shape) for network in (student, teacher)]
    pairs = attention_pairs(*sizes)
    if not any(sizes):
        raise ValueError(
            f"attention_weight={weight:g}: {names[0]} and {names[1]} return no activations to compare; allowed: "
            "attention_weight=0"
        )
    if not pairs or (all_named and sizes[0] != sizes[1]):
        raise ValueError(
            f"attention_weight={weight:g}: the activations of {names[0]} {sizes[0]} and {names[1]} {sizes[1]} differ in "
            "size; allowed: attention_weight=0, or "
            + ("attention_layers of equal sizes" if all_named else "two networks with activations of one size")
        )
    return pairs
