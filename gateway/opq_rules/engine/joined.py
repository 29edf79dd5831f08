"""Joined: a feed with the units that it feeds, and what it gave as batches. In the engine's thread."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from opq_rules.batch import Batch
from opq_rules.engine.feed import Entry, Feed
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.rule import Deliver, Unit
from opq_rules.streams.decoding import Decoder

MOST = 512
"""Records of one batch. They stay in the processor's cache, and are fewer than what calls for a garbage
collection, which would look through all of them."""


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

    def batches(self, entries: Iterable[Entry], deliver: Deliver) -> Iterator[Batch]:
        """What the entries hold, in order. One is decoded when that before it is done with.

        What is no record is counted, and told to the rules that want errors sent: windows do not see it.
        """
        for run in _runs(entries):
            meta = run[0].meta
            if len(run) > 1 and meta is not None:
                meta = [one for entry in run for one in entry.meta or ()]
            arrivals: int | list[int]
            if run[0].payloads is not None:
                payloads = run[0].payloads
                if len(run) > 1:
                    payloads = [payload for entry in run for payload in entry.payloads or ()]
                found = self.decoder.decode(payloads, meta)
                arrivals = _arrivals(run[:1])
            else:
                rows: Any = run[0].rows
                if len(run) > 1:
                    rows = [row for entry in run for row in entry.rows or ()]
                found = self.decoder.conform(rows, meta)
                arrivals = _arrivals(run)
                if found.errors and not isinstance(arrivals, int):
                    arrivals = max(arrivals)  # which of them were left out is not told
            if found.errors:
                self.feed.failed(found.why, found.errors)
                self._tell(found.why, found.errors, deliver)
            if found.rows:
                yield Batch(self.stream, found.rows, arrivals, found.metas)

    def _tell(self, why: str, errors: int, deliver: Deliver) -> None:
        text = why if errors == 1 else f"{why} (the last of {errors})"
        for unit in self.units:
            rules = tuple(unit.rules())
            spec = rules[0].spec if rules else None
            if spec is not None and spec.options.sendError:  # those of a unit agree in it
                for rule in rules:
                    deliver(rule, [[{"error": text}]])


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Neighbours that make one batch: of one kind, `MOST` records at most, payloads of one ms."""
    run: list[Entry] = []
    count, kind = 0, None
    for entry in itertools.chain.from_iterable(map(_cut, entries)):
        coded = entry.payloads is not None
        own = coded, entry.meta is not None, entry.arrived_ms if coded else None
        if run and (own != kind or count + entry.count > MOST):
            yield run
            run, count = [], 0
        run.append(entry)
        count, kind = count + entry.count, own
    if run:
        yield run


def _cut(entry: Entry) -> Iterator[Entry]:
    if entry.count <= MOST:
        yield entry
        return
    for k in range(0, entry.count, MOST):
        part = slice(k, k + MOST)
        arrived = entry.arrived_ms
        yield Entry(
            None if entry.rows is None else entry.rows[part],
            None if entry.payloads is None else entry.payloads[part],
            min(MOST, entry.count - k),
            None if entry.meta is None else entry.meta[part],
            arrived if isinstance(arrived, int) else arrived[part],
            None,
        )


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
