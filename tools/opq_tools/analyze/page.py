"""`opq-tools analyze --report FILE`: a page of one recording, one HTML file that needs nothing beside it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from opq_measure.events.limits import Limits
from opq_proto.kit.whole_file import write_whole_file
from opq_tools.analyze.figure import figure_svg
from opq_tools.analyze.measuring import Measured

MOST_EVENTS = 1000
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } p { margin: .3rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e3e6ea }
th, td { vertical-align: top } th { font-weight: 600; white-space: nowrap }
th:first-child, td:first-child, td.words, th.words { text-align: left }
figure { margin: 1rem 0 } .scrolled { overflow-x: auto } svg { max-width: 100%; height: auto }
.doubt { color: #8a4b00 }
@media print { body { margin: 0; max-width: none } h2 { break-after: avoid } tr { break-inside: avoid } }
"""


def write_page(path: Path, found: Measured, limits: Limits) -> None:
    """Writes the page; the file appears whole or not at all.

    Raises:
        FileNotWrittenError: the file cannot be written.
    """
    write_whole_file(path, [page_of(found, limits).encode()])


def page_of(found: Measured, limits: Limits) -> str:
    """The page: what was read, the picture, the figures, and every event with its reason."""
    contract = found.summary(str(found.recording.path))
    name = escape(found.recording.path.name)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title><style>{STYLE}</style></head><body><main><h1>{name}</h1>",
        f"<p>{escape(_what(contract))}</p>",
        *(f'<p class="doubt">{escape(line)}</p>' for line in _doubts(contract)),
        f'<figure role="img" aria-label="Waveform, rms, frequency and spectrum of {name}">'
        f"{figure_svg(found, limits)}</figure>",
        "<h2>Events</h2>",
        _events(contract),
        "<h2>Figures</h2>",
        _figures(contract),
        "<h2>The file</h2>",
        _facts(contract),
        "</main></body></html>\n",
    ]
    return "".join(parts)


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
    """What was assumed, contradictory or left out, a sentence each."""
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
    return _table(heads, rows, words=(5, 6, 7)) + more


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
    return _table(("", "mean", "min", "median", "max"), rows) + (
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
    return _table(("", ""), rows, words=(1,))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table; the columns `words` are text, aligned to the left."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=words' if k in words else ''}>{escape(str(each))}</{tag}>"
            for k, each in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scrolled"><table>{head}<tbody>{body}</tbody></table></div>'


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
