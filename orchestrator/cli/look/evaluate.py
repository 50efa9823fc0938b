"""``zskt evaluate``: measurements on trained networks, outside of a sweep."""

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
    help="Measure trained networks: curves, noise, pseudo images.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_NETWORK_HELP = "NETWORK=FILE of published weights, a path or s3://..., or SWEEP/TRIAL of a student on the storage."
Dataset = Annotated[
    str, typer.Option(help="Data set of the networks, or the address of its Parquet file, or of your own images.")
]
Normalisation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Normalisation that they expect: a data set's, half, unit, imagenet, MEAN:STD. Default: the data set's.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Height and width of the images, 28 or 48x40. Default: the data set's."),
]
Output = Annotated[Path, typer.Option(metavar="FILE", help="Where the picture goes.")]


@evaluate.command()
def transitions(  # noqa: PLR0917 (typer makes the options of the parameters)
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="The network that is attacked: " + _NETWORK_HELP)],
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="The network beside it, likewise.")],
    dataset: Dataset = "cifar10",
    image_size: ImageSize = None,
    normalisation: Normalisation = None,
    images: Annotated[int, typer.Option(help="Test images on which both agree (N).")] = 1000,
    steps: Annotated[int, typer.Option(help="Gradient steps of each curve (K).")] = 100,
    step_size: Annotated[float, typer.Option(help="Length of a step (xi), in normalised pixels.")] = 1.0,
    targets: Annotated[
        str, typer.Option(help="label: all classes but the label, as coded; prediction: all but the prediction.")
    ] = "label",
    output: Output = Path("transition-curves.html"),
    storage: Storage = None,
    data_root: DataRoot = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Measure transition curves between any two networks. Their mean transition error, too, with the published curves
    (section 4).

    Example: zskt evaluate transitions wrn-16-1=student.pt wrn-16-2=teacher.pt --images 100
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # What is slow to load waits until the arguments are known to be right.
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
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep whose trials have transition_images.")],
    output: Output = Path("transition-curves.html"),
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Draw the transition curves that a sweep has kept. The published ones are beside them.

    Example: zskt evaluate curves paper-figure-4-1a2b3c4d
    """
    with errors_as_messages(verbose):
        # What is slow to load waits until the arguments are known to be right.
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
    images: Annotated[int, typer.Option(help="Images of uniform noise.")] = 1000,
    storage: Storage = None,
    data_root: DataRoot = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Count which classes networks see in uniform noise. It is the paper's second supplement.

    Example: zskt evaluate noise wrn-16-1=a.pt wrn-16-2=b.pt
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # What is slow to load waits until the arguments are known to be right.
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
    trial: Annotated[str, typer.Argument(metavar="SWEEP/TRIAL", help="A zero-shot trial, running or ended.")],
    output: Output = Path("pseudo-images.png"),
    storage: Storage = None,
    trust_code: TrustCode = None,
    verbose: Verbose = False,
) -> None:
    """Draw pseudo images of a trial's newest checkpoint. Says what its student makes of a thousand of them.

    Example: zskt evaluate images quickstart-1a2b3c4d/t0009
    """
    with errors_as_messages(verbose):
        # What is slow to load waits until the arguments are known to be right.
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
    # pydantic and the config take as long to load as all else that --help needs.
    from orchestrator.config import SweepConfig

    return str(SweepConfig.model_fields[field].default)
