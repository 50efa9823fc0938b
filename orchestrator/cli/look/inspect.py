"""``zskt inspect`` and ``zskt init``: what a teacher's file is, and the sweep that begins with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.options import DataRoot, Verbose, check_output, errors_as_messages
from orchestrator.errors import ConfigError
from orchestrator.output import standard_output

if TYPE_CHECKING:
    from orchestrator.commands.inspect import TeacherFacts

_TITLE = "A sweep that begins with it; zskt init writes it to a file:"
File = Annotated[str, typer.Argument(metavar="FILE", help="Weights of a teacher: a path or s3://...")]
Network = Annotated[
    str | None,
    typer.Option(help="Its architecture: lenet, torchvision:resnet18, FILE.py:NAME ... Default: found by the weights."),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="Labelled images for it: a data set's name, or a folder or file of your own. Default: none."),
]
Classes = Annotated[int | None, typer.Option(min=2, help="Classes that it tells apart. Default: by its weights.")]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Height and width of its images, 28 or 48x40. Default: as far as known."),
]
Normalisation = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What it expects of pixels: a data set's, half, unit, imagenet, MEAN:STD."),
]


def inspect(  # noqa: PLR0917 (typer makes the options of the parameters)
    file: File,
    network: Network = None,
    dataset: Dataset = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    normalisation: Normalisation = None,
    data_root: DataRoot = None,
    verbose: Verbose = False,
) -> None:
    """Look at a teacher's file: network, layers, finite or not; with images how good it is, and by which normalisation.

    Example: zskt inspect teacher.pt --dataset path/to/photos
    """
    out = standard_output()
    with errors_as_messages(verbose):
        facts, text = _looked_at(file, network, dataset, classes, image_size, normalisation, data_root)
        # What is slow to load has been loaded for the look.
        from orchestrator.commands.inspect import cost_in_words, in_words

        table = Table(box=None, show_header=False, pad_edge=False)
        for heading, words in in_words(facts):
            table.add_row(heading, words)
        out.table(table)
        out.say("")
        out.say(_TITLE)
        out.say(text)
        if not facts.not_finite and facts.normalisation is not None:
            for line in cost_in_words(text):
                out.say(f"Here it would take {line}")


def init(  # noqa: PLR0917 (typer makes the options of the parameters)
    file: File,
    output: Annotated[Path, typer.Option(metavar="YAML", help="The sweep's file; it must not be there yet.")] = Path(
        "my-teacher.yaml"
    ),
    network: Network = None,
    dataset: Dataset = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    normalisation: Normalisation = None,
    data_root: DataRoot = None,
    verbose: Verbose = False,
) -> None:
    """Write a commented sweep file for a teacher's file.

    Example: zskt init teacher.pt --dataset path/to/photos --output photos.yaml
    """
    out = standard_output()
    with errors_as_messages(verbose):
        check_output(output)
        if output.exists():
            raise ConfigError(f"{output} is there already: name another file with --output")
        _, text = _looked_at(file, network, dataset, classes, image_size, normalisation, data_root)
        output.write_text(text, encoding="utf-8")
        out.say(f"{output}: zskt sweep {output} runs it, zskt plan {output} says what it costs")


def _looked_at(  # noqa: PLR0917 (handed on as they were given)
    file: str,
    network: str | None,
    dataset: str | None,
    classes: int | None,
    image_size: str | None,
    normalisation: str | None,
    data_root: str | None,
) -> tuple[TeacherFacts, str]:
    """What is known of a teacher, and a sweep with it as YAML."""
    # What is slow to load waits until the arguments are known to be right.
    from orchestrator.commands.evaluate import named_images
    from orchestrator.commands.inspect import as_yaml, inspect_teacher, sweep_of
    from orchestrator.config import SweepConfig
    from trainables.config.datasets import find_normalisation

    if normalisation is not None:
        try:
            find_normalisation(normalisation)
        except ValueError as error:
            raise ConfigError(f"--normalisation {normalisation}: {error}") from error
    images = None
    if dataset is not None:
        root = data_root or str(SweepConfig.model_fields["data_root"].default)
        # The images are as they are whatever is expected of them.
        _, images = named_images(dataset, root, image_size, normalisation or "unit")
    facts = inspect_teacher(
        file,
        network=network,
        num_classes=classes,
        image_size=image_size,
        images=images,
        normalisation=normalisation,
    )
    return facts, as_yaml(facts, sweep_of(facts, dataset=dataset))
