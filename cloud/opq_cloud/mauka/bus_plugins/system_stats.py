"""SystemStatsPlugin: plug-ins, machine and store once a minute, as a document of `laha_stats`.

The original's plug-in of this name (docs/reference/opq-interop.md D.7, E.3), for its readers: View's system
page and programs for figures. `gc_stats` counts the documents that `gc_stat` messages report: LahaGcPlugin's,
and those of an original one.
"""

import math
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opq_cloud.core.settings.mauka import SystemStatsSection
from opq_cloud.mauka.bus.bus_messages import GC_STAT, HEARTBEAT, new_message
from opq_cloud.mauka.bus_plugins.box_commands import RATE_REQUEST, RATE_RESPONSE
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import MAX_PLUGINS, read_heartbeat
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.store.documents.makai_documents import limits_documents
from opq_cloud.store.records.accounts.account_records import LAHA_STATS
from opq_cloud.store.store import CloudStore
from opq_proto.errors import FrameError
from opq_proto.wire.mauka_pb2 import EVENTS, INCIDENTS, MEASUREMENTS, PHENOMENA, SAMPLES, TRENDS, MaukaMessage

KEPT_S = 86_400
"""Documents are kept for this time: 4 MB."""
BOXES_FORGOTTEN_PER_DOCUMENT = 20
ACTIVE_MS = 5_000
"""A Box is active if it sent a Measurement within this time, as in the original."""
RATES_PER_DOCUMENT = 100
"""Number of Boxes whose rate is requested per document, in turn."""
RATE_KNOWN_S = 900.0
"""A Box that reported its rate gets no request for this time: request and answer are 440 B of radio."""
MAX_RATES = 100_000
PLUGIN_KEYS = ("messages_received", "messages_published", "bytes_received", "bytes_published")
DOMAINS = {
    SAMPLES: "samples",
    MEASUREMENTS: "measurements",
    TRENDS: "trends",
    EVENTS: "events",
    INCIDENTS: "incidents",
    PHENOMENA: "phenomena",
}


