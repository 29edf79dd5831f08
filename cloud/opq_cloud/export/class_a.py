"""Intervals and disturbances of class A, and trends, as tables: read a month of a Box at a time."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from opq_cloud.export.selection import facts_of
from opq_cloud.export.tables import ExportTable, JsonRow, TableColumn
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.intervals.interval_rows import UNKNOWN, sequences_of
from opq_proto.measurement.intervals import AT_INSTANTS, IntervalColumns
from opq_proto.messages import Disturbance, Trend, known_uncertainty_ns

MONTH_NS = 31 * 86_400 * 10**9
TREND_ROWS = 5000
"""Most rows of trends in one read."""
ORDERED = {"harmonics_v": ("h", 1), "interharmonics_v": ("i", 0)}
"""Quantity with a value for each order -> letter of its columns, first order: `h1_v`, `i0_v`."""
WIDE = {*ORDERED, *AT_INSTANTS}
INTERVAL_COLUMNS = (
    TableColumn("box_id", "text"),
    TableColumn("length_ms", "whole"),
    TableColumn("start_ns", "whole"),
    TableColumn("end_ns", "whole"),
    TableColumn("flagged", "flag"),
    TableColumn("coverage", "single"),
    TableColumn("nominal_v", "number"),
    TableColumn("sequence", "whole"),
    TableColumn("flicker_sequence", "whole"),
)
DISTURBANCE_COLUMNS = (
    TableColumn("box_id", "text"),
    TableColumn("class", "text"),
    TableColumn("start_ns", "whole"),
    TableColumn("end_ns", "whole"),
    TableColumn("uncertainty_ns", "whole"),
    TableColumn("residual_v", "single"),
    TableColumn("residual_percent", "number"),
    TableColumn("nominal_v", "number"),
    TableColumn("site", "text"),
    TableColumn("phase", "text"),
    TableColumn("feeder", "text"),
    TableColumn("polyphase_group", "whole"),
)
TREND_PARTS = ("min", "max", "average")


class IntervalReader(Protocol):
    """The calls on a store's intervals; View implements them for one visitor."""

    def read(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> IntervalColumns: ...

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None: ...

    def summary(self, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> IntervalSummary: ...

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]: ...


class TrendReader(Protocol):
    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]: ...


def interval_rows(columns: IntervalColumns) -> Iterator[dict[str, object]]:
    """Yields a row for each interval: times, flag, coverage and its known values, null where not known."""
    values = {
        name: found.tolist()
        for quantity, value in columns.values.items()
        for name, found in (
            ((quantity, value),)
            if value.ndim == 1
            else ((name, value[:, at]) for at, name in enumerate(_names(quantity, value.shape[1])))
        )
    }
    times = zip(
        columns.start_ns.tolist(),
        columns.end_ns.tolist(),
        columns.flagged.tolist(),
        columns.coverage.tolist(),
        sequences_of(columns).tolist(),
        strict=True,
    )
    for at, (start_ns, end_ns, flagged, coverage, sequences) in enumerate(times):
        row: dict[str, object] = {
            "box_id": columns.box_id,
            "length_ms": columns.length_ms,
            "start_ns": start_ns,
            "end_ns": end_ns,
            "flagged": flagged,
            "coverage": None if math.isnan(coverage) else coverage,
            "sequence": None if sequences[0] == UNKNOWN else sequences[0],
            "flicker_sequence": None if sequences[1] == UNKNOWN else sequences[1],
        }
        for name, column in values.items():
            row[name] = None if math.isnan(column[at]) else column[at]
        yield row


def _names(quantity: str, orders: int) -> list[str]:
    if quantity in AT_INSTANTS:  # angles_deg: angle_1_deg
        stem, unit = quantity.split("s_")
        return [f"{stem}_{number}_{unit}" for number in range(1, orders + 1)]
    letter, first = ORDERED.get(quantity, (f"{quantity}_", 0))
    return [f"{letter}{first + at}_v" for at in range(orders)]


def interval_table(
    reader: IntervalReader,
    box_ids: Sequence[str],
    length_ms: int,
    start_ns: int,
    end_ns: int,
    licence: str = "",
    boxes: Sequence[BoxRecord] = (),
) -> ExportTable:
    """Every interval of one length that begins in [start_ns, end_ns), in time order per Box.

    The facts of the table have the nominal voltages of `boxes`.
    """
    spans: dict[str, tuple[int, int]] = {}
    names: dict[str, int] = {}
    for box_id in box_ids:
        known = reader.span_ns(box_id, length_ms)
        if known is None:
            continue
        spans[box_id] = max(start_ns, known[0]), min(end_ns, known[1] + 1)
        summary = reader.summary(box_id, length_ms, *spans[box_id])
        for name in summary.names:
            names[name] = max(names.get(name, 0), summary.orders(name))
    columns = [
        TableColumn(column, "single")
        for name, orders in sorted(names.items(), key=lambda each: (each[0] in WIDE, each[0]))
        for column in (_names(name, orders) if name in WIDE else [name])
    ]

    records = {each.box_id: each for each in boxes}

    def rows() -> Iterator[JsonRow]:
        for box_id, (first_ns, last_ns) in spans.items():
            for at_ns in range(first_ns, last_ns, MONTH_NS):
                until_ns = min(at_ns + MONTH_NS, last_ns)
                columns_read = reader.read(box_id, length_ms, at_ns, until_ns)
                starts_ns = columns_read.start_ns.tolist()
                for row, begin_ns in zip(interval_rows(columns_read), starts_ns, strict=True):
                    yield row | {"nominal_v": nominal_then(records.get(box_id), begin_ns)}

    span = {"length_ms": length_ms, "start_ns": start_ns, "end_ns": end_ns}
    facts = facts_of(licence, box_ids=list(box_ids), nominal_v=nominal_volts(boxes, box_ids), **span)
    return ExportTable("intervals", (*INTERVAL_COLUMNS, *columns), rows(), facts)


