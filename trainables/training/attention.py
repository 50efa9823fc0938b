"""Which activations of a student and its teacher attention transfer compares, for one trial."""

from __future__ import annotations

from trainables.networks import Network
from trainables.networks.activations import activation_sizes, attention_pairs


def watch_layers(network: Network, layers: str | None, image_shape: tuple[int, int, int], *, name: str) -> None:
    """Let a network return the activations that a config names.

    Args:
        network: Student or teacher.
        layers: Names of modules with commas between; None: the network's own choice.
        image_shape: Channels, height and width of the images; it looks at a blank one.
        name: The network's, for messages.

    Raises:
        ValueError: it has no such module, or one that returns no activation.
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
    """Return which activations are compared, as (index in the student's, index in the teacher's); none at weight 0.

    Args:
        student: Looks at one blank image, as the teacher does.
        teacher: See ``student``.
        image_shape: Channels, height and width of the images.
        weight: The trial's ``attention_weight``.
        names: The networks' names, for messages: student, teacher.
        layers: Those that a config names, of student and teacher. Where it names both they must fit each other one by
            one; where it names one's, each of them must be compared.

    Raises:
        ValueError: there are none, or layers that a config names have other sizes than those of the other network.
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
                f"attention_layers: {found} of {names[side]} would be compared with nothing of {names[1 - side]} "
                f"{sizes[1 - side]}; leave it out, or name the layers of both networks"
            )
    return pairs
