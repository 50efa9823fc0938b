"""The output of ``zskt plan``: a plan as a table and as sentences."""

from __future__ import annotations

from rich.table import Table

from orchestrator.costs.estimate import Plan, times
from orchestrator.costs.pricing import Span

_HEADINGS = ("what", "trials", "each", "student updates each", "hours each", "hours in all", "GPU hours", "USD")


def plan_table(plan: Plan) -> Table:
    """Return a table with a row for each kind of trial and a row of sums."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for cost in plan.costs:
        kind = cost.kind
        together = kind.trials * kind.share.expected
        table.add_row(
            kind.name,
            str(kind.trials),
            f"{kind.config.budget:,} {kind.config.unit.replace('_', ' ')}",
            f"{cost.student_updates:,}",
            hours_in_words(cost.hours),
            hours_in_words(times(cost.hours, together)),
            hours_in_words(times(cost.gpu_hours, together)),
            _usd(times(cost.usd, together)),
        )
    updates = f"{round(plan.student_updates):,}"
    sums = (hours_in_words(plan.hours), hours_in_words(plan.gpu_hours), _usd(plan.usd))
    table.add_row("in all", str(plan.trials), "", updates, "", *sums, style="bold")
    return table


def plan_sentences(plan: Plan) -> list[str]:
    """Return sentences on the plan's total cost, its sources and its uncertainty."""
    trials = f"{plan.trials} trial{'' if plan.trials == 1 else 's'}"
    lines = [f"{trials}, {_gpu_hours(plan)}, {_price(plan.usd)}."]
    lines += [*_left(plan), *_early_stopping(plan), *_sources(plan), *_machines(plan), *_budget(plan)]
    return lines + [f"Not on this machine: {reason}" for reason in plan.refusals_here]


def _left(plan: Plan) -> list[str]:
    """Return sentences on why fewer trials are planned than the sweep has."""
    lines = [f"{plan.used_up[0].upper()}{plan.used_up[1:]}."] if plan.used_up else []
    if plan.ended:
        have = "1 trial of this sweep has" if plan.ended == 1 else f"{plan.ended} trials of this sweep have"
        lines.append(f"{have} ended: the plan is for the others, and counts running trials as new.")
    return lines


def _early_stopping(plan: Plan) -> list[str]:
    share = next((cost.kind.share for cost in plan.costs if not cost.kind.share.is_whole), None)
    if share is None:
        return []
    least, most = _amount(plan.if_stopped(least=True), 0), _amount(plan.if_stopped(least=False), 1)
    return [
        f"Early stopping ({plan.sweep.scheduler.name}) is included: trials with random settings use about "
        f"{share.expected:.0%} of their budget. All stopped as early as possible: {share.least:.0%}{least}; none stopped: "
        f"100%{most}."
    ]


def _sources(plan: Plan) -> list[str]:
    lines = []
    past = [cost.past for cost in plan.costs if cost.past]
    if past:
        machines = sorted({machine for costs in past for machine in costs.machines})
        count = sum(costs.trials for costs in past)
        lines.append(
            f"Measured by {count} trial{'' if count == 1 else 's'} of earlier sweeps on {', '.join(machines)}"
            f"{_which(plan, 'earlier')}."
        )
        if plan.pricing.own:
            lines.append("For machines of your own, trials on all machines that are known by host name count.")
    if any(cost.source == "measured" for cost in plan.costs):
        what = "a GPU" if plan.sweep.gpus_per_trial else _threads(plan)
        lines.append(f"Timed on {what} of this machine, a few steps each{_which(plan, 'measured')}.")
    if any(cost.source == "counted" and cost.seconds for cost in plan.costs):
        rates = "rough rates of GPUs" if plan.sweep.gpus_per_trial else f"a rough rate of {_threads(plan)}"
        on_one = "on one whole GPU" if 0 < plan.sweep.gpus_per_trial < 1 else "on one machine"
        lines.append(
            f"Nothing was timed{_which(plan, 'counted')}: hours are estimated from counted operations and {rates}; {on_one} "
            "the upper end is 3 times the lower. --measure times a few steps here; ended trials give the best estimate."
        )
    part = plan.sweep.gpus_per_trial
    if 0 < part < 1 and any(cost.source != "earlier" for cost in plan.costs):
        lines.append(
            f"With {part:g} of a GPU a trial takes as long as with a whole one, if the others leave the GPU idle enough, or "
            f"up to {1 / part:g} times as long: hours span this range{_which(plan, 'measured', 'counted')}."
        )
    return lines


