"""Updates as a service on 8151: the repository in D/updates, reports of gateways, roll-outs.

With D/updates/online.pem it renews the signatures of time stamps, and signs plans when roll-outs continue or
stop. Without that key it serves the repository unchanged and only shows the plans."""

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.store.records.boxes.gateway_updates import GatewayUpdates
from opq_cloud.update.pages import Answer, UpdatePages
from opq_cloud.update.repository import ReleaseRepository
from opq_cloud.update.rollout import OpenTimes, advanced
from opq_proto.errors import OpqError, StoreError
from opq_proto.keys.key_files import read_key_file, read_secret_file
from opq_proto.keys.signing import read_private
from opq_proto.kit import log as logs
from opq_proto.kit.http_server import HttpServer, Reply, ReplyHandler
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.system_record import ID_HEADER
from opq_proto.release.plan import KINDS, ReleaseError
from opq_proto.release.report import HEADER, MAX_BYTES, Report, report_key, unseal

EVERY_S = 60.0
AHEAD_MS = 86_400_000
"""Limit of a report's time in the future, because a later report could not replace it before that time."""
LONGEST_S = 3600.0
"""Time limit for a bundle over a slow line."""
MOST_AT_ONCE = 64
DOWNLOADED_BYTES = 1 << 16


def as_received(kept: Mapping[str, Any]) -> Report:
    """A stored report with its arrival time, because a gateway's clock orders only that gateway's reports."""
    fields = dict(kept)
    fields["at_ms"] = fields.pop("received_ms", fields["at_ms"])
    return Report(**fields)


class UpdateService:
    """One per store; `all` runs it where D/updates exists."""

    name = "update"

    def __init__(self, config: CloudConfig, shared: CloudContext, data_dir: Path) -> None:
        self.counters = ServiceCounters()
        self.port = 0
        """The bound port; 0 until then."""
        self._endpoint = config.update.http_endpoint
        self._shared = shared
        self._keys = CloudKeys(config.keys, data_dir)
        folder = data_dir / "updates"
        self._repository = ReleaseRepository(folder)
        packages = folder / "box-updates"
        self._pages = UpdatePages(self._repository, packages, lambda: self._problem, shared.system)
        self._online = folder / "online.pem"
        self._due = threading.Event()
        self._times = OpenTimes()
        self._problem: str | None = None
        self._log = RateLimitedLog(logs.get(service="update"))

    def health(self) -> list[HealthReport]:
        return [HealthReport(self.name, self._problem is None, info=self._problem)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Serves until `stop`. Raises PortBusyError, StoreError or ConfigError when it cannot start."""
        updates = GatewayUpdates(self._shared.store.people.documents)
        server = HttpServer(
            "update", self._endpoint, self._handler(updates), most_at_once=MOST_AT_ONCE, longest_s=LONGEST_S
        )
        server.start()
        self.port = server.port
        try:
            if ready is not None:
                ready.set()
            while not stop.is_set():
                self._due.clear()  # first, so that a report that arrives meanwhile counts in the next round
                self._advance(updates)
                until_s = time.monotonic() + EVERY_S
                while not stop.wait(0.2) and not self._due.is_set() and time.monotonic() < until_s:
                    pass
        finally:
            server.end()

    def _advance(self, updates: GatewayUpdates) -> None:
        """Renews signatures that are due, and continues the plans."""
        try:
            if not self._repository.exists:
                return
            online = read_private(self._online) if self._online.is_file() else None
            if online is not None and self._repository.renew(online):
                self.counters.add("renewals")
            reports = [as_received(each) for each in updates.reports()]
            for kind in KINDS:
                self._advance_plan(kind, reports, online, updates)
            self._problem = None
        except (OpqError, OSError) as error:
            self._problem = str(error)
            self._log.warning("update.failed", error=str(error))

    def _advance_plan(
        self, kind: str, reports: Sequence[Report], online: PrivateKeyTypes | None, updates: GatewayUpdates
    ) -> None:
        plan = self._repository.plan(kind)
        if plan is None:
            return
        new = advanced(plan, reports, time.time_ns() // 1_000_000, self._times)
        if new != plan and online is not None:
            self._repository.put_plan(new, online)
            self.counters.add("rollout_steps")
            event = "rollout.stopped" if new.stopped else "rollout.step"
            self._log.info(event, kind=kind, version=new.version, share=new.share, why=new.stopped)
        updates.put_plan(kind, {**(plan if online is None else new).fields(), "signs": online is not None})

    def accept_report(self, body: bytes, header: str, updates: GatewayUpdates) -> Reply:
        """Stores the report of a gateway, if the key of its Box is admitted."""
        try:
            box = self._keys.box_public(self._keys.checked_id(header.partition(" ")[0]))
            secret = read_secret_file(self._keys.server_secret).secret or b""
            report = unseal(body, header, report_key(secret, read_key_file(box).public))
            now_ms = time.time_ns() // 1_000_000
            if report.at_ms > now_ms + AHEAD_MS:
                raise ReleaseError(f"the clock of gateway {report.gateway} is more than a day ahead")
            if not updates.put_report(report.gateway, {**asdict(report), "received_ms": now_ms}):
                return 409, "text/plain", b"a newer report is there"
        except StoreError as error:
            return 503, "text/plain", str(error).encode()
        except (OpqError, ValueError) as error:
            self.counters.add("reports_refused")
            self._log.warning("report.refused", reason=str(error))
            return 403, "text/plain", b"refused"
        self.counters.add("reports")
        self._due.set()
        return 204, "text/plain", b""

    def _handler(self, updates: GatewayUpdates) -> type[ReplyHandler]:
        service = self

        class UpdateHandler(ReplyHandler):
            def do_GET(self) -> None:
                service.counters.add("requests")
                path, header = self.path.partition("?")[0], self.headers[ID_HEADER]
                answer = service._pages.answer(path, self.from_this_machine, header)
                if answer.file is None:
                    self.send_reply(answer.reply, dict(answer.headers))
                else:
                    self._send_file(answer, answer.file)

            def do_POST(self) -> None:
                text = self.headers.get("Content-Length", "")
                length = int(text) if text.isascii() and text.isdigit() else MAX_BYTES + 1
                if self.path != "/report" or length > MAX_BYTES:
                    self.send_reply((404, "text/plain", b"nothing is posted there"))
                    return
                body = self.read_body(length)
                self.send_reply(service.accept_report(body, self.headers.get(HEADER, ""), updates))

            def _send_file(self, answer: Answer, path: Path) -> None:
                with path.open("rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", str(path.stat().st_size))
                    for name, value in answer.headers:
                        self.send_header(name, value)
                    self.end_headers()
                    shutil.copyfileobj(file, self.wfile, DOWNLOADED_BYTES)

        return UpdateHandler
