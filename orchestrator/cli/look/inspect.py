"""``zskt inspect`` and ``zskt init``: describe a teacher's file, and write a sweep that starts from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestrator.cli.options import DataRoot, Verbose, check_output, errors_as_messages
from orchestrator.cli.sweep_options import with_options
from orchestrator.errors import ConfigError
from orchestrator.output import standard_output

if TYPE_CHECKING:
    from orchestrator.commands.inspect import TeacherFacts

_TITLE = "A sweep with this teacher, which zskt init writes to a file:"
File = Annotated[str, typer.Argument(metavar="FILE", help="Teacher's file of weights: a path or s3://...")]


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Options that describe a teacher where its file does not."""

    network: Annotated[
        str | None,
        typer.Option(
            help="Architecture: lenet, torchvision:resnet18, FILE.py:NAME, ... Default: recognised by the weights."
        ),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(help="Labelled images: name of a data set, or a folder or file of your own. Default: none."),
    ] = None
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes. Default: read from the weights.")] = (
        None
    )
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Size of its images, 28 or 48x40. Default: from images or weights, else 32x32."
        ),
    ] = None
    normalisation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Normalisation: a data set's, half, unit, imagenet or MEAN:STD. Default: by --dataset."
        ),
    ] = None
    data_root: DataRoot = None

    def look_at(self, file: str) -> tuple[TeacherFacts, str]:
        """Return the facts about a teacher's file, and a sweep with this teacher as YAML.

        Raises:
            ConfigError: an option is wrong. ``inspect_teacher`` lists further errors.
        """
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.evaluate import named_images
        from orchestrator.commands.inspect import as_yaml, inspect_teacher, sweep_of
        from orchestrator.config import SweepConfig
        from trainables.config.datasets import find_normalisation

        if self.normalisation is not None:
            try:
                find_normalisation(self.normalisation)
            except ValueError as error:
                raise ConfigError(f"--normalisation {self.normalisation}: {error}") from error
        images = None
        if self.dataset is not None:
            root = self.data_root or str(SweepConfig.model_fields["data_root"].default)
            # The images themselves do not depend on the normalisation: "unit" stands for any.
            _, images = named_images(self.dataset, root, self.image_size, self.normalisation or "unit")
        facts = inspect_teacher(
            file,
            network=self.network,
            num_classes=self.classes,
            image_size=self.image_size,
            images=images,
            normalisation=self.normalisation,
        )
        return facts, as_yaml(facts, sweep_of(facts, dataset=self.dataset))


@with_options
def inspect(file: File, options: TeacherOptions, verbose: Verbose = False) -> None:
    """Describe a teacher's file: network, layers, finite weights.

    With --dataset, also its accuracy and calibration, and the normalisation that fits. Prints a sweep with this teacher.

    Example: zskt inspect teacher.pt --dataset path/to/photos
    """
    out = standard_output()
    with errors_as_messages(verbose):
        facts, text = options.look_at(file)
        # options.look_at has loaded this module already.
        from orchestrator.commands.inspect import cost_in_words, in_words

        table = Table(box=None, show_header=False, pad_edge=False)
        for heading, words in in_words(facts):
            table.add_row(heading, words)
        out.table(table)
        out.say("")
        out.say(_TITLE)
        out.say(text)
        if not facts.not_finite and facts.normalisation is not None:
            out.say(f"On this machine the sweep would take {cost_in_words(text)}")


@with_options
def init(
    file: File,
    options: TeacherOptions,
    output: Annotated[Path, typer.Option(metavar="YAML", help="File to write; it must not exist yet.")] = Path(
        "my-teacher.yaml"
    ),
    verbose: Verbose = False,
) -> None:
    """Write a commented sweep file for a teacher's file.

    Example: zskt init teacher.pt --dataset path/to/photos --output photos.yaml
    """
    out = standard_output()
    with errors_as_messages(verbose):
        check_output(output)
        if output.exists():
            raise ConfigError(f"{output} exists already: name another file with --output")
        _, text = options.look_at(file)
        output.write_text(text, encoding="utf-8")
        out.say(f"{output}: zskt sweep {output} runs it, zskt plan {output} estimates its cost")
