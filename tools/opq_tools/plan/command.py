"""`opq-tools plan`: the command, and the table of docs/plan.md."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from opq_proto.command_line import json_option
from opq_tools.plan.site import Demand, PlanRow, SitePlan, plan_site

TABLE_BOXES = (1_000, 10_000, 100_000, 1_000_000)
"""The columns of the table in docs/plan.md."""
_STANDARD = Demand(1)


@click.command("plan", short_help="Machines for many Boxes: cores, descriptors, memory, disk.")
@click.option(
    "--boxes", type=click.IntRange(1, 10**9), help="Number of Boxes; needed unless --table is given."
)
@click.option(
    "--rate", type=click.FloatRange(0.001, 60), default=1.0, show_default=True,
    help="Measurements per second of each Box.",
)  # fmt: skip
@click.option(
    "--makais", type=click.IntRange(1, 10**6), help="Number of Makais.  [default: as few as possible]"
)
@click.option(
    "--core-share", type=click.FloatRange(0.01, 1.0), default=_STANDARD.core_share, show_default=True,
    help="Part of a core that the busiest process may use on average, 0 to 1.",
)  # fmt: skip
@click.option(
    "--events-per-month", type=click.FloatRange(0, 10**6), default=_STANDARD.events_per_month,
    show_default=True, help="Events per month that each Box opens.",
)  # fmt: skip
@click.option(
    "--boxes-per-event", type=click.IntRange(1, 200), default=_STANDARD.boxes_per_event, show_default=True,
    help="Boxes that are asked for samples of one dip.",
)  # fmt: skip
@click.option(
    "--boxes-per-gateway",
    type=click.IntRange(1, 64),
    default=_STANDARD.boxes_per_gateway,
    show_default=True,
    help="Boxes per gateway.",
)
@click.option(
    "--measurements-days", type=click.FloatRange(0.01, 10_000), default=_STANDARD.measurements_days,
    show_default=True, help="Days for which Measurements are kept (laha_config).",
)  # fmt: skip
@click.option(
    "--event-days", type=click.FloatRange(0.01, 10_000), default=_STANDARD.event_days,
    show_default=True, help="Days for which events and their waveforms are kept.",
)  # fmt: skip
@click.option("--table", is_flag=True, help="Print the table of docs/plan.md.")
@json_option
def command(
    boxes: int | None, rate: float, makais: int | None, table: bool, as_json: bool, **more: float
) -> None:
    """Calculate the machines for a number of Boxes, from measured figures, each with its bench command.

    One Makai is a whole system, with brokers, services, View and a store. Several Makais share no Boxes.

    \b
    Examples: opq-tools plan --boxes 10000
              opq-tools plan --boxes 1000000 --rate 0.2 --json
    """
    if table:
        click.echo(plan_table(), nl=False)
        return
    if boxes is None:
        raise click.UsageError("--boxes is missing; an example: opq-tools plan --boxes 10000")
    plan = plan_site(Demand(boxes, rate, **more), makais)  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(plan_json(plan), indent=1))
        return
    click.echo(f"{boxes} Boxes, Measurements a second of each: {rate:g}; figures are of one Makai")
    for row in plan.rows:
        click.echo(f"  {row.part:<19} {row.what:<36} {shown(row):>12}")
    for name, value in plan.settings:
        click.echo(f"  {'machine':<19} {name:<36} {value:>12}")
    for line in sources(plan.rows):
        click.echo(line)


def sources(rows: Sequence[PlanRow]) -> Iterator[str]:
    """A line for each figure, with the command that measured it."""
    found = dict.fromkeys(figure for row in rows for figure in row.figures)
    for figure in found:
        by = f"{figure.command}; {figure.measured}" if figure.command else figure.measured
        yield f"{figure.what}: {f'{figure.value:g} {figure.unit}'.strip()} ({by})"


def shown(row: PlanRow) -> str:
    """The row's value as text: two digits, or a whole number for counts."""
    if row.unit == "":
        return f"{row.value:.0f}"
    digits = 0 if row.value >= 10 else 1 if row.value >= 1 else 2
    return f"{row.value:,.{digits}f} {row.unit}".replace(",", " ")


def plan_json(plan: SitePlan) -> dict[str, object]:
    return {
        "demand": asdict(plan.demand),
        "makais": plan.makais,
        "boxes_each": plan.boxes_each,
        "each": [
            {
                "part": row.part,
                "what": row.what,
                "value": row.value,
                "unit": row.unit,
                "figures": [asdict(figure) for figure in row.figures],
            }
            for row in plan.rows
        ],
        "settings": dict(plan.settings),
    }


def plan_table() -> str:
    """The plan as a Markdown table, with a column for each number of TABLE_BOXES."""
    plans = [plan_site(Demand(boxes)) for boxes in TABLE_BOXES]
    lines = [
        f"| one Makai of | {' | '.join(f'10^{len(str(boxes)) - 1} Boxes' for boxes in TABLE_BOXES)} |",
        "| --- |" + " ---: |" * len(plans),
    ]
    for rows in zip(*(plan.rows for plan in plans), strict=True):
        lines.append(f"| {rows[0].part}: {rows[0].what} | {' | '.join(map(shown, rows))} |")
    for settings in zip(*(plan.settings for plan in plans), strict=True):
        lines.append(f"| {settings[0][0]} | {' | '.join(str(value) for _, value in settings)} |")
    return "\n".join(lines) + "\n"
