"""The page of one recording: the facts of its file, its charts, its figures, and every event with its reason.

`page_of` is one HTML file that needs nothing beside it, `body_of` the same as a part of another page. Text of
the file is escaped; nothing in it is a link, a script or a style.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from opq_analyze.charts import chart_html, charts_of
from opq_analyze.classifying import LONGEST_SAMPLES, classified_again
from opq_analyze.measuring import Measured
from opq_analyze.phases import Phases
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.events.limits import Limits
from opq_proto.errors import RecordingError

MOST_EVENTS = 1000
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } p { margin: .3rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e3e6ea }
th, td { vertical-align: top } th { font-weight: 600; white-space: nowrap }
th:first-child, td:first-child, td.words, th.words { text-align: left }
td.words:last-child { min-width: 9rem }
.table-frame { overflow-x: auto } .doubtful { color: #8a4b00 }
figure { margin: 1rem 0 } figure svg { display: block; width: 100% }
.history-plot { height: 15rem; overflow: hidden; border-bottom: 1px solid #888 }
.history-axis { height: 1.3rem } .history-plot svg { height: 100% }
.trace { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-linejoin: round }
.trace-0 { stroke: #1f4e79 } .trace-1 { stroke: #d9822b } .trace-2 { stroke: #7b3294 }
.bar-0 { fill: #1f4e79 } .bar-1 { fill: #d9822b } .incident-span { fill: #fbe7cf }
.key-0 { color: #1f4e79 } .key-1 { color: #b2611a } .key-2 { color: #7b3294 }
.grid { stroke: #e3e6ea } .nominal { stroke: #888; stroke-dasharray: 2 3 }
figure text { font-size: 12px; fill: #555 } .level { paint-order: stroke; stroke: #fff; stroke-width: 4px }
@media print { body { margin: 0; max-width: none } h2 { break-after: avoid } tr { break-inside: avoid } }
"""


def page_of(found: Measured, limits: Limits, phases: Phases | None = None) -> str:
    """The page as one HTML file."""
    name = escape(found.recording.path.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body><main><h1>{name}</h1>"
        f"{body_of(found, limits, phases)}</main></body></html>\n"
    )


def body_of(
    found: Measured, limits: Limits, phases: Phases | None = None, no_phases: str | None = None
) -> str:
    """The page below its heading, as HTML; `no_phases` says why three voltages are not three phases."""
    contract = found.summary(str(found.recording.path))
    parts = [
        f"<p>{escape(_what(contract))}</p>",
        _class(found, limits),
        *(f'<p class="doubtful">{escape(line)}</p>' for line in _doubts(contract)),
        *map(chart_html, charts_of(found, limits, phases)),
        "<h2>Events</h2>",
        _events(contract),
        "" if phases is None else f"<h2>Three phases</h2>{_phases(phases.entry())}",
        f"<p>Not measured as three phases: {escape(no_phases)}</p>" if no_phases else "",
        "<h2>Figures</h2>",
        _figures(contract),
        "<h2>The file</h2>",
        _facts(contract),
    ]
    return "".join(parts)


def _class(found: Measured, limits: Limits) -> str:
    """The class of the whole with the reasons of its parts; empty where not all was measured for it."""
    if not found.measured_all or found.recording.samples > LONGEST_SAMPLES:
        return ""
    try:
        _, made = classified_again(found, ClassLimits(rms=limits))
    except RecordingError as error:
        return f"<p>Not classified: {escape(str(error))}</p>"
    severity = "" if made.severity is None else f", severity {made.severity:.1f} of 10"
    reasons = [(each.kind, f"{each.confidence:.3f}", each.because) for each in made.parts]
    return (
        f"<p>Class <strong>{escape(made.kind)}</strong>, confidence {made.confidence:.3f}{severity}"
        f"{f': {escape(made.because)}' if made.because and not made.parts else ''}</p>"
        + (
            _table("Parts of the class", ("part", "confidence", "because"), reasons, words=(2,))
            if reasons
            else ""
        )
    )


def _phases(phases: Mapping[str, Any]) -> str:
    """Three phases: rms and angle of each, unbalance, and the events of all together."""
    angles = phases["angles_degrees"] or [None] * 3
    rows = [
        (name, _number(rms_v, ".3f"), _number(angle, ".2f"))
        for name, rms_v, angle in zip(phases["channels"], phases["rms_v"], angles, strict=True)
    ]
    unbalance = [
        (words, *(_number(phases[key][each], ".3f") for each in ("mean", "max")))
        for words, key in (("negative sequence u2, %", "u2_percent"), ("zero sequence u0, %", "u0_percent"))
    ]
    events = [
        (
            each["class"],
            f"{each['start_s']:.4f}",
            "" if each["end_s"] is None else f"{1000 * (each['end_s'] - each['start_s']):.1f}",
            f"{each['residual_percent']:.2f}",
            each["channel"],
            ", ".join(each["channels"]),
        )
        for each in phases["events"][:MOST_EVENTS]
    ]
    rotation = f"<p>Rotation {escape(str(phases['rotation']))}</p>" if phases["rotation"] else ""
    heads = ("together", "start, s", "ms", "% nominal", "deepest in", "seen by")
    return (
        _table("Phases", ("phase", "rms, V", "angle, °"), rows)
        + rotation
        + _table("Unbalance", ("unbalance", "mean", "most"), unbalance)
        + (
            _table("Events of the three phases", heads, events, words=(4, 5))
            if events
            else "<p>No event of the three together.</p>"
        )
    )


