"""The readable side of `opq-tools analyze`: tables and two small plots on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from opq_measure.analysis import Analysis
from opq_measure.disturbances import Disturbance
from opq_tools import terminal_plot
from opq_tools.recordings import Recording

PLOT_HEIGHT = 7
TABLE_WIDTH = 110
"""Room for the widest row: on a narrow terminal it goes on in the next line, but no figure is cut."""
MOST_CYCLES_BEFORE = 4.0
VERDICTS = {
    "no_interruption_in_function": "inside",
    "no_damage": "no damage",
    "prohibited": "prohibited",
    "pass": "pass",
    "fail": "fail",
    "not_applicable": "not applicable",
}


def print_report(recording: Recording, analysis: Analysis, contract: Mapping[str, Any]) -> None:
    """Print what was found, for a person."""
    console = Console(highlight=False)
    shown_width = console.width
    console.width = max(shown_width, TABLE_WIDTH)
    seconds = analysis.samples / analysis.rate_hz
    console.print(
        f"[bold]{escape(recording.path.name)}[/bold]: {analysis.samples:,} samples, {seconds:.4g} s at "
        f"{analysis.rate_hz:,.10g} samples/s; nominal {analysis.nominal_v:g} V, {analysis.nominal_hz:g} Hz",
        soft_wrap=True,
    )
    console.print(_quantities(contract))
    largest = _largest(contract["harmonics_percent"])
    console.print(f"largest harmonics, % of the fundamental: {largest}", soft_wrap=True)
    console.print(f"flicker: {_flicker(contract['flicker'])}", soft_wrap=True)
    if console.encoding.startswith("utf"):  # else there is no Braille to draw with
        _print_plots(
            console, recording, analysis, max(30, min(shown_width, 110) - terminal_plot.LABEL_WIDTH - 2)
        )
    console.print()
    if analysis.disturbances:
        console.print(_events(analysis.disturbances))
    elif len(analysis.half_rms_v):
        console.print("No dip, swell or interruption.")
    else:
        console.print("Too short to look for dips: fewer than two cycles.")


def _quantities(contract: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "mean", "min", "median", "max", "std"):
        table.add_column(name, justify="left" if not name else "right")
    for title, key, form in (
        ("rms, V, per cycle", "rms_v", "{:.3f}"),
        ("frequency, Hz, per 10/12 cycles", "frequency_hz", "{:.4f}"),
        ("THD, %, orders 2 to 50", "thd_percent", "{:.2f}"),
    ):
        found = contract[key]
        table.add_row(
            title, *(_number(found.get(name), form) for name in ("mean", "min", "median", "max", "std"))
        )
    return table


def _largest(harmonics: Sequence[float | None]) -> str:
    """The five strongest harmonics in words."""
    found = [(value, order) for order, value in enumerate(harmonics, 1) if order > 1 and value is not None]
    return (
        ", ".join(f"{_ordinal(order)} {value:.2f}" for value, order in sorted(found, reverse=True)[:5]) or "-"
    )


def _events(disturbances: tuple[Disturbance, ...]) -> Table:
    table = Table(
        title=f"{len(disturbances)} event{'s' if len(disturbances) > 1 else ''}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("event", "start, s", "ms", "cycles", "rms, V", "% nom.", "ITIC", "SEMI F47"):
        words = name in ("event", "ITIC", "SEMI F47")
        table.add_column(name, no_wrap=True, justify="left" if words else "right")
    for each in disturbances:
        still = "≥ " if each.open or each.open_at_start else ""
        table.add_row(
            each.ieee1159 or each.kind,
            f"{'≤ ' if each.open_at_start else ''}{each.start_s:.4f}",
            f"{still}{1000 * each.duration_s:.1f}",
            f"{still}{each.duration_cycles:.2f}",
            f"{each.residual_v:.2f}",
            f"{each.residual_percent:.2f}",
            VERDICTS[each.itic],
            VERDICTS[each.semi_f47],
        )
    return table


def _print_plots(console: Console, recording: Recording, analysis: Analysis, width: int) -> None:
    if len(analysis.half_rms_v) >= 2:
        start_s, end_s = (analysis.half_edges[k] / analysis.rate_hz for k in (0, -1))
        _print_plot(
            console, "rms of each cycle, renewed every half cycle", analysis.half_rms_v, width, start_s, end_s
        )
    first, last = excerpt(analysis)
    volts = np.asarray(recording.samples[first:last], dtype=np.float64) * recording.v_per_lsb
    _print_plot(console, "waveform", volts, width, first / analysis.rate_hz, last / analysis.rate_hz)


def _print_plot(
    console: Console,
    title: str,
    values: np.ndarray[Any, np.dtype[np.float64]],
    width: int,
    start_s: float,
    end_s: float,
) -> None:
    console.print(Text(f"{title}, V", style="bold"))
    for line in terminal_plot.lines(values, width, PLOT_HEIGHT, "V", f"{start_s:.3f} s", f"{end_s:.3f} s"):
        console.print(Text(line), no_wrap=True, crop=True)


def excerpt(analysis: Analysis, cycles: float = 4.0) -> tuple[int, int]:
    """Samples worth drawing: from shortly before the start of the worst event, else the first cycles."""
    period = analysis.rate_hz / analysis.nominal_hz
    start = 0.0
    if analysis.disturbances:
        start = worst(analysis.disturbances).start_sample - min(cycles / 2, MOST_CYCLES_BEFORE) * period
    first = int(min(max(0.0, start), max(0.0, analysis.samples - cycles * period)))
    return first, min(analysis.samples, first + max(2, round(cycles * period)))


def worst(disturbances: Sequence[Disturbance]) -> Disturbance:
    """The one furthest from nominal."""
    return max(disturbances, key=lambda each: abs(each.residual_percent - 100))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _flicker(found: Mapping[str, float | None]) -> str:
    if found["pinst_max"] is None:
        return "too short for it (5 s; Pst 10 min)"
    pst = "needs 10 min" if found["pst"] is None else f"{found['pst']:.2f}"
    return f"Pinst max {found['pinst_max']:.3f}, Pst {pst}"


def _ordinal(order: int) -> str:
    ending = "th" if 10 < order % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(order % 10, "th")
    return f"{order}{ending}"
