"""The values of the history part of a Box's page, over any span of its past, and its time picker."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import HTTPException, Query
from markupsafe import Markup

from opq_cloud.view.pages.drawing import history_chart as drawing
from opq_cloud.view.pages.drawing.box_history import BoxHistory, HistoryRow, first_span, read_history
from opq_cloud.view.pages.drawing.missing_words import missing_parts
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import DEFAULT, PRESET_WORDS, TimeSpan, input_words, preset, read_span
from opq_cloud.view.web.words import THIN, number, utc, utc_attribute
from opq_proto.measurement.fields import DRAWN, titled
from opq_proto.messages import Incident

ROWS_DRAWN = 750
"""About two per three pixels of a wide screen; a row keeps its lowest and highest value."""
ROWS_LISTED = 100
BOXES_CHECKED = 6
INCIDENTS_LISTED = 20
From = Annotated[str, Query(alias="from", max_length=40)]
To = Annotated[str, Query(alias="to", max_length=40)]
_UNKNOWN = (None, None, None)


def query_span(context: VisitorContext, start: str, end: str) -> TimeSpan:
    """The span of an address. Raises HTTPException 400 with what was wrong."""
    try:
        return read_span(start, end, context.now_ns() // 1_000_000)
    except ValueError as error:
        raise HTTPException(400, f"The address has a span that cannot be used: {error}.") from None


def chosen_span(context: VisitorContext, box_ids: Sequence[str], start: str, end: str) -> TimeSpan:
    """The span of the address; where it gives none, the longest `first_span` of the first Boxes.

    Raises HTTPException 400 like `query_span`.
    """
    if start or end or not box_ids:
        return query_span(context, start or DEFAULT[0], end or DEFAULT[1])
    now_ms = context.now_ns() // 1_000_000
    spans = (first_span(context.store, box_id, now_ms) for box_id in box_ids[:BOXES_CHECKED])
    return max(spans, key=lambda span: span.length_ms)


def history_values(
    context: VisitorContext, record: ShownBox, span: TimeSpan, listed: Sequence[Incident] = ()
) -> dict[str, object]:
    """Values for `history.html`; `listed` are incidents that the page names elsewhere."""
    now_ms = context.now_ns() // 1_000_000
    since_ms = context.first_heard_ms(record.box_id)
    history = read_history(context.store, record.box_id, span, now_ms, ROWS_DRAWN, since_ms)
    shown = [each.incident_id for each in history.incidents[:INCIDENTS_LISTED]]
    incidents = context.store.incidents_of(shown)
    in_percent = context.visitor.voltage_unit == "percent"
    factor = 100.0 / record.nominal_v if in_percent else 1.0
    drawn = scaled(history, factor)
    nominal = {"rms_v": record.nominal_v * factor, "f_hz": record.nominal_hz}
    voltage_unit = "%" if in_percent else "V"
    charts = [
        {
            "chart": drawing.history_chart(drawn, each.name, nominal.get(each.name)),
            "name": each.name,
            "words": each.words,
            "title": titled(each.words, voltage_unit) if each.name == "rms_v" else each.title,
            "unit": voltage_unit if each.name == "rms_v" else each.unit,
            "digits": each.digits,
            "series": each.series,
            "percentiles": drawn.percentiles.get(each.name),
            "factor": factor if each.name == "rms_v" else 1.0,
        }
        for each in DRAWN
    ]
    axis = drawing.ChartTimeAxis(span.start_ms, span.end_ms)
    marks = [axis.mark(each.start_ns / 1e6, each.kind) for each in history.incidents]
    return {
        "history": history,
        "history_box": record.box_id,
        "history_charts": [each for each in charts if each["chart"] is not None],
        "history_gaps": axis.gaps(history.gaps),
        "history_missing": missing_parts(context.store, record.box_id, history),
        "not_installed": axis.gaps(
            [(span.start_ms, history.first_heard_ms)] if history.first_heard_ms else ()
        ),
        "history_flagged": any(row.flagged for row in history.rows),
        "history_coverage": axis.coverage(
            ((row.start_ms, row.coverage) for row in history.rows), history.step_ms
        ),
        "history_marks": [mark for mark in marks if mark is not None],
        "history_ticks": drawing.time_ticks(span.start_ms, span.end_ms),
        "history_rows": len(history.rows[-ROWS_LISTED:]),
        "history_lines": row_lines(history.rows[: -ROWS_LISTED - 1 : -1]),
        "history_incidents": incidents,
        "step_words": step_words(history.step_ms),
        "coverage_words": number(history.coverage * 100, 1, "%"),
        "summary": _summary(drawn, voltage_unit),
        "voltage_unit": voltage_unit,
        "beside_voltage": DRAWN[1:],
        "voltage_factor": factor,
        "presets": [(preset(name), words, span.is_preset(name)) for name, words in PRESET_WORDS.items()],
        "steps": (
            ("back", "Back", span.shifted(-0.5, now_ms).query),
            ("forward", "Forward", span.shifted(0.5, now_ms).query),
            ("out", "Zoom out", span.zoomed_out(now_ms).query),
        ),
        "from_input": input_words(span.start_ms),
        "to_input": input_words(span.end_ms),
        "names": context.names([*incidents, *listed]),
    }


def scaled(history: BoxHistory, factor: float) -> BoxHistory:
    """The history with its voltage times `factor`."""
    if factor == 1.0:
        return history

    def times(three: tuple[float, float, float]) -> tuple[float, float, float]:
        return three[0] * factor, three[1] * factor, three[2] * factor

    rows = (
        replace(row, values=row.values | {"rms_v": times(row.values["rms_v"])})
        if "rms_v" in row.values
        else row
        for row in history.rows
    )
    percentiles = dict(history.percentiles)
    if "rms_v" in percentiles:
        percentiles["rms_v"] = times(percentiles["rms_v"])
    return replace(history, rows=tuple(rows), percentiles=percentiles)


def row_lines(rows: Iterable[HistoryRow]) -> Markup:
    """Rows of the table; they contain only numbers, so they are made without a template, for speed."""
    found = []
    for row in rows:
        known, t_ns = row.values, row.start_ms * 1_000_000
        volts = known.get("rms_v", _UNKNOWN)
        cells = (
            *(number(value, 2) for value in volts),
            *(number(known.get(each.name, _UNKNOWN)[1], each.digits) for each in DRAWN[1:]),
            number(row.coverage * 100, 1),
        )
        head = f'<tr><th scope="row"><time datetime="{utc_attribute(t_ns)}">{utc(t_ns, 0)}</time></th>'
        found.append(head + "".join(f'<td class="num">{cell}</td>' for cell in cells) + "</tr>")
    return Markup("".join(found))


def step_words(step_ms: int) -> str:
    """A length in words: `2 s`, `10 min`, `1 h`, `1 day`."""
    lengths = ((86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))
    length_ms, unit = next(each for each in lengths if step_ms >= each[0])
    return f"{step_ms // length_ms}{THIN}{unit}"


def _summary(history: BoxHistory, unit: str) -> str:
    """One sentence for visitors who cannot see the chart."""
    voltage = history.percentiles.get("rms_v")
    if voltage is None:
        return "No whole minute of it is stored."
    least = min(row.values["rms_v"][0] for row in history.rows if "rms_v" in row.values)
    most = max(row.values["rms_v"][2] for row in history.rows if "rms_v" in row.values)
    span = f"{number(least, 1, unit)} to {number(most, 1, unit)}"
    return f"Voltage from {span}; half of the time at or below {number(voltage[1], 1, unit)}."