def _what(contract: Mapping[str, Any]) -> str:
    start_ns = contract["start_ns"]
    since = (
        "" if start_ns is None else time.strftime(", from %Y-%m-%d %H:%M:%S UTC", time.gmtime(start_ns / 1e9))
    )
    volts = contract["nominal_volts"]
    nominal = "an unknown nominal voltage" if volts is None else f"nominal {volts:g} V"
    return (
        f"{contract['format']}, channel {contract['channel']}: {contract['duration_s']:,.6g} s at "
        f"{contract['rate_hz']:,.10g} samples/s{since}; {nominal}, {contract['nominal_hz']:g} Hz"
    )


def _doubts(contract: Mapping[str, Any]) -> Iterable[str]:
    """Assumptions, contradictions and omissions, a sentence each."""
    for key, value in contract["assumed"].items():
        yield f"Not stated, assumed: {key} = {'unknown' if value is None else value}"
    yield from contract["problems"]
    for fault in contract["faults"]:
        yield f"{fault['kind']}, {fault['start_s']:.4f} to {fault['end_s']:.4f} s: {fault['because']}"
    for gap in contract["gaps"][:20]:
        yield f"{gap['samples']:,} samples are missing from {gap['start_s']:.6g} s on ({gap['reason']})"
    if len(contract["gaps"]) > 20:
        yield f"and {len(contract['gaps']) - 20} more gaps"
    for name, reason in contract["left_out"].items():
        if name not in ("cycles", "half_cycles"):
            yield f"{name} not measured: {reason}"


def _events(contract: Mapping[str, Any]) -> str:
    events = contract["events"]
    if events is None:
        return "<p>Events were not measured.</p>"
    if not events:
        judged = "" if contract["nominal_volts"] is not None else " Dips and swells are not judged."
        return f"<p>No event.{judged}</p>"
    rows = [
        (
            each["ieee1159"] or each["class"].replace("_", " "),
            f"{each['start_s']:.4f}",
            "" if each["end_s"] is None else f"{1000 * (each['end_s'] - each['start_s']):.1f}",
            _number(each.get("residual_v"), ".2f"),
            _number(each.get("residual_percent"), ".2f"),
            each.get("itic", "").replace("_", " ") if each.get("itic") else "",
            each.get("semi_f47", "").replace("_", " ") if each.get("semi_f47") else "",
            each.get("because") or "",
        )
        for each in events[:MOST_EVENTS]
    ]
    more = f"<p>and {len(events) - MOST_EVENTS} more</p>" if len(events) > MOST_EVENTS else ""
    heads = ("event", "start, s", "ms", "V", "% nominal", "ITIC", "SEMI F47", "because")
    return _table("Events", heads, rows, words=(5, 6, 7)) + more


def _figures(contract: Mapping[str, Any]) -> str:
    rows = []
    for title, key, form in (
        ("rms of a cycle, V", "rms_v", ".3f"),
        ("frequency of 10/12 cycles, Hz", "frequency_hz", ".4f"),
        ("THD, %", "thd_percent", ".2f"),
    ):
        found = contract[key] or {}
        rows.append((title, *(_number(found.get(name), form) for name in ("mean", "min", "median", "max"))))
    flicker = contract["flicker"] or {}
    rows += [
        ("direct voltage, V", _number(contract["offset_v"], "+.3f"), "", "", ""),
        ("noise, V rms", _number(contract["noise_v"], ".3g"), "", "", ""),
        ("flicker, Pinst", "", "", "", _number(flicker.get("pinst_max"), ".3f")),
        ("flicker, Pst of ten minutes", "", "", "", _number(flicker.get("pst"), ".2f")),
    ]
    windows = contract["windows"]
    return _table("Figures", ("quantity", "mean", "min", "median", "max"), rows) + (
        f"<p>{windows['count']} windows of 10/12 cycles, {windows['flagged']} flagged by a dip, swell or "
        "interruption.</p>"
    )


def _facts(contract: Mapping[str, Any]) -> str:
    names = [f"{each['name']} ({each['unit'] or 'no unit'})" for each in contract["channels"][:50]]
    nominal = contract["nominal"]
    rows = [
        ("file", contract["file"]),
        ("channels", ", ".join(names)),
        ("samples", f"{contract['samples']:,}"),
        ("nominal voltage", f"{nominal['volts_from']}, sureness {nominal['volts_sureness']:.2f}"),
        ("nominal frequency", f"{nominal['hz_from']}, sureness {nominal['hz_sureness']:.2f}"),
    ]
    return _table("The file", (), rows, words=(1,))


def _table(label: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table that scrolls on a phone; the columns `words` are text, aligned to the left."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=words' if k in words else ''}>{escape(str(each))}</{tag}>"
            for k, each in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="table-frame" role="region" aria-label="{escape(label)}" tabindex="0">'
        f"<table>{head}<tbody>{body}</tbody></table></div>"
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
