"""``zskt evaluate``: measure trained networks outside of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orchestrator.cli.options import (
    DataRoot,
    Storage,
    TrustCode,
    Verbose,
    check_output,
    errors_as_messages,
    storage_config,
)
from orchestrator.errors import ConfigError
from orchestrator.output import standard_output

evaluate = typer.Typer(
    help="Measure trained networks: transition curves, noise, images.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_NETWORK_HELP = "NETWORK=FILE with published weights (a path or s3://...), or SWEEP/TRIAL for that trial's student."
Dataset = Annotated[
    str, typer.Option(help="Data set of the networks: a name, or the address of a Parquet file or of your own images.")
]
Normalisation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Normalisation of the networks: a data set's, half, unit, imagenet or MEAN:STD. Default: the data set's.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Size of the images, 28 or 48x40 (height x width). Default: the data set's."),
]
Output = Annotated[Path, typer.Option(metavar="FILE", help="File to write.")]


@evaluate.command()
def transitions(  # noqa: PLR0917 (typer makes the options of the parameters)
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="Network that is attacked: " + _NETWORK_HELP)],
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="Network that it is compared with, in the same form.")
    ],
    dataset: Dataset = "cifar10",
    image_size: ImageSize = None,
    normalisation: Normalisation = None,
    images: Annotated[int, typer.Option(help="Number of test images on which both networks agree (N).")] = 1000,
    steps: Annotated[int, typer.Option(help="Number of gradient steps per curve (K).")] = 100,
    step_size: Annotated[float, typer.Option(help="Step size (xi), in normalised pixels.")] = 1.0,
    targets: Annotated[
        str,
        typer.Option(
            help="Target classes. label: all but the label, as in the published code. prediction: all but the prediction."
        ),
    ] = "label",
    output: Output = Path("transition-curves.html"),
    storage: Storage = None,
    data_root: DataRoot = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Measure the transition curves of any two networks.

    Prints their mean transition error and draws the curves beside the published ones (section 4 of the method).

    Example: zskt evaluate transitions wrn-16-1=student.pt wrn-16-2=teacher.pt --images 100
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.evaluate import load_network, named_images, transition_page

        check_output(output)
        if targets not in {"label", "prediction"}:
            raise ConfigError(f"--targets {targets}: allowed are label and prediction")
        place = storage_config(storage)
        dataset, splits = named_images(dataset, data_root or _default("data_root"), image_size, normalisation)
        pair = [
            load_network(reference, dataset, place, splits, out.say, normalisation, trusted_code=trust_code or ())
            for reference in (student, teacher)
        ]
        error, html = transition_page(
            pair[0],
            pair[1],
            dataset,
            splits.test,
            images=images,
            steps=steps,
            step_size=step_size,
            by_label=targets == "label",
            normalisation=normalisation,
        )
        out.say(
            f"mean transition error {error.mean:.4f}, 95 % interval {error.low:.4f} to {error.high:.4f} over {error.images} "
            "images"
        )
        output.write_text(html)
        out.say(f"Curves: {output}")


@evaluate.command()
def curves(
    sweep_id: Annotated[
        str, typer.Argument(metavar="SWEEP", help="Id of a sweep whose trials have transition_images.")
    ],
    output: Output = Path("transition-curves.html"),
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Draw the transition curves of a sweep's trials beside the published ones.

    Example: zskt evaluate curves paper-figure-4-1a2b3c4d
    """
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.evaluate import kept_curves_page

        check_output(output)
        output.write_text(kept_curves_page(storage_config(storage), sweep_id))
        standard_output().say(f"Curves: {output}")


@evaluate.command()
def noise(  # noqa: PLR0917 (typer makes the options of the parameters)
    networks: Annotated[list[str], typer.Argument(metavar="NETWORK...", help=_NETWORK_HELP)],
    dataset: Dataset = "cifar10",
    image_size: ImageSize = None,
    normalisation: Normalisation = None,
    images: Annotated[int, typer.Option(help="Number of images of uniform noise.")] = 1000,
    storage: Storage = None,
    data_root: DataRoot = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Count the classes that networks predict for uniform noise (the paper's second supplement).

    Example: zskt evaluate noise wrn-16-1=a.pt wrn-16-2=b.pt
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.evaluate import load_network, named_images, noise_counts

        dataset, splits = named_images(dataset, data_root or _default("data_root"), image_size, normalisation)
        table = Table(box=None, pad_edge=False)
        for heading in ("network", *map(str, range(splits.spec.num_classes))):
            table.add_column(heading, justify="left" if heading == "network" else "right")
        for reference in networks:
            network = load_network(
                reference,
                dataset,
                storage_config(storage),
                splits,
                out.say,
                normalisation,
                trusted_code=trust_code or (),
            )
            table.add_row(
                reference, *map(str, noise_counts(network, normalisation or dataset, splits.spec.shapes, images))
            )
        out.table(table)


@evaluate.command()
def images(
    trial: Annotated[str, typer.Argument(metavar="SWEEP/TRIAL", help="A zero-shot trial, which may be running.")],
    output: Output = Path("pseudo-images.png"),
    storage: Storage = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Draw pseudo images of the newest checkpoint of a trial.

    Prints the student's confidence and its predicted classes on a thousand pseudo images.

    Example: zskt evaluate images quickstart-1a2b3c4d/t0009
    """
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.evaluate import pseudo_images

        check_output(output)
        seen = pseudo_images(storage_config(storage), trial, output, trust_code or ())
        out = standard_output()
        out.say(
            f"after {seen.pseudo_batches} pseudo batches: student's mean confidence {seen.confidence:.3f}, its classes "
            f"{seen.class_counts}"
        )
        out.say(f"Images: {output}")


def _default(field: str) -> str:
    # Imported here, since --help needs no config and pydantic doubles its time.
    from orchestrator.config import SweepConfig

    return str(SweepConfig.model_fields[field].default)
