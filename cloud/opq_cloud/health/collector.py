"""The health collector: reads the services that the configuration names, judges and records their health.

Each turn requests all services at once. Alerts are in the log and in `/alerts` of the same address, which
notifications read. The original's collection `health` gets a document for each component every RECORD_S. Slow
readings (the store, programs, a certificate) have their own thread, so that a hanging store does not delay an
alert.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opq_cloud.core.service import CloudContext, HealthReport
from opq_cloud.core.service_conditions import CONDITIONS, HealthJudge, Reading, Verdict
from opq_cloud.core.settings.config import HealthSection
from opq_cloud.health.machine import BY_STORE, disk_reading, newest_reading, send_ping, slow_readings
from opq_cloud.health.neighbours import Neighbours, report_of
from opq_cloud.health.readings import Answer, AnswerReader, flat, out_of_service
from opq_cloud.health.stored_boxes import StoredBoxes
from opq_cloud.store.records.accounts.account_records import HEALTH
from opq_proto.errors import StoreError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.system_verdict import WHOLE_SYSTEM
from opq_proto.time_units import HOUR_MS

log = logs.get(service="health")

RECORD_S = 20.0
"""Interval of documents in `health`, as in the original (docs/reference/opq-interop.md A.11)."""
KEPT_MS = HOUR_MS
SLOW_S = 60.0
NEWEST_S = 10.0
"""Interval at which the newest Measurement (in MongoDB one query for each Box) and the Boxes are read."""
LEAST_PAUSE_S = 0.2
"""Pause between two turns where one takes longer than the interval."""
NOTIFIER = "notifications"
BACKUPS = "backups"
"""Without `health.backups`, archives are looked for in this folder of the data folder, if it exists."""


class HealthCollector:
    """Counters: `asked`, `not_answered`, `alerts`, `recoveries`, `ill_now`, `pings`, `pings_failed`."""

    name = "health.collector"

    def __init__(
        self,
        section: HealthSection,
        shared: CloudContext,
        neighbours: Neighbours,
        folder: Path,
        keys: KeyFolder,
        public_url: str | None,
        own: Callable[[], HealthReport] | None = None,
    ) -> None:
        """`folder`: the data folder; `own`: the health of this process, where it has the cloud's services."""
        self.counters = neighbours.counters
        for counted in ("asked", "not_answered", "alerts", "recoveries"):
            self.counters.add(counted, 0)
        self._section, self._shared, self._folder = section, shared, folder
        self._backups = section.backups or folder / BACKUPS
        self._boxes = StoredBoxes(lambda: shared.store, keys)
        self._public_url, self._own = public_url, own
        self._neighbours = neighbours
        self._judge, self._reader = HealthJudge(), AnswerReader(version("opq-toolkit"))
        self._answers: Sequence[Answer] = ()
        self._verdicts: Mapping[str, Verdict] = {}
        self._slow: Sequence[Reading] = ()
        self._shares: Mapping[str, float] = {}
        self._without: Mapping[str, str] = {}
        """Box that is not expected to send -> why."""
        self._newest_ms: int | None = None
        self._busy: dict[str, Future[None]] = {}
        self._due_s: dict[str, float] = {}
        self._heard: dict[str, Mapping[str, int]] = {}
        """Ill Box -> its `Reading.report` at the time when it became ill."""
        self._limited = RateLimitedLog(log)

    def health(self) -> Iterable[HealthReport]:
        """Reports the services of other processes, if this process runs none."""
        if self._own is not None:
            return []
        found = tuple(map(report_of, self._answers))
        down = [each.name for each in found if not each.ok]
        info = f"down: {', '.join(down)}" if down else None
        own = HealthReport(self.name, not down, info=info)
        return [own, HealthReport("neighbours", not down, info=info, subcomponents=found)]

    def alerts(self) -> HealthReport:
        """Returns the verdicts in the form of health: one part per subject, not ok while it is ill."""
        parts = [self._report(each) for each in self._verdicts.values() if each.ill is not None]
        ill = [each.name for each in parts if not each.ok]
        return HealthReport(
            WHOLE_SYSTEM, not ill, info=f"ill: {', '.join(ill)}" if ill else None, subcomponents=tuple(parts)
        )

    def _report(self, verdict: Verdict) -> HealthReport:
        """Returns the report of an ill Box from the time when it became ill, even if it was heard again since
        then.
        """
        reading = verdict.reading
        info, helps = (reading.info, CONDITIONS[reading.condition].helps) if verdict.ill else (None, "")
        report = HealthReport(reading.name, not verdict.ill, info=info, note=reading.note, helps=helps)
        if heard := self._heard.get(reading.name, reading.report):
            return replace(report, timestamp_s=heard["timestamp"], received_s=heard["received"])
        return report

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        neighbours = self._neighbours
        slow = ThreadPoolExecutor(4, "health.slow")
        try:
            while not stop.is_set():
                due_s = time.monotonic() + self._section.interval_s
                self._turn(neighbours.read(), slow)
                if ready is not None:
                    ready.set()
                # A service that hangs delays a turn, and with it the time after which it is ill.
                stop.wait(max(LEAST_PAUSE_S, due_s - time.monotonic()))
        finally:
            slow.shutdown(wait=False, cancel_futures=True)

    def _turn(self, answers: list[Answer], slow: ThreadPoolExecutor) -> None:
        if self._own is not None:
            answers.insert(0, Answer(WHOLE_SYSTEM, self._own().as_json()))
        self._answers = answers
        now_s, wall_s = time.monotonic(), time.time()
        readings = self._reader.readings(answers, self._without, now_s, wall_s)
        others = [disk_reading(self._folder), *self._slow, self._newest()]
        others += out_of_service(self._judge.verdicts, self._without)
        changed = self._judge.accept([*readings, *others], now_s)
        self._verdicts = {each.reading.name: each for each in self._judge.verdicts}
        for verdict in changed:
            self._note(verdict)
        self.counters.set("ill_now", sum(bool(each.ill) for each in self._verdicts.values()))
        self._begin(slow, "record", RECORD_S, lambda: self._record(answers))
        self._begin(slow, "boxes", NEWEST_S, self._read_boxes)
        self._begin(slow, "store", SLOW_S, self._read_shares)
        self._begin(slow, "newest", NEWEST_S, self._read_newest)
        self._begin(slow, "machine", SLOW_S, self._read_machine)
        notifier = self._verdicts.get(NOTIFIER)
        can_notify = notifier is None or not (notifier.ill or notifier.reading.value)
        if self._section.ping_url is not None and can_notify:
            self._begin(slow, "ping", SLOW_S, self._ping)

    def _note(self, verdict: Verdict) -> None:
        reading, facts = verdict.reading, CONDITIONS[verdict.reading.condition]
        if verdict.ill:
            self._heard[reading.name] = reading.report
        else:
            self._heard.pop(reading.name, None)
        self.counters.add("alerts" if verdict.ill else "recoveries", label=reading.condition)
        say = log.warning if verdict.ill else log.info
        say(
            "health.ill" if verdict.ill else "health.well",
            name=reading.name,
            condition=reading.condition,
            value=reading.value,
            limit=facts.limit if verdict.ill else facts.recovery,
            turned_s_ago=round(self._judge.now_s - verdict.since_s, 1),
            info=reading.info,
        )

    def _begin(self, slow: ThreadPoolExecutor, name: str, every_s: float, job: Callable[[], None]) -> None:
        """Starts a job that is due, unless its last run has not ended."""
        now_s, busy = time.monotonic(), self._busy.get(name)
        if now_s < self._due_s.get(name, 0.0) or (busy is not None and not busy.done()):
            return
        self._due_s[name] = now_s + every_s
        if busy is not None:
            del self._busy[name]
            busy.result()  # raises the exception of the last run
        self._busy[name] = slow.submit(self._contained, name, job)

    def _contained(self, name: str, job: Callable[[], None]) -> None:
        try:
            job()
        except StoreError as error:
            self.counters.add("store_errors")
            self._limited.warning("health.store_failed", job=name, error=str(error))

    def _record(self, answers: Sequence[Answer]) -> None:
        """Writes the original's collection."""
        now = datetime.now(UTC)
        now_ms = int(now.timestamp() * 1000)
        rows = [{"service": "HEALTH", "serviceID": "", "status": "UP", "info": "", "timestamp": now}]
        for answer in answers:
            report = report_of(answer)
            rows += [self._row(part, now) for part in flat(report.as_json())]
        documents = {f"{now_ms:013d}.{number:06d}": row for number, row in enumerate(rows)}
        self._shared.store.people.documents.add_all(HEALTH, documents, f"{now_ms - KEPT_MS:013d}")

    def _row(self, part: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        name, box = str(part["name"]), str(part["name"]).isdigit()
        share = self._shares.get(name) if box else None
        measured = "" if share is None else f"measured {share:.1%} of the last hour"
        return {
            "service": "BOX" if box else name.upper(),
            "serviceID": name if box else "",
            "status": "UP" if part["ok"] else "DOWN",
            "info": str(part.get("info") or measured),
            "timestamp": now,
        }

    def _read_boxes(self) -> None:
        """Reads which Boxes are not expected, before one that was retired just now counts as silent."""
        self._without = self._boxes.not_expected()

    def _read_shares(self) -> None:
        """Reads how much of the last hour each Box in service measured."""
        self._shares = self._boxes.measured_shares()

    def _read_newest(self) -> None:
        self._newest_ms = self._shared.store.newest_ms()

    def _newest(self) -> Reading:
        clocks = (each.reading for each in self._verdicts.values() if each.reading.condition == "clock")
        return newest_reading(self._newest_ms, [each.name for each in clocks if each.name != BY_STORE])

    def _read_machine(self) -> None:
        now_s, verdicts = self._judge.now_s, self._verdicts
        found = list(slow_readings(self._boxes.keys.server_secret, self._backups, self._public_url))
        for name, share in self._shares.items():
            heard = verdicts.get(name)  # a silence in the last hour has already been an alert
            if heard is not None and heard.ill is False and now_s - heard.since_s > HOUR_MS / 1000:
                info = f"it measured {share:.1%} of the last hour"
                found.append(Reading("availability", f"availability of Box {name}", 1 - share, info, (name,)))
        self._slow = found

    def _ping(self) -> None:
        """Requests the address of a monitoring service, to show that health and notifications run."""
        try:
            send_ping(str(self._section.ping_url))
            self.counters.add("pings")
        except OSError as error:
            self.counters.add("pings_failed")
            self._limited.warning("health.ping_failed", error=str(error))
