"""The window that a statement asks for."""

from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any

from opq_rules.query.calendar import MINUTE_MS, Ends
from opq_rules.query.windows.count import Count
from opq_rules.query.windows.hopping import Hopping, Panes
from opq_rules.query.windows.session import Session
from opq_rules.query.windows.sliding import Sliding
from opq_rules.query.windows.sliding_blocks import SlidingBlocks
from opq_rules.query.windows.sliding_groups import Running, SlidingGroups
from opq_rules.query.windows.state import State
from opq_rules.query.windows.tumbling import Tumbling
from opq_rules.query.windows.window import Content, Fresh, Record, Window
from opq_rules.sql import syntax

Holds = Callable[[Record], bool]

_CYCLES_MS = {10: 200, 12: 200, 150: 3_000, 180: 3_000}
"""10 and 12 cycles are nominally 200 ms at 50 and 60 Hz, 150 and 180 are 3 s. IEC 61000-4-30, 4.4."""


def window_of(
    asked: syntax.Window,
    *,
    fresh: Fresh,
    again: Fresh,
    merged: Callable[[Any], Content] | None,
    running: Callable[[], Running] | None,
    holds: Holds,
    triggers: Holds | None,
    begins: Holds,
    ends: Holds | None,
    partition: Callable[[Record], str],
    empty: bool,
    zone: tzinfo | None,
) -> Window:
    """`merged`: of the parts of a hopping or sliding window, `running`: of a sliding one; None: they keep
    records and are computed anew.

    `again`: as `fresh`, but it tells no error. `holds`: WHERE of count windows.
    """
    length_ms = asked.length_ms or 0
    match asked.kind:
        case "tumbling":
            return Tumbling(Ends.of(asked.unit, length_ms, zone), fresh, empty)
        case "cycle":
            aligned = Ends(_CYCLES_MS[asked.count or 10], 10 * MINUTE_MS, UTC)
            return Tumbling(aligned, fresh, empty)
        case "hopping":
            hops = Ends.of(asked.unit, asked.hop_ms or length_ms, zone)
            if merged is None:
                return Hopping(hops, length_ms, empty)
            return Panes(hops, length_ms, fresh, merged, empty)
        case "sliding":
            if running is not None and not asked.delay_ms:
                return SlidingGroups(length_ms, triggers, running)
            if merged is not None:
                return SlidingBlocks(length_ms, asked.delay_ms or 0, triggers, fresh, again, merged)
            return Sliding(length_ms, asked.delay_ms or 0, triggers)
        case "session":
            return Session(Ends.of(asked.unit, length_ms, zone), asked.timeout_ms or 0, fresh)
        case "count":
            size = asked.count or 1
            return Count(size, asked.every or size, fresh, holds)
        case "state":
            return State(begins, ends, partition, fresh)
