"""``zskt plan``: estimate the cost of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Verbose, complete_preset, errors_as_messages
from orchestrator.cli.sweep_options import CaseOptions, SweepOptions, with_options
from orchestrator.output import standard_output


@with_options
def plan(
    *,
    preset_or_file: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_FILE", help="Name of a preset, or a YAML file.", autocompletion=complete_preset
        ),
    ],
    options: SweepOptions,
    cases: CaseOptions,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Cluster description, such as cluster.yaml, whose machines set the price. Default: the cluster whose head "
            "this is, else all machines with a price.",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a few steps of each kind of trial on this machine; takes minutes.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Estimate the cost of a sweep: trials, GPU hours and USD.

    The estimate comes from earlier sweeps on the same storage, else from counted operations.

    Example: zskt plan paper-table-1 --scale 0.01 --cluster cluster.yaml
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.plan_page import plan_sentences, plan_table
        from orchestrator.costs.estimate import make_plan
        from orchestrator.costs.pricing import find_pricing
        from orchestrator.run.checks import check_countable

        config, sweep_store = options.checked(options.load(preset_or_file, cases.flags))
        pricing = find_pricing(config, cluster)
        found = make_plan(config, past=sweep_store, pricing=pricing, measure=out.say if measure else None)
        check_countable(found.sweep, pricing.machines if pricing.named else (), pricing.prices)
        out.table(plan_table(found))
        for line in plan_sentences(found):
            out.say(line)
