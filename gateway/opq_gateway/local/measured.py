"""`/measured`: values of the ledger by time and kind, as JSON, for scripts on this machine.

    curl 'http://127.0.0.1:8913/measured?box=1&kind=10min&from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z'

Times are ISO 8601 (without an offset: UTC) or Unix seconds; without `to` now, without `from` a day
earlier (of `window` and `3s` a minute). `box` is a Box's id or a group's name.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from opq_gateway.config import Config, box_folder, data_folder
from opq_gateway.measuring.feed import KINDS, Values
from opq_gateway.measuring.ledger import Ledger
from opq_proto.messages import known_uncertainty_ns
from opq_proto.time_units import DAY_NS, MINUTE_NS

MAX_ROWS = 10_000
"""Most rows of one answer; `next_from_ns` gives the start of the next answer."""


Ledgers = Mapping[str, Callable[[], Ledger]]
"""By the Box's id or the group's name, the function that opens its ledger for reading; it raises OSError."""


def ledgers_of(config: Config) -> Ledgers:
    """The ledgers of every Box and group."""
    keep = config.measuring.windows_hours, config.measuring.values_days
    found = {
        box.id: partial(Ledger, box_folder(config, box.id) / "ledger", box.id, *keep) for box in config.box
    }
    for group in config.group:
        folder = data_folder(config) / f"group-{group.name}"
        found[group.name] = partial(Ledger, folder, group.name, *keep)
    return found


def measured(
    query: Mapping[str, list[str]], ledgers: Ledgers, now_ns: Callable[[], int] = time.time_ns
) -> tuple[int, dict[str, Any]]:
    """HTTP status and document for a query; with status 400, what is wrong with it.

    Raises:
        OSError: the ledger cannot be read.
    """
    unknown = sorted(query.keys() - {"box", "kind", "from", "to"})
    if unknown:
        return _wrong(f"{', '.join(unknown)}: not known; there are box, kind, from, to")
    box, kind = query.get("box", [""])[0], query.get("kind", ["10min"])[0]
    if box not in ledgers:
        return _wrong(f"box: is {box!r}; want one of {', '.join(ledgers)}")
    if kind not in KINDS:
        return _wrong(f"kind: is {kind!r}; want one of {', '.join(KINDS)}")
    try:
        end_ns = _ns(query["to"][0]) if "to" in query else now_ns()
        back_ns = MINUTE_NS if kind in ("window", "3s") else DAY_NS
        start_ns = _ns(query["from"][0]) if "from" in query else end_ns - back_ns
    except (ValueError, OverflowError) as error:
        return _wrong(f"from, to: {error}; want e.g. 2026-11-20T12:00:00Z, or Unix seconds")
    rows = list(islice(ledgers[box]().read(kind, start_ns, end_ns), MAX_ROWS + 1))
    document = {"box": box, "kind": kind, "from_ns": start_ns, "to_ns": end_ns}
    more = rows[MAX_ROWS].start_ns if len(rows) > MAX_ROWS else None
    return 200, {**document, "next_from_ns": more, "rows": [_row(row) for row in rows[:MAX_ROWS]]}


def _row(values: Values) -> dict[str, Any]:
    return {
        "start_ns": values.start_ns,
        "end_ns": values.end_ns,
        "uncertainty_ns": known_uncertainty_ns(values.uncertainty_ns),
        "time_source": values.source.name.lower(),
        "flagged": values.flagged,
        **values.values,
    }


def _ns(text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        when = datetime.fromisoformat(text)
        aware = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1e6) * 1000
    if not 0 <= seconds < 2**33:
        raise ValueError(f"{text} is not a time; want Unix seconds such as 1764000000")
    return round(seconds * 1e9)


def _wrong(text: str) -> tuple[int, dict[str, Any]]:
    return 400, {"error": text}
