"""Values of another meter out of a CSV or an MQTT message, as `ground_truth` has them. Pure.

A CSV has a column of times and one for each quantity, or the original's columns (`ts-s`, `sample-type`,
`actual`, `min`, `max`, `avg`, `stddev`). A message is a number, or an object of JSON.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from opq_cloud.export.records import ExportError
from opq_cloud.store.records.reference_meters import MeterValue
from opq_recordings.written_times import written_time

TIME_NAMES = ("time", "timestamp", "ts-s", "ts", "t", "date")
FIGURES = {"actual": "actual", "min": "least", "max": "most", "avg": "mean", "stddev": "deviation"}
"""The original's columns -> fields of MeterValue."""
_SECONDS = (1.0, 1e-3, 1e-6, 1e-9)
LATEST_S = 7_258_118_400
"""The year 2200."""


def csv_values(
    text: str, meter: str, columns: Mapping[str, str], time_name: str = "", zone: str = "UTC"
) -> Iterator[MeterValue]:
    """Yields the values of a CSV with a head; empty cells are left out.

    Args:
        columns: quantity -> its column; empty: columns that have a quantity's name.
        time_name: the column of times; empty: the first of TIME_NAMES that there is.
        zone: of times that state none.
    Raises:
        ExportError: a column is missing, or a cell is not a time or a number, with its line.
    """
    try:
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    rows = csv.reader(io.StringIO(text), dialect)
    names = [each.strip() for each in next(rows, [])]
    lowered = [each.lower() for each in names]
    time_name = time_name or next((each for each in TIME_NAMES if each in lowered), "")
    if time_name.lower() not in lowered:
        raise ExportError(
            f"there is no column of times; name it with --time, one of: {', '.join(names[:20])}"
        )
    at = lowered.index(time_name.lower())
    if "sample-type" in lowered and not columns:
        yield from _originals(rows, lowered, at, meter, zone)
        return
    chosen = dict(columns) or {each: each for each in names if "_" in each}
    missing = [column for column in chosen.values() if column not in names]
    if missing or not chosen:
        known = ", ".join(names[:20])
        raise ExportError(f"there is no column {(missing or ['of a quantity'])[0]!r}; there are: {known}")
    places = {name: names.index(column) for name, column in chosen.items()}
    for line, cells in enumerate(rows, 2):
        if cells:
            time_s = _time_s(_cell(cells, at), zone, line)
            for name, place in places.items():
                value = _number(_cell(cells, place), line)
                if value is not None:
                    yield MeterValue(meter, name, time_s, value)


def _originals(
    rows: Iterator[list[str]], names: Sequence[str], at: int, meter: str, zone: str
) -> Iterator[MeterValue]:
    for line, cells in enumerate(rows, 2):
        if cells:
            figures = {
                field: _number(_cell(cells, names.index(name)), line)
                for name, field in FIGURES.items()
                if name in names
            }
            quantity = _cell(cells, names.index("sample-type"))
            named = _cell(cells, names.index("meter-name")) if "meter-name" in names else ""
            yield MeterValue(meter or named, quantity, _time_s(_cell(cells, at), zone, line), **figures)


def message_value(payload: bytes, meter: str, quantity: str, key: str, now_s: float) -> MeterValue | None:
    """The value of a message; None where it has none.

    Args:
        key: the value's key in an object; `a.b` is b within a. Its time is that of `time`, else `now_s`.
    """
    try:
        found = json.loads(payload)
    except ValueError:
        return None
    time_s = now_s
    if isinstance(found, dict):
        stated = next((found[name] for name in TIME_NAMES if name in found), None)
        if stated is not None:
            try:
                time_s = _time_s(str(stated), "UTC", 1)
            except ExportError:
                return None
        for name in key.split(".") if key else ("value",):
            found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return MeterValue(meter, quantity, int(time_s), float(found))


def _cell(cells: Sequence[str], at: int) -> str:
    return cells[at].strip() if at < len(cells) else ""


def _number(cell: str, line: int) -> float | None:
    if not cell or cell.lower() in ("nan", "null", "none", "-"):
        return None
    try:
        value = float(cell)
    except ValueError:
        raise ExportError(f"line {line}: {cell[:40]!r} is not a number") from None
    return value if math.isfinite(value) else None


def _time_s(cell: str, zone: str, line: int) -> int:
    """Seconds since 1970, of a number in s, ms, us or ns, or of a written time."""
    try:
        number = float(cell)
    except ValueError:
        found = written_time(cell)
        if found is None or not found.dated:
            raise ExportError(f"line {line}: {cell[:40]!r} is not a time") from None
        if found.zone and found.t_ns is not None:
            return found.t_ns // 10**9
        clock = datetime.fromtimestamp(found.clock_ns / 1e9, UTC).replace(tzinfo=ZoneInfo(zone))
        return int(clock.timestamp())
    for unit_s in _SECONDS:
        if 0 <= number * unit_s < LATEST_S:
            return int(number * unit_s)
    raise ExportError(f"line {line}: {cell[:40]!r} is not a time")
