"""StreamInput: a running source and its units. All but `runner` belongs to the engine's thread."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from opq_rules.engine.running.rule import Deliver, QueryUnit
from opq_rules.engine.running.sink_runner import SinkRunner
from opq_rules.engine.running.source_runner import SourceEntry, SourceRunner
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.values.batch import Batch, Row

MAX_BATCH_RECORDS = 512
"""Most records of a batch; they fit into the processor's cache, and do not cause a garbage collection."""
MAX_DURABLE_TOPIC_RECORDS = 200_000
"""The limit of memory topics at qos >= 1, some 170 MB of small rows.

The engine's own thread fills and empties them, so it cannot wait for room. Only rules that feed each other
reach it; then the oldest records are dropped and counted.
"""


class StreamInput:
    """One input. `stream`: its name in statements; `key`: its name among the inputs and in the database.

    `direct`: a topic of memory. `waits`: whether its source waits for room; None: while a rule has qos >= 1.
    """

    def __init__(
        self, runner: SourceRunner, key: str, decoder: StreamDecoder, direct: bool, waits: bool | None
    ) -> None:
        self.runner, self.stream, self.key, self.decoder = runner, runner.name, key, decoder
        self.direct = direct
        self.units: list[QueryUnit] = []
        self.durable = 0
        """Number of rules of qos >= 1 that it feeds."""
        self.sinks: dict[SinkRunner, int] = {}
        self.pinned = 0
        """Above 0 while a rule is replaced: records wait, and the input stays even without units."""
        self._waits, self._limit = waits, runner.limit

    def enter(self, unit: QueryUnit, sinks: Sequence[SinkRunner], durable: bool) -> None:
        """Adds a rule; its unit may be there already for another rule."""
        if unit not in self.units:
            self.units.append(unit)
        for sink in sinks:
            self.sinks[sink] = self.sinks.get(sink, 0) + 1
        self._changed(int(durable))

    def leave(self, unit: QueryUnit, sinks: Sequence[SinkRunner], durable: bool) -> None:
        """Removes a rule; with its last rule the unit is removed too."""
        for sink in sinks:
            self.sinks[sink] -= 1
            if not self.sinks[sink]:
                del self.sinks[sink]
        if unit in self.units and not unit.rules():
            self.units.remove(unit)
        self._changed(-durable)

    def _changed(self, durable: int) -> None:
        self.durable += durable
        if self.direct:
            self.runner.limit = max(self._limit, MAX_DURABLE_TOPIC_RECORDS) if self.durable else self._limit
        elif self._waits is None:
            self.runner.blocks = self.durable > 0
        if self.decoder.strict:  # STRICT_VALIDATION checks only columns that some unit reads
            read = [unit.reads(self.stream) for unit in self.units]
            known = [each for each in read if each is not None]
            self.decoder.use_columns(frozenset().union(*known) if len(known) == len(read) else None)

    def batches(self, entries: Iterable[SourceEntry], deliver: Deliver) -> Iterator[Batch]:
        """The entries as batches, in order; the next one is decoded when the caller is done with one.

        Unreadable records are counted, and sent as errors to rules that want them, but into no window.
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
                rows: Sequence[Row] = run[0].rows or ()
                if len(run) > 1:
                    rows = [row for entry in run for row in entry.rows or ()]
                found = self.decoder.conform(rows, meta)
                arrivals = _arrivals(run)
                if found.errors and not isinstance(arrivals, int):
                    arrivals = max(arrivals)  # which of them were left out is unknown
            if found.errors:
                self.runner.count_failed(found.why, found.errors)
                self._send_error(found.why, found.errors, deliver)
            if found.rows:
                yield Batch(self.stream, found.rows, arrivals, found.metas)

    def _send_error(self, why: str, errors: int, deliver: Deliver) -> None:
        text = why if errors == 1 else f"{why} (the last of {errors})"
        for unit in self.units:
            rules = tuple(unit.rules())
            sinks = rules[0].sinks if rules else None
            if sinks is not None and sinks.options.sendError:  # all rules of a unit have the same value
                for rule in rules:
                    deliver(rule, [[{"error": text}]])


def _runs(entries: Iterable[SourceEntry]) -> Iterator[list[SourceEntry]]:
    """Joins neighbours of one kind and one ms into batches of at most `MAX_BATCH_RECORDS` records."""
    run: list[SourceEntry] = []
    count, kind = 0, None
    for entry in itertools.chain.from_iterable(map(_cut, entries)):
        coded = entry.payloads is not None
        own = coded, entry.meta is not None, entry.arrived_ms if coded else None
        if run and (own != kind or count + entry.count > MAX_BATCH_RECORDS):
            yield run
            run, count = [], 0
        run.append(entry)
        count, kind = count + entry.count, own
    if run:
        yield run


def _cut(entry: SourceEntry) -> Iterator[SourceEntry]:
    if entry.count <= MAX_BATCH_RECORDS:
        yield entry
        return
    for k in range(0, entry.count, MAX_BATCH_RECORDS):
        part = slice(k, k + MAX_BATCH_RECORDS)
        arrived = entry.arrived_ms
        yield SourceEntry(
            None if entry.rows is None else entry.rows[part],
            None if entry.payloads is None else entry.payloads[part],
            min(MAX_BATCH_RECORDS, entry.count - k),
            None if entry.meta is None else entry.meta[part],
            arrived if isinstance(arrived, int) else arrived[part],
            None,
        )


def _arrivals(entries: list[SourceEntry]) -> int | list[int]:
    """One time for all entries if it is the same, else one for each record."""
    times = {entry.arrived_ms for entry in entries if isinstance(entry.arrived_ms, int)}
    if len(times) == 1 and all(isinstance(entry.arrived_ms, int) for entry in entries):
        return times.pop()
    all_ms: list[int] = []
    for entry in entries:
        each = entry.arrived_ms
        all_ms += [each] * entry.count if isinstance(each, int) else each
    return all_ms
