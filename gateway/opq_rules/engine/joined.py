"""Joined: a feed with the units that it feeds, and what it gave as batches. In the engine's thread."""

import itertools
from typing import Any

from opq_rules.batch import Batch
from opq_rules.engine.feed import Entry, Feed
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.unit import Unit
from opq_rules.streams.decoding import Decoder


class Joined:
    """`stream`: its name in statements; `kept_as`: in the database.

    `direct`: of memory. `waits`: its source waits for room, or not; None: as long as a rule has qos >= 1.
    """

    def __init__(
        self, feed: Feed, stream: str, decoder: Decoder, kept_as: str, direct: bool, waits: bool | None
    ) -> None:
        self.feed, self.stream, self.decoder, self.kept_as = feed, stream, decoder, kept_as
        self.direct, self.waits, self.limit = direct, waits, feed.limit
        self.units: list[Unit] = []
        self.durable = 0
        """Rules of qos >= 1 behind it."""
        self.outlets: dict[Outlet, int] = {}
        self.pinned = 0
        """A rule behind it is being replaced: records wait, and it stays although nobody takes from it."""

    def units_changed(self) -> None:
        """STRICT_VALIDATION looks at what some unit reads, at nothing else."""
        if self.decoder.strict:
            read = [unit.reads(self.stream) for unit in self.units]
            known = [each for each in read if each is not None]
            self.decoder.look_at(frozenset().union(*known) if len(known) == len(read) else None)

    def batches(self, entries: list[Entry]) -> list[Batch]:
        """Entries of one kind as one batch: rows with rows, payloads with payloads."""
        batches: list[Batch] = []
        for (coded, has_meta), group in itertools.groupby(
            entries, key=lambda entry: (entry.payloads is not None, entry.meta is not None)
        ):
            same = list(group)
            if coded:
                batches += self._decoded(same)
                continue
            rows: Any = same[0].rows
            meta = same[0].meta
            if len(same) > 1:
                rows = [row for entry in same for row in entry.rows or ()]
                meta = [one for entry in same for one in entry.meta or ()] if has_meta else None
            found = self.decoder.conform(rows, meta)
            if found.errors:
                self.feed.failed(found.why, found.errors)
            arrivals = _arrivals(same)
            if found.errors and not isinstance(arrivals, int):
                arrivals = max(arrivals)  # which of them were left out is not told
            if found.rows:
                batches.append(Batch(self.stream, found.rows, arrivals, found.metas, same[-1].offset))
        return batches

    def _decoded(self, entries: list[Entry]) -> list[Batch]:
        """One decode for entries that arrived within the same ms."""
        batches = []
        for arrived_ms, group in itertools.groupby(entries, key=lambda entry: entry.arrived_ms):
            same = list(group)
            payloads: Any = same[0].payloads
            meta: Any = same[0].meta
            if len(same) > 1:
                payloads = [payload for entry in same for payload in entry.payloads or ()]
                meta = [one for entry in same for one in entry.meta or ()] if meta is not None else None
            found = self.decoder.decode(payloads, meta)
            if found.errors:
                self.feed.failed(found.why, found.errors)
            if found.rows:
                batches.append(Batch(self.stream, found.rows, arrived_ms, found.metas, same[-1].offset))
        return batches


def _arrivals(entries: list[Entry]) -> int | list[int]:
    """One time for all where it is the same."""
    times = {entry.arrived_ms for entry in entries if isinstance(entry.arrived_ms, int)}
    if len(times) == 1 and all(isinstance(entry.arrived_ms, int) for entry in entries):
        return times.pop()
    all_ms: list[int] = []
    for entry in entries:
        each = entry.arrived_ms
        all_ms += [each] * entry.count if isinstance(each, int) else each
    return all_ms