class SystemStatsPlugin(MaukaPlugin):
    """Counters: `stats_stored`, and the base's."""

    NAME = "SystemStatsPlugin"
    GIVES = (RATE_REQUEST,)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        section: SystemStatsSection,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder`: the usage of its disk is measured."""
        super().__init__(config, [HEARTBEAT, GC_STAT, RATE_RESPONSE], SystemStatsPlugin.NAME)
        self._store, self._section, self._clock = store, section, clock
        self._machine = MachineLoad(folder)
        self._next_sample_s = clock() + section.sample_s
        self._next_s = clock() + section.interval_s
        self._plugins: dict[str, dict[str, int]] = {}
        self._gone = dict.fromkeys(DOMAINS.values(), 0)
        self._rates: dict[str, int] = {}
        self._reported_s: dict[str, float] = {}
        self._requested_s: dict[str, float] = {}
        """By Box: when it reported its rate, and when that was requested; monotonic seconds."""

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        kind = mauka_message.WhichOneof("message")
        if kind == "heartbeat":
            self._note_heartbeat(mauka_message)
        elif kind == "box_measurement_rate_response":
            response = mauka_message.box_measurement_rate_response
            if len(self._rates) < MAX_RATES or response.box_id in self._rates:
                self._rates[response.box_id] = response.measurement_rate
                self._reported_s[response.box_id] = self._clock()
        elif kind == "laha" and mauka_message.laha.WhichOneof("laha_type") == "gc_stat":
            domain = DOMAINS.get(mauka_message.laha.gc_stat.gc_domain)
            if domain is not None:
                self._gone[domain] += mauka_message.laha.gc_stat.gc_cnt
        else:
            self.counters.add("malformed")

    def on_idle(self) -> bool:
        """Measures the machine, stores a document, requests Boxes' rates, each when it is due."""
        now_s = self._clock()
        if now_s >= self._next_sample_s:
            self._next_sample_s = now_s + self._section.sample_s
            self._machine.sample()
        if now_s >= self._next_s:
            self._next_s = now_s + self._section.interval_s
            active = self._active_boxes()
            self._store_document(self.document(active))
            self._request_rates(active)
        return False

    def idle_due_s(self) -> float:
        """Returns the seconds until the next sample or document."""
        return min(self._next_sample_s, self._next_s) - self._clock()

    def document(self, active: Collection[str]) -> dict[str, Any]:
        """Makes the document with the original's keys; `active`: Boxes that measure now."""
        store = self._store()
        counts, sizes, ttls = store.counts(), store.sizes(), store.ttls()
        waveforms = [sizes.get(name) for name in ("events", "box_events", "fs.chunks")]
        known = [each for each in waveforms if each is not None]

        def stored(name: str, ttl: int | None, size: int | None) -> dict[str, int | None]:
            return {"ttl": -1 if ttl is None else ttl, "count": counts.get(name, 0), "size_bytes": size}

        laha: dict[str, Any] = {
            # rings of Boxes: the original writes the same figures
            "instantaneous_measurements_stats": {"box_samples": {"ttl": -1, "count": 0, "size_bytes": 0}},
            "aggregate_measurements_stats": {
                "measurements": stored("measurements", ttls.measurements, sizes.get("measurements")),
                "trends": stored("trends", ttls.trends, sizes.get("trends")),
            },
            "detections_stats": {"events": stored("events", ttls.events, sum(known) if known else None)},
            "incidents_stats": {"incidents": stored("incidents", ttls.incidents, sizes.get("incidents"))},
            "phenomena_stats": {"phenomena": stored("phenomena", ttls.incidents, sizes.get("phenomena"))},
            # the original writes the last name with a colon and reads it without
            "gc_stats": {**self._gone, "phenomena:": self._gone["phenomena"]},
            "active_devices": len(active),
            "box_triggering_thresholds": limits_documents(store.makai_config(), sorted(active)),
            "box_measurement_rates": [
                {"box_id": box_id, "measurement_rate": self._rates[box_id]}
                for box_id in sorted(active)
                if box_id in self._rates
            ],
        }
        return {
            "timestamp_s": round(time.time()),
            "plugin_stats": {name: dict(row) for name, row in self._plugins.items()},
            "system_stats": self._machine.documents(),
            "laha_stats": laha,
            "other_stats": {"ground_truth": {"count": 0, "size_bytes": 0}},
        }

    def _note_heartbeat(self, message: MaukaMessage) -> None:
        try:
            heartbeat, _ = read_heartbeat(message, self._clock())
        except FrameError:
            self.counters.add("malformed")
            return
        # a name with a dot or a dollar is not a valid key of MongoDB's for every reader
        name = heartbeat.plugin_name.replace(".", "_").replace("$", "_")
        if name and (name in self._plugins or len(self._plugins) < MAX_PLUGINS):
            self._plugins[name] = {key: int(heartbeat.number(key, 0)) for key in PLUGIN_KEYS}

    def _active_boxes(self) -> list[str]:
        since_ms = time.time_ns() // 1_000_000 - ACTIVE_MS
        newest = self._store().latest_measurements()
        return [box_id for box_id, row in newest.items() if row.timestamp_ms > since_ms]

    def _store_document(self, document: dict[str, Any]) -> None:
        """Stores it, and deletes documents older than KEPT_S."""
        documents, now_s = self._store().people.documents, int(document["timestamp_s"])
        if documents.insert(LAHA_STATS, _key(now_s), document):
            self.counters.add("stats_stored")
        for old in documents.newest(LAHA_STATS, _key(now_s - KEPT_S), BOXES_FORGOTTEN_PER_DOCUMENT):
            documents.remove(LAHA_STATS, _key(int(old["timestamp_s"])))

    def _request_rates(self, active: Collection[str]) -> None:
        now_s = self._clock()
        due = [each for each in active if now_s - self._reported_s.get(each, -math.inf) >= RATE_KNOWN_S]
        due.sort(key=lambda box_id: (self._requested_s.get(box_id, -math.inf), box_id))
        if wanted := due[:RATES_PER_DOCUMENT]:
            self._requested_s.update(dict.fromkeys(wanted, now_s))
            message = new_message(self.name)
            message.box_measurement_rate_request.box_ids.extend(wanted)
            self.produce(RATE_REQUEST, message)


def _key(timestamp_s: int) -> str:
    return f"{timestamp_s:012d}"


CPU_TIMES_FILE = Path("/proc/stat")
MEMORY_FILE = Path("/proc/meminfo")
MAX_VALUES = 100_000
"""Limit of the values of one statistic; later ones are left out until it begins again."""


@dataclass(slots=True)
class ValueSummary:
    """Values of one period."""

    values: list[float] = field(default_factory=list)
    start_s: int = 0
    end_s: int = 0

    def add(self, value: float | None) -> None:
        if value is None or len(self.values) >= MAX_VALUES:
            return
        self.end_s = round(time.time())
        self.start_s = self.start_s or self.end_s
        self.values.append(value)

    def document(self) -> dict[str, float | int | None]:
        """The original's keys (docs/reference/opq-interop.md, D.7); null where no value came. `var` divides
        by `cnt`."""
        count = len(self.values)
        mean = math.fsum(self.values) / count if count else None
        variance = None if mean is None else math.fsum((each - mean) ** 2 for each in self.values) / count
        return {
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "mean": mean,
            "var": variance,
            "cnt": count,
            "start_timestamp_s": self.start_s,
            "end_timestamp_s": self.end_s,
        }


class MachineLoad:
    """Samples the load now and then; summarises the samples since the last summary."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the usage of its disk is measured."""
        self._folder = folder
        self._ticks = _busy_ticks()
        self._summaries: dict[str, ValueSummary] = {}
        self._clear()

    def sample(self) -> None:
        """Adds one value of each quantity."""
        for name, value in (
            ("cpu_load_percent", self._busy_percent()),
            ("memory_use_bytes", _used_memory()),
            ("disk_use_bytes", self._used_disk()),
        ):
            self._summaries[name].add(value)

    def documents(self) -> dict[str, dict[str, float | int | None]]:
        """Returns the summaries since the last call, by the original's names."""
        found = {name: summary.document() for name, summary in self._summaries.items()}
        self._clear()
        return found

    def _clear(self) -> None:
        names = ("cpu_load_percent", "memory_use_bytes", "disk_use_bytes")
        self._summaries = {name: ValueSummary() for name in names}

    def _busy_percent(self) -> float | None:
        """Returns the load of all processors since the last sample, in percent."""
        before, self._ticks = self._ticks, _busy_ticks()
        if before is None or self._ticks is None or self._ticks[1] <= before[1]:
            return None
        return 100 * (self._ticks[0] - before[0]) / (self._ticks[1] - before[1])

    def _used_disk(self) -> float | None:
        try:
            return float(shutil.disk_usage(self._folder).used)
        except OSError:
            return None


def _busy_ticks() -> tuple[int, int] | None:
    """Returns (busy, all) ticks of the processors since the start; proc(5)."""
    try:
        ticks = [int(each) for each in CPU_TIMES_FILE.read_text().partition("\n")[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle, iowait
    except (OSError, ValueError, IndexError):
        return None


def _used_memory() -> float | None:
    try:
        rows = dict(line.split(":", 1) for line in MEMORY_FILE.read_text().splitlines() if ":" in line)
        total, free = (int(rows[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return 1024.0 * (total - free)
    except (OSError, ValueError, KeyError, IndexError):
        return None
