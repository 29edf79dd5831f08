"""opqsilence: a row when a Box sends nothing for `afterS` seconds, and one when it is back.

A rule sees no record of a Box that is silent, so silence needs a source that has a clock. DATASOURCE has the
Boxes' numbers, or `*` for each that was heard since the start; a Box that is named is also missed where it
was never heard. All Boxes may be silent at once: each has its row.

Columns: `box`, `kind` (`silent`, `back`), `timestamp_ms` (now), `since_ms` (the end of its last Measurement;
null: none since the start), `silent_s`.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_rules.sources import opqbox
from opq_rules.streams.columns import KnownColumns
from opq_rules.values.batch import Row

COLUMNS = KnownColumns(("box", "kind", "timestamp_ms", "since_ms", "silent_s"))


@dataclass(frozen=True, slots=True)
class Config(opqbox.Config):
    afterS: float = field(default=10.0, metadata={"minimum": 0.1, "maximum": 86_400.0, "help": "seconds"})


class SilenceWatch:
    """Knows when each Box was last heard; times in s of a clock that only goes forward."""

    def __init__(self, boxes: Collection[str] | None, after_s: float, now_s: float) -> None:
        self._boxes, self._after_s = boxes, after_s
        self._heard: dict[str, tuple[float, int | None]] = dict.fromkeys(sorted(boxes or ()), (now_s, None))
        """Box -> when it was heard, and the end of its last Measurement."""
        self._silent: set[str] = set()

    def accept(self, rows: Iterable[Row], now_s: float, now_ms: int) -> list[Row]:
        """Rows of Boxes that are back, then of those that have become silent."""
        found = []
        for row in rows:
            box = row["box"]
            if row.get("backfilled") or (self._boxes is not None and box not in self._boxes):
                continue
            if box in self._silent:
                self._silent.discard(box)
                found.append(self._row(box, "back", now_s, now_ms))
            self._heard[box] = now_s, row.get("timestamp_ms")
        for box, (heard_s, _) in self._heard.items():
            if now_s - heard_s >= self._after_s and box not in self._silent:
                self._silent.add(box)
                found.append(self._row(box, "silent", now_s, now_ms))
        return found

    def _row(self, box: str, kind: str, now_s: float, now_ms: int) -> Row:
        heard_s, since_ms = self._heard[box]
        row: Row = {"box": box, "kind": kind, "timestamp_ms": now_ms, "silent_s": round(now_s - heard_s, 1)}
        return row if since_ms is None else row | {"since_ms": since_ms}


class Source(opqbox.Source):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        own = {name: value for name, value in properties.items() if name != "afterS"}
        super().configure(datasource, own)
        self._after_s = config.afterS

    @property
    def columns(self) -> KnownColumns:
        return COLUMNS

    def _order(self, context: SourceContext) -> Callable[[list[Row]], list[Row]]:
        watch = SilenceWatch(self._boxes, self._after_s, time.monotonic())
        return lambda rows: watch.accept(rows, time.monotonic(), time.time_ns() // 1_000_000)
