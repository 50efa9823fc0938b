"""Selection of the student's and the teacher's activations that attention transfer compares in one trial."""

from __future__ import annotations

from trainables.networks import Network
from trainables.networks.activations import activation_sizes, attention_pairs


def watch_layers(network: Network, layers: str | None, image_shape: tuple[int, int, int], *, name: str) -> None:
    """Make a network return the activations that a config names.

    Args:
        network: Student or teacher.
        layers: Names of modules, separated by commas. None means the network's own choice.
        image_shape: Channels, height and width of the images. The modules are checked on one blank image.
        name: The network's name, for messages.

    Raises:
        ValueError: the network has no such module, or the module returns no activation.
    """
    if layers is None:
        return
    try:
        network.watch(layers.split(","))
    except AttributeError as error:
        known = network.outermost_layers or ["none"]
        raise ValueError(
            f"attention_layers: {name} has no module of that name ({error}); its outermost modules: {', '.join(known)}"
        ) from error
    except ValueError as error:
        raise ValueError(f"attention_layers of {name}: {error}") from error
    try:
        activation_sizes(network, image_shape)
    except ValueError as error:
        raise ValueError(f"attention_layers of {name}: module {error}") from error


def compared_layers(
    student: Network,
    teacher: Network,
    image_shape: tuple[int, int, int],
    *,
    weight: float,
    names: tuple[str, str],
    layers: tuple[str | None, str | None] = (None, None),
) -> list[tuple[int, int]]:
    """Return the pairs of activations to compare, as (index in the student's list, index in the teacher's list).

    The list is empty if ``weight`` is 0.

    Args:
        student: The student. The sizes of its activations are measured on one blank image.
        teacher: The teacher. The sizes of its activations are measured likewise.
        image_shape: Channels, height and width of the images.
        weight: The trial's ``attention_weight``.
        names: Names of student and teacher, for messages.
        layers: Layers of student and teacher that the config names. If both networks' layers are named, their sizes must
            match one by one; if one network's layers are named, each of them must have a counterpart.

    Raises:
        ValueError: no activations can be compared, or named layers have no counterpart of the same size.
    """
    if weight == 0:
        return []
    sizes = [activation_sizes(network, image_shape) for network in (student, teacher)]
    pairs = attention_pairs(*sizes)
    all_named = None not in layers
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
    for side, named in enumerate(layers):
        unused = set(range(len(sizes[side]))) - {pair[side] for pair in pairs} if named else ()
        if unused:
            watched = (student, teacher)[side].watched
            found = ", ".join(f"{watched[index]} {sizes[side][index]}" for index in sorted(unused))
            raise ValueError(
                f"attention_layers: {found} of {names[side]} has no counterpart in {names[1 - side]} "
                f"{sizes[1 - side]}; leave it out, or name the layers of both networks"
            )
    return pairs