def nominal_then(box: BoxRecord | None, start_ns: int) -> float | None:
    """The nominal voltage that a Box stated at a moment; None: not known."""
    return None if box is None else box.at(start_ns).nominal_v


def nominal_volts(boxes: Sequence[BoxRecord], box_ids: Collection[str]) -> dict[str, list[float]]:
    """Box -> the nominal voltages that it has had, the present one last; of these Boxes that state one."""
    stated = {each.box_id: list(each.values_of("nominal_v")) for each in boxes if each.box_id in box_ids}
    return {box_id: volts for box_id, volts in stated.items() if volts}


def disturbance_json(found: Disturbance) -> dict[str, object]:
    """A disturbance in the keys of the contract; `end_ns` null: it has not ended, or its end is not known."""
    return {
        "box_id": found.box_id,
        "class": found.kind,
        "start_ns": found.start_ns,
        "end_ns": found.end_ns,
        "uncertainty_ns": known_uncertainty_ns(found.uncertainty_ns),
        "residual_v": None if math.isnan(found.residual_v) else found.residual_v,
        "polyphase_group": found.polyphase_group or None,
    }


def disturbance_table(
    reader: IntervalReader,
    box_ids: Sequence[str],
    start_ns: int,
    end_ns: int,
    licence: str = "",
    boxes: Sequence[BoxRecord] = (),
) -> ExportTable:
    """Every dip, swell and interruption that begins in [start_ns, end_ns), in time order per Box.

    Without `box_ids` those of all Boxes, in time order. Percent, nominal voltage, site, phase and feeder are
    by the facts of `boxes` at the beginning of each.
    """
    known = {each.box_id: each for each in boxes}

    def row(found: Disturbance) -> JsonRow:
        box = known.get(found.box_id)
        if box is None:
            return disturbance_json(found)
        there = box.at(found.start_ns)
        known_v = there.nominal_v and not math.isnan(found.residual_v)
        percent = 100 * found.residual_v / there.nominal_v if known_v and there.nominal_v else None
        nominal = {"residual_percent": percent, "nominal_v": there.nominal_v}
        places = {"site": there.site, "phase": there.phase, "feeder": there.feeder}
        return {**disturbance_json(found), **nominal, **places}

    def rows() -> Iterator[JsonRow]:
        for box_id in box_ids or (None,):
            yield from map(row, reader.disturbances(box_id, start_ns, end_ns))

    facts = facts_of(licence, box_ids=list(box_ids), start_ns=start_ns, end_ns=end_ns)
    return ExportTable("disturbances", DISTURBANCE_COLUMNS, rows(), facts)


def trend_table(
    reader: TrendReader,
    spans: Mapping[str, tuple[int, int]],
    length_ms: int,
    metrics: Sequence[str],
    licence: str = "",
    boxes: Sequence[BoxRecord] = (),
) -> ExportTable:
    """Rows of one level of the trends, in time order per Box.

    `spans`: Box -> [start_ms, end_ms). The facts of the table have the nominal voltages of `boxes`.
    """
    known = {each.box_id: each for each in boxes}

    def rows() -> Iterator[JsonRow]:
        for box_id, (start_ms, end_ms) in spans.items():
            first_ms = start_ms // length_ms * length_ms
            for at_ms in range(first_ms, end_ms, TREND_ROWS * length_ms):
                until_ms = min(at_ms + TREND_ROWS * length_ms, end_ms)
                for trend in reader.trend_rows(box_id, at_ms, until_ms, length_ms):
                    volts = nominal_then(known.get(box_id), trend.start_ms * 1_000_000)
                    yield _trend_json(trend) | {"nominal_v": volts}

    columns = (
        TableColumn("box_id", "text"),
        TableColumn("start_ms", "whole"),
        TableColumn("length_ms", "whole"),
        TableColumn("coverage", "number"),
        TableColumn("nominal_v", "number"),
        *(TableColumn(f"{name}_{part}", "number") for name in metrics for part in TREND_PARTS),
    )
    volts = nominal_volts(boxes, spans)
    facts = facts_of(licence, box_ids=list(spans), nominal_v=volts, length_ms=length_ms)
    return ExportTable("trends", columns, rows(), facts)


def _trend_json(trend: Trend) -> dict[str, object]:
    parts = {
        f"{name}_{part}": value
        for name, three in trend.metrics.items()
        for part, value in zip(TREND_PARTS, three, strict=True)
    }
    return {
        "box_id": trend.box_id,
        "start_ms": trend.start_ms,
        "length_ms": trend.length_ms,
        "coverage": trend.coverage,
        **parts,
    }
