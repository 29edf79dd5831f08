"""kill -9 of the real reporter, again and again while it makes and mails reports: each is there once."""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from free_ports import free_offset
from notification_scene import MailSink
from report_days import day_before_yesterday

from opq_cloud.core.settings.reports import ReportsSection
from opq_cloud.reports.report_schedule import ReportSchedule
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_proto.decision import Nominal
from opq_proto.messages import Interval, Measurement
from opq_sim.faults.parts.fork_server import ForkServer
from opq_sim.faults.parts.stepped_clock import put_step_ns

TEN_NS = 600 * 10**9
BOXES = 8
MODULES = ("opq_cloud.__main__", "opq_cloud.serving", "opq_cloud.notifications.notification_service")
DUE_S = 120.0
MADE = "made_ms"
"""The one key of a report that says when it was made."""


def fill(folder: Path, day: str) -> str:
    """Stores some Boxes' values of the week that is due since that day; returns its name."""
    section = ReportsSection(day=day, hour=0, zone="UTC")  # type: ignore[arg-type]
    schedule = ReportSchedule(section, folder, Nominal(230.0, 50.0), None, "")
    week = schedule.due_week(time.time_ns())
    numbers = count(1)
    store = open_store(None, folder)
    try:
        for box in range(1, BOXES + 1):
            store.put_box(BoxRecord(str(box), "", nominal_v=230.0, nominal_hz=50.0))
            rows = []
            for start_ns in range(week.start_ns, week.end_ns, 6 * TEN_NS):
                interval = Interval(600_000, False, 1.0, {"rms_v": 225.0 + box, "f_hz": 50.0})
                end_ns = start_ns + TEN_NS
                at = {"sequence": next(numbers), "interval": interval}
                rows.append(Measurement(str(box), end_ns // 10**6, {}, start_ns, end_ns, 1000, **at))  # type: ignore[arg-type]
            store.intervals.append(rows)
    finally:
        store.close()
    return week.name


class Reporter:
    """`opq-cloud notifications` with a report for each Box, since the midnight of that day."""

    def __init__(self, folder: Path, day: str, mail_port: int, server: ForkServer) -> None:
        self.reports, self._clock, self._server = folder / "D" / "reports", folder / "clock", server
        put_step_ns(self._clock, 0)
        settings = {
            "data_dir": str(folder / "D"),
            "view": {"mail": {"server": f"127.0.0.1:{mail_port}", "security": "none"}},
            "reports": {
                "day": day,
                "hour": 0,
                "format": "json",
                "places": ["all", *(f"box:{box}" for box in range(1, BOXES + 1))],
                "addresses": ["grid@example.org"],
            },
        }
        config = folder / "cloud.toml"
        config.write_text(tomli_w.dumps(settings))
        where = ["--config", str(config), "--port-offset", str(free_offset())]
        self._words = ["opq_cloud", "notifications", *where]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Killed at the end of the block."""
        process = self._server.start(self._clock, self._words)
        try:
            yield
            assert process.runs, process.stderr.read().decode()[-2000:]
        finally:
            process.send_signal(signal.SIGKILL)
            process.ended()
            process.stderr.close()

    def is_done(self, wanted: set[str]) -> bool:
        """Whether each report is made and mailed."""
        return {path.name[1:].removesuffix(".mailed") for path in self.reports.glob(".*.mailed")} == wanted

    def work_s(self, wanted: set[str]) -> float:
        """How long it works, from the first file on, without a kill."""
        with self.running():
            wait_until(lambda: any(self.reports.glob("*")), "the first file without a kill")
            began_s = time.monotonic()
            wait_until(lambda: self.is_done(wanted), "all reports without a kill")
            return time.monotonic() - began_s

    def made(self) -> dict[str, Any]:
        """Name of each report -> its document; each file is whole, at any moment."""
        return {path.name: json.loads(path.read_text()) for path in self.reports.glob("*.json")}


def wait_until(there: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + DUE_S
    while not there():
        assert time.monotonic() < until_s, f"not within {DUE_S:g} s: {what}"
        time.sleep(0.001)


def sentences_of(document: dict[str, Any]) -> list[str]:
    """Of the first report of a file."""
    found: list[str] = (document["reports"][0] if "reports" in document else document)["sentences"]
    return found


def undated(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != MADE}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("kills", "at"),
    [
        (3, "steps"),
        pytest.param(3, "any time", marks=pytest.mark.slow),
        pytest.param(30, "steps", marks=pytest.mark.slow),
        pytest.param(60, "any time", marks=pytest.mark.slow),
    ],
)
def test_a_killed_reporter_makes_and_mails_each_report(tmp_path: Path, kills: int, at: str) -> None:
    """Each kill falls after some step of the work, the next file or the next mail; or at any time of it."""
    chance = random.Random(kills)
    (tmp_path / "D").mkdir()
    day = day_before_yesterday()
    week = fill(tmp_path / "D", day)
    wanted = {f"{week}-{place}-en50160.json" for place in ("all", *(f"box-{n}" for n in range(1, BOXES + 1)))}
    counts: Counter[str] = Counter()
    with MailSink() as sink, ForkServer(MODULES) as server:
        reporter = Reporter(tmp_path, day, sink.port, server)
        first: dict[str, Any] = {}
        work_s = reporter.work_s(wanted) if at == "any time" else None
        while counts["kills"] < kills:
            counts["rounds"] += 1
            done = one_round(reporter, sink, wanted, chance, counts, work_s)
            first = first or {name: undated(report) for name, report in done.items()}
            assert {name: undated(report) for name, report in done.items()} == first
    print(dict(counts))
    assert counts["kills"] >= kills


def one_round(
    reporter: Reporter,
    sink: MailSink,
    wanted: set[str],
    chance: random.Random,
    counts: Counter[str],
    work_s: float | None,
) -> dict[str, Any]:
    """Kills the reporter again and again until all is made and mailed; returns the reports.

    `work_s`: how long it works without a kill; kills come at any time of it. None: a kill follows on a step.
    """
    for path in reporter.reports.glob("*"):
        path.unlink()
    sink.mails.clear()
    kept: dict[str, Any] = {}
    kills = 0

    def steps() -> int:
        return sum(1 for _ in reporter.reports.glob("*.json")) + len(sink.mails)

    def files() -> set[str]:
        return {path.name for path in reporter.reports.glob("*")}

    while not reporter.is_done(wanted):
        with reporter.running():
            goal = steps() + (chance.randint(1, 5) if work_s is None else 0)
            before = files()
            wait_until(
                lambda goal=goal, before=before: (  # type: ignore[misc]
                    reporter.is_done(wanted)
                    or (steps() >= goal if work_s is None else files() != before or steps() > goal)
                ),
                "the next step of the reporter",
            )
            time.sleep(
                chance.choice((0.0, 0.001, 0.003, 0.01)) if work_s is None else chance.uniform(0.0, work_s)
            )
        kills += 1
        made = reporter.made()
        assert kept.items() <= made.items(), "a report was made again"
        kept = made
    sent = Counter(str(mail["Message-ID"]) for mail in sink.mails)
    assert set(sent) == {f"<{name}@opq.reports>" for name in wanted}
    assert sum(sent.values()) <= len(wanted) + kills
    for mail in sink.mails:
        text = mail.get_body(("plain",)).get_content()
        name = str(mail["Message-ID"])[1:].partition("@")[0]
        attached = [part.get_payload(decode=True) for part in mail.iter_attachments()]
        assert attached == [(reporter.reports / name).read_bytes()], "the mail has the file"
        assert sentences_of(kept[name])[0] in " ".join(text.split()), "the mail says first what failed"
    assert set(kept) == wanted
    marks = {f".{name}.mailed" for name in wanted}
    assert {path.name for path in reporter.reports.iterdir()} == wanted | marks, (
        "a kill left a part of a file"
    )
    counts["kills"] += kills
    counts["mailed twice"] += sum(sent.values()) - len(sent)
    return kept
