"""Kill -9 in mid-notification: the receiver gets it once after the restart, under its id, and no more."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_offset, free_port
from notification_scene import (
    LIMIT_S,
    SECRET,
    HookReceiver,
    MailSink,
    NotificationScene,
    notification_scene,
    sag_at,
)
from report_days import day_before_yesterday
from waiting import wait_for

from opq_cloud.store import BoxRecord

CONFIG = """
[notifications]
bus_endpoint = "tcp://127.0.0.1:{bus}"
private_hosts = ["127.0.0.1"]
claim_s = 0.5
poll_s = 0.1
[view.mail]
server = "127.0.0.1:{mail}"
security = "none"
"""


class SlowSink(MailSink):
    """Keeps its first client waiting in the middle of a mail, before it has taken anything."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        super().__init__()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _: Any) -> str:  # noqa: N802
        if not self.begun.is_set():
            self.begun.set()
            await asyncio.sleep(LIMIT_S)
        envelope.rcpt_tos.append(address)
        return "250 taken"


def start(scene: NotificationScene, mail_port: int = 1, more: str = "") -> "subprocess.Popen[bytes]":
    config = scene.folder / "cloud.toml"
    config.write_text(CONFIG.format(bus=free_port(), mail=mail_port) + more, encoding="utf-8")
    command = [sys.executable, "-m", "opq_cloud", "notifications", "--config", str(config)]
    where = ["--data-dir", str(scene.folder), "--port-offset", str(free_offset())]
    return subprocess.Popen([*command, *where], stderr=subprocess.DEVNULL)


def kill_while_sending(
    scene: NotificationScene, account: int, sending: Callable[[], object], mail_port: int = 1
) -> None:
    """Kills the service while it sends a first incident, starts it again, and waits until two are sent."""

    def states() -> list[str]:
        return [each.state for each in scene.records.entries(account)]

    now_ns = time.time_ns()
    scene.put_findings(sag_at("1", now_ns - 60 * 10**9), heard=False)
    process = start(scene, mail_port)
    try:
        sending()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert states() == ["sending"]
        process = start(scene, mail_port)
        wait_for(lambda: states() == ["sent"])
        scene.put_findings(sag_at("1", now_ns - 300 * 10**9), heard=False)  # comes after all of the first
        wait_for(lambda: states() == ["sent"] * 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_delivery_is_sent_once(tmp_path: Path) -> None:
    """A message in progress at the kill is sent once after the restart."""
    with HookReceiver([None]) as hook, notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", boxes=("1",))
        scene.add_rule(ada, "webhook", url=hook.url, secret=SECRET)
        kill_while_sending(scene, ada, lambda: wait_for(lambda: hook.requests))
        first, again, other = (each["id"] for each in hook.bodies)
        assert first == again != other


@pytest.mark.slow
def test_a_killed_mail_is_sent_once(tmp_path: Path) -> None:
    """A mail whose sender was killed comes once after the restart."""
    with SlowSink() as sink, notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", boxes=("1",))
        scene.add_rule(ada, "mail")
        kill_while_sending(scene, ada, lambda: wait_for(sink.begun.is_set), sink.port)
        assert len({mail["Message-ID"] for mail in sink.mails}) == len(sink.mails) == 2


class PausingSink(MailSink):
    """Says when a recipient and when a whole mail has come; answers the mail only if it is not to wait."""

    def __init__(self) -> None:
        self.begun, self.whole, self.waits = threading.Event(), threading.Event(), True
        super().__init__()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _: Any) -> str:  # noqa: N802
        self.begun.set()
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        self.whole.set()
        if self.waits:
            await asyncio.sleep(LIMIT_S)
        return answer


REPORTS = """
[reports]
day = "{day}"
hour = 0
zone = "UTC"
format = "json"
places = ["all", "box:1"]
addresses = ["grid@example.org"]
"""


@pytest.mark.slow
def test_a_killed_report_is_mailed_once(tmp_path: Path) -> None:
    """Killed at the folder, at the first file, within the mail, and once the server has it.

    The folder has it once, and each mail of it has one Message-ID.
    """
    with PausingSink() as sink, notification_scene(tmp_path) as scene:
        scene.store.put_box(BoxRecord("1", "kitchen"))
        folder, reports = tmp_path / "reports", REPORTS.format(day=day_before_yesterday())

        def run() -> "subprocess.Popen[bytes]":
            return start(scene, sink.port, reports)

        def kill_when(reached: Callable[[], object]) -> None:
            process = run()
            try:
                wait_for(reached)
            finally:
                process.kill()
                process.wait()

        kill_when(folder.exists)
        kill_when(lambda: any(folder.iterdir()))
        kill_when(sink.begun.is_set)
        before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
        kill_when(sink.whole.is_set)
        sink.waits = False
        process = run()
        try:
            wait_for(lambda: len(list(folder.glob(".*.mailed"))) == 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(240) == 0
        finally:
            process.kill()
            process.wait()
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        assert [name.split("-", 2)[2] for name in names] == ["all-en50160.json", "box-1-en50160.json"]
        for name in names:
            whole = (folder / name).read_bytes()
            assert json.loads(whole)["standard"] == "en50160"
            assert before.get(name, whole) == whole, "what was there before a kill stays as it was"
        numbers = [mail["Message-ID"] for mail in sink.mails]
        assert {*numbers} == {f"<{name}@opq.reports>" for name in names}
        assert 3 <= len(numbers) <= 4, "twice only what the server had when the sender was killed"
        left = [path.name for path in folder.iterdir() if path.name not in names]
        assert sorted(left) == sorted(f".{name}.mailed" for name in names), "no half file is left"
