"""The .json beside a recording: its rate, gain, nominal values, Box and start, as a person states them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_recordings.moments import MAX_START_NS
from opq_recordings.units import known_units, unit_scale
from opq_recordings.written_times import written_time

LARGEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """Known facts of a recording; None where unknown. A call's override the .json's, and these the file's."""

    rate_hz: float | None = None
    volts_per_lsb: float | None = None
    nominal_v: float | None = None
    nominal_hz: float | None = None
    box_id: str | None = None
    start_ns: int | None = None
    unit: str | None = None
    """Unit of the channel's values, such as `kV`."""
    side: str | None = None
    """`primary` or `secondary`: the side of the transformer that the voltage is wanted of."""
    channel: str | None = None
    """Name of the channel, or its number from 1; None: the first voltage."""
    decimal_mark: str | None = None
    """`.` or `,`: the decimal mark of a text that can be read in two ways."""

    def before(self, other: "RecordingFacts") -> "RecordingFacts":
        """These facts; where one is None, the other's."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        return RecordingFacts(
            **{name: getattr(other, name) if value is None else value for name, value in mine.items()}
        )


def read_facts(path: Path) -> tuple[RecordingFacts, dict[str, object]]:
    """Reads the facts of a .json, and the whole object; all are None when there is no such file.

    Raises:
        RecordingError: not JSON, not an object, or a value that is not what its key wants.
    """
    try:
        if not path.is_file() and path.exists():  # a pipe might never end
            raise RecordingError(f"{path}: is not a file")
        if path.stat().st_size > LARGEST_BYTES:
            raise RecordingError(f"{path}: has {path.stat().st_size:,} bytes, want the facts of a recording")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return RecordingFacts(), {}
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # includes bytes that are not UTF-8
        raise RecordingError(f"{path}: is not JSON: {json_fault(error)}") from error
    if not isinstance(content, dict):
        raise RecordingError(f"{path}: is not an object; want one with rate_hz, volts_per_lsb, …")
    return facts_of(path, content), content


def json_fault(error: Exception) -> str:
    """The place where a text is not JSON, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}"
    return (
        "it is not text in UTF-8"
        if isinstance(error, UnicodeDecodeError)
        else "its values are too deep or long"
    )


def facts_of(path: Path, content: Mapping[str, object]) -> RecordingFacts:
    """The facts among the keys of an object. Raises RecordingError for a value that its key does not take."""
    box_id = content.get("box_id")
    unit = content.get("unit")
    if unit is not None and (not isinstance(unit, str) or unit_scale(unit) is None):
        raise RecordingError(f"{path}: unit is {unit!r:.60}, want {known_units()}")
    return RecordingFacts(
        rate_hz=_positive(path, content, "rate_hz"),
        volts_per_lsb=_positive(path, content, "volts_per_lsb"),
        nominal_v=_positive(path, content, "nominal_volts"),
        nominal_hz=_positive(path, content, "nominal_hz"),
        box_id=None if box_id is None else str(box_id),
        start_ns=_start_ns(path, content),
        unit=unit,
        decimal_mark=_decimal_mark(path, content),
    )


def _decimal_mark(path: Path, content: Mapping[str, object]) -> str | None:
    value = content.get("decimal_mark")
    if value is not None and value not in (".", ","):
        raise RecordingError(f"{path}: decimal_mark is {value!r:.60}, want . or ,")
    return value if isinstance(value, str) else None


def _positive(path: Path, content: Mapping[str, object], key: str) -> float | None:
    value = content.get(key)
    if value is None:  # null means unknown, as in our own JSON
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise RecordingError(f"{path}: {key} is {value!r:.60}, want a positive number")
    return float(value)


def _start_ns(path: Path, content: Mapping[str, object]) -> int | None:
    """`start_ns`, or else `start` or `start_utc` in ISO 8601."""
    value = content.get("start_ns")
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_START_NS:
            raise RecordingError(
                f"{path}: start_ns is {value!r:.60}, want a whole number of nanoseconds, UTC since 1970"
            )
        return value
    for key in ("start", "start_utc"):
        text = content.get(key)
        if text is None:
            continue
        found = written_time(text) if isinstance(text, str) else None
        if found is None or found.t_ns is None:
            why = f" ({found.problem})" if found is not None and found.problem else ""
            raise RecordingError(
                f"{path}: {key} is {text!r:.60}{why}, want ISO 8601, such as 2026-11-20T16:09:40.25Z"
            )
        return found.t_ns
    return None
