"""The readable side of `opq-tools analyze`: tables and two small plots on the terminal."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from opq_analyze.excerpt import STEADY_SHARE, excerpt
from opq_analyze.measuring import Measured
from opq_measure.aggregation.aggregate import Aggregate
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.analysis.quantities import GROUPS
from opq_measure.events.disturbance import Disturbance
from opq_measure.timebase.tracker import HIGHEST_SHARE, LOWEST_SHARE
from opq_proto.visible_text import visible
from opq_recordings.recording import Recording

_Event = TypeVar("_Event")
PLOT_HEIGHT = 7
TABLE_WIDTH = 110
"""Room for the widest row; on a narrow terminal a row wraps, but no figure is cut."""
MAX_EVENTS = 40
"""Most events of all classes together, so that the report stays a page; each table may have at least half."""
WHOLE_SHARE = 0.98
"""Share of ten seconds needed to report their frequency; two cycles at the borders may be missing."""
VERDICTS = {
    "no_interruption_in_function": "inside",
    "no_damage": "no damage",
    "prohibited": "prohibited",
    "pass": "pass",
    "fail": "fail",
    "not_applicable": "not applicable",
}


def print_report(
    found: Measured, phases: Mapping[str, Any] | None = None, no_phases: str | None = None
) -> None:
    """Prints the results for a person; `phases` is that key of the contract, `no_phases` why it is null."""
    recording, analysis = found.recording, found.analysis
    console = Console(highlight=False)
    shown_width = console.width
    console.width = max(shown_width, TABLE_WIDTH)
    console.print(
        f"[bold]{escape(visible(recording.path.name))}[/bold]: {analysis.samples:,} samples, "
        f"{_span(analysis.duration_s)} at {analysis.rate_hz:,.10g} samples/s; "
        f"{_nominal(found)}{_since(analysis.start_ns)}",
        soft_wrap=True,
    )
    contract = found.summary(str(recording.path))
    console.print(_quantities(contract))
    for line in (*_lines(contract), *_phase_lines(phases, no_phases)):
        console.print(line, soft_wrap=True)
    if missing := missing_fundamental(analysis):
        console.print(missing, soft_wrap=True)
    if console.encoding.startswith("utf"):  # without UTF-8 there is no Braille to draw with
        _print_plots(console, recording, analysis, max(30, min(shown_width, 110) - LABEL_WIDTH - 2))
    tens = [each for each in analysis.aggregates if each.kind == "10_min"]
    if any(each.coverage == 1.0 for each in tens):
        console.print()
        console.print(_ten_minutes(tens))
    console.print()
    others = [*analysis.occurrences, *(part for parts in analysis.details for part in parts)]
    if analysis.disturbances:
        count = len(analysis.disturbances)
        console.print(f"[bold]{count} event{'s' if count > 1 else ''}[/bold]")
        _print_some(console, _events, analysis.disturbances, beside=len(others))
    elif found.nominal.volts is None:
        console.print("Dips and swells are not judged: no nominal voltage is stated or near.")
    elif "events" in analysis.left_out:
        console.print("Dips and swells are not measured.")
    elif analysis.course.shape[1]:
        console.print("No dip, swell or interruption.")
    else:
        console.print("Too short to look for dips: fewer than two cycles.")
    if others:
        console.print()
        others.sort(key=lambda each: each.start_sample)
        _print_some(console, _others, others, beside=len(analysis.disturbances))


def _print_some(
    console: Console, table: Callable[[Sequence[_Event]], Table], events: Sequence[_Event], beside: int
) -> None:
    """Prints the first events and counts the others; `beside`: number of events of the other table."""
    room = MAX_EVENTS - min(beside, MAX_EVENTS // 2)
    console.print(table(events[:room]))
    if len(events) > room:
        console.print(f"... and {len(events) - room} more, in --json")


def _nominal(found: Measured) -> str:
    """The nominal values in words; what is not stated is in brackets."""
    nominal = found.nominal
    volts = "unknown V" if nominal.volts is None else f"{nominal.volts:g} V"
    shown = [
        f"({text}, {source})" if source != "stated" else text
        for text, source in ((volts, nominal.volts_from), (f"{nominal.hz:g} Hz", nominal.hz_from))
    ]
    return f"nominal {shown[0]}, {shown[1]}"


def missing_fundamental(analysis: SignalAnalysis) -> str | None:
    """Why there is no frequency and no harmonic: no window has a known fundamental; None where one has."""
    if not len(analysis.window_hz) or np.isfinite(analysis.window_hz).any():
        return None
    nominal_hz = analysis.nominal_hz
    low_hz, high_hz = LOWEST_SHARE * nominal_hz, HIGHEST_SHARE * nominal_hz
    return (
        f"no window has a known fundamental: searched from {low_hz:g} to {high_hz:g} Hz, "
        f"{LOWEST_SHARE:g} to {HIGHEST_SHARE:g} of the nominal {nominal_hz:g} Hz; is --nominal-hz right?"
    )


def _lines(contract: Mapping[str, Any]) -> list[str]:
    """The single figures, in words."""
    flagged = contract["windows"]["flagged"]
    lines = []
    if contract["harmonics_percent"] is not None:
        lines += [
            f"largest harmonics, % of the fundamental: {_largest(contract['harmonics_percent'])}",
            f"DC {_number(contract['offset_v'], '{:+.3f}') or '-'} V, "
            f"noise {_number(contract['noise_v'], '{:.3g}') or '-'} V rms",
        ]
    if contract["flicker"] is not None:
        lines.append(f"flicker: {_flicker(contract['flicker'], contract['start_ns'] is not None)}")
    lines += [
        f"{', '.join(names)} not measured: {reason}"
        for reason, names in _by_reason(contract["left_out"]).items()
    ]
    tens = [
        each["frequency_hz"] for each in contract["frequency_10_s"] or () if each["coverage"] > WHOLE_SHARE
    ]
    if any(each is not None for each in tens):
        known = [each for each in tens if each is not None]
        lines.append(f"frequency over 10 s: {min(known):.4f} to {max(known):.4f} Hz, {len(known)} values")
    if flagged:
        lines.append(
            f"{flagged} of {contract['windows']['count']} windows of 10/12 cycles are flagged, touched by a "
            "dip, swell or interruption: THD and harmonics are without them"
        )
    for gap in contract["gaps"][:MAX_EVENTS]:
        lines.append(f"{gap['samples']:,} samples are missing from sample {gap['first_sample']:,} on")
    return lines


def _phase_lines(phases: Mapping[str, Any] | None, no_phases: str | None) -> list[str]:
    """Three phases in words: rms and angle of each, unbalance, and the events of all together."""
    if phases is None:
        return [f"not measured as three phases: {escape(no_phases)}"] if no_phases else []
    rms_v, angles = phases["rms_v"], phases["angles_degrees"] or [None] * 3
    each = [
        f"{escape(name)} {_number(rms, '{:.2f}') or '-'} V{_number(angle, ' at {:.1f}°')}"
        for name, rms, angle in zip(phases["channels"], rms_v, angles, strict=True)
    ]
    u2, u0 = (_number(phases[name]["mean"], "{:.2f}") or "-" for name in ("u2_percent", "u0_percent"))
    return [
        f"three phases: {', '.join(each)}; unbalance u2 {u2} %, u0 {u0} %",
        *(
            f"together: {event['class']} from {event['start_s']:.4f} s, {event['residual_percent']:.2f} % "
            f"in {escape(event['channel'])}, seen by {escape(', '.join(event['channels']))}"
            for event in phases["events"][:MAX_EVENTS]
        ),
    ]


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """The groups that were not measured, by the reason; lists are in --json only."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        if name in GROUPS:
            found.setdefault(reason, []).append(name)
    return found