def _machines(plan: Plan) -> list[str]:
    pricing, size = plan.pricing, {"cpus": plan.sweep.resources.cpu, "gpus": plan.sweep.gpus_per_trial}
    lines = []
    slow = pricing.without_rate(**size)
    if slow and any(cost.source == "counted" for cost in plan.costs):
        lines.append(
            f"The speed of the GPUs of {', '.join(slow)} is not known, and may be that of any known GPU: give their "
            "tflops and gb_per_second under machines: in a file for --prices."
        )
    priced = [machine for machine in pricing.fitting(**size) if pricing.prices.hour(machine) is not None]
    if priced and any(cost.usd and not (cost.past and cost.past.usd) for cost in plan.costs):
        if pricing.named:
            lines.append(f"Prices are those of the cluster's {', '.join(sorted(map(str, priced)))}.")
        else:
            names = ", ".join(sorted({machine.name for machine in priced}))
            lines.append(
                f"No cluster is named (--cluster FILE): prices are those of all machines with a price: {names}."
            )
    if pricing.unsized:
        cores = (
            "" if plan.sweep.gpus_per_trial else " Hours are those of CPU cores; --gpus 1 is for machines with GPUs."
        )
        lines.append(
            f"Size and price of {', '.join(pricing.unsized)} are not known: give them under machines: in a file for "
            f"--prices, with cpus, gpus and on_demand.{cores}"
        )
    unpriced = pricing.without_price(**size)
    if unpriced:
        lines.append(
            f"The price of {', '.join(unpriced)} is not known: give it under machines: in a file for --prices."
        )
    if not pricing.fitting(**size):
        lines.append("No machine with a price can hold such a trial.")
    return lines


def _budget(plan: Plan) -> list[str]:
    """Return sentences on spending limits that may end the sweep before all trials have run."""
    budget = plan.sweep.budget
    if budget is None:
        return []
    lines = []
    known = (
        (budget.usd, plan.spent.usd or 0.0, "USD", plan.usd),
        (budget.gpu_hours, plan.spent.gpu_hours, "GPU hours", plan.gpu_hours),
    )
    for limit, spent, unit, span in known:
        if limit is not None and span is not None and limit < spent + span[1]:
            ends = "ends" if limit < spent + span[0] else "may end"
            before = f", of which {spent:.3g} are spent," if spent else ""
            lines.append(f"Its budget of {limit:g} {unit}{before} {ends} it before that.")
    return lines


def _which(plan: Plan, *sources: str) -> str:
    """Return, in brackets, the kinds of trials whose cost has one of these sources; empty if all kinds have."""
    names = [cost.kind.name for cost in plan.costs if cost.source in sources]
    return "" if len(names) == len(plan.costs) else f" ({', '.join(names)})"


def _threads(plan: Plan) -> str:
    count = max(1, int(plan.sweep.resources.cpu))
    return f"{count} CPU thread{'' if count == 1 else 's'}"


def _gpu_hours(plan: Plan) -> str:
    if plan.gpu_hours is None:
        return "an unknown number of GPU hours"
    return f"{hours_in_words(plan.gpu_hours)} GPU hours" if plan.gpu_hours[1] else "no GPU hours"


def _price(usd: Span | None) -> str:
    return f"{_usd(usd)} USD" if usd else "at an unknown price"


def _amount(plan: Plan, end: int) -> str:
    """Return the least (``end`` 0) or most (1) of a plan's cost in words: in USD if known, else in hours."""
    word = ("from", "up to")[end]
    if plan.usd:
        return f", {word} {plan.usd[end]:,.2f} USD"
    return f", {word} {_number(plan.hours[end])} hours" if plan.hours else ""


def _number(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def hours_in_words(span: Span | None) -> str:
    """Return a range of hours for a table, such as ``1.2 to 130``; ``unknown`` for None."""
    return _span(span and (_number(span[0]), _number(span[1])))


def _usd(span: Span | None) -> str:
    return _span(span and (f"{span[0]:,.2f}", f"{span[1]:,.2f}"))


def _span(ends: tuple[str, str] | None) -> str:
    if ends is None:
        return "unknown"
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