def _ten_minutes(tens: Sequence[Aggregate]) -> Table:
    table = Table(
        title="ten minutes, class A", title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for name in ("UTC" if tens[0].utc else "from, s", "rms, V", "min", "max", "Hz", "THD, %", "seen, %", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for each in tens:
        values = each.values()
        rms, hz, thd = (values.get(name) for name in ("rms_v", "frequency_hz", "thd_percent"))
        assert rms is not None and hz is not None
        start = (
            time.strftime("%H:%M", time.gmtime(each.start_ns / 1e9))
            if each.utc
            else f"{each.start_ns / 1e9:.0f}"
        )
        table.add_row(
            start,
            *(f"{value:.3f}" for value in (rms.mean, rms.min, rms.max)),
            f"{hz.mean:.4f}",
            "" if thd is None else f"{thd.mean:.2f}",
            f"{100 * each.coverage:.0f}",
            "flagged" if each.flagged else "",
        )
    return table


def _others(occurrences: Sequence[Occurrence]) -> Table:
    """Table of the events that are not rms disturbances."""
    table = Table(box=None, pad_edge=False)
    for name in ("also", "start, s", "ms", "because"):
        table.add_column(name, justify="left" if name in ("also", "because") else "right")
    for each in occurrences:
        table.add_row(
            each.kind.replace("_", " "),
            f"{each.start_s:.4f}",
            f"{'≥ ' if each.open else ''}{1000 * each.duration_s:.1f}",
            each.because,
        )
    return table


def _span(seconds: float) -> str:
    """Formats a duration: 3.2 s, 12 min 5 s, 1 h 0 min."""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
        if found is None:
            continue
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


def _events(disturbances: Sequence[Disturbance]) -> Table:
    table = Table(box=None, pad_edge=False)
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


def _print_plots(console: Console, recording: Recording, analysis: SignalAnalysis, width: int) -> None:
    if analysis.course.shape[1] >= 2:
        start_s, end_s = (float(analysis.course[0, k]) / analysis.rate_hz for k in (0, -1))
        extremes = analysis.course[1:].T.ravel()
        least_v = 2 * STEADY_SHARE * analysis.nominal_v
        _print_plot(
            console, "rms of each cycle, renewed every half cycle", extremes, width, start_s, end_s, least_v
        )
    first, last = excerpt(analysis)
    volts = np.nan_to_num(recording.volts(first, last))
    _print_plot(console, "waveform", volts, width, first / analysis.rate_hz, last / analysis.rate_hz)


def _print_plot(
    console: Console,
    title: str,
    values: np.ndarray[Any, np.dtype[np.float64]],
    width: int,
    start_s: float,
    end_s: float,
    least_height: float = 0.0,
) -> None:
    console.print(Text(f"{title}, V", style="bold"))
    for line in plot_lines(
        values, width, PLOT_HEIGHT, "V", f"{start_s:.3f} s", f"{end_s:.3f} s", least_height
    ):
        console.print(Text(line), no_wrap=True, crop=True)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _since(start_ns: int | None) -> str:
    """The start as text, to the millisecond; --json has all digits."""
    if start_ns is None:
        return ""
    seconds, rest_ns = divmod(start_ns, 10**9)
    return f"; from {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{rest_ns // 10**6:03d} UTC"


def _flicker(found: Mapping[str, float | None], utc: bool) -> str:
    if found["pinst_max"] is None:
        return "too short for it (5 s; Pst 10 min)"
    ten = "needs ten whole minutes of UTC" if utc else "needs 10 min"
    pst = ten if found["pst"] is None else f"{found['pst']:.2f}"
    return f"Pinst max {found['pinst_max']:.3f}, Pst {pst}"


def _ordinal(order: int) -> str:
    ending = "th" if 10 < order % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(order % 10, "th")
    return f"{order}{ending}"


DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of the dot in row, column of a Braille cell; U+2800 and up."""
LABEL_WIDTH = 8


def plot_lines(
    values: NDArray[np.float64],
    width: int,
    height: int,
    unit: str,
    x_from: str,
    x_to: str,
    least_height: float = 0.0,
) -> list[str]:
    """Plots evenly spaced values as text lines; each column shows the minimum to maximum of its share.

    Args:
        values: (n,) finite, n >= 1.
        width, height: size of the dot area in characters; labels take 9 more columns and one more line.
        least_height: smallest height of the axis, so that noise is not drawn large.
    """
    low, high = float(values.min()), float(values.max())
    if high - low < least_height:
        low, high = (low + high - least_height) / 2, (low + high + least_height) / 2
    margin = (high - low) * 0.02 or abs(high) * 0.01 or 1.0
    low, high = low - margin, high + margin
    rows, columns = 4 * height, 2 * width
    at = np.linspace(0, len(values), columns + 1).astype(int)
    canvas = np.zeros((rows, columns), dtype=bool)
    before: tuple[int, int] | None = None
    for column in range(columns):
        part = values[at[column] : max(at[column] + 1, at[column + 1])]
        top, bottom = (
            round((high - value) / (high - low) * (rows - 1)) for value in (part.max(), part.min())
        )
        shown = (top, bottom)
        if before is not None:  # no gaps between neighbouring columns
            top, bottom = min(top, before[1]), max(bottom, before[0])
        canvas[top : bottom + 1, column] = True
        before = shown
    cells = (canvas.reshape(height, 4, width, 2) * DOTS[None, :, None, :]).sum(axis=(1, 3))
    text = ["".join(chr(0x2800 + int(cell)) for cell in row) for row in cells]
    labels = [""] * height
    labels[0], labels[-1] = f"{high:.4g}", f"{low:.4g}"
    labels[height // 2] = unit
    axis = x_from + x_to.rjust(max(0, width - len(x_from)))
    return [f"{label:>{LABEL_WIDTH}} {row}" for label, row in zip(labels, text, strict=True)] + [
        " " * (LABEL_WIDTH + 1) + axis
    ]
