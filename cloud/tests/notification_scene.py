"""A notification service over real sockets: an SMTP server, a webhook's receiver, Mauka's bus, a store."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import zmq
from aiosmtpd.controller import Controller
from free_ports import free_port
from in_thread import in_thread

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import CloudConfig, StoreSection
from opq_cloud.core.settings.notifications import NotificationMqttSection, NotificationsSection
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.mauka.bus.incident_notice import INCIDENT, announced_notices, notices
from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.notifications.notification_service import Notifications
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.records.accounts.announcements import IncidentAnnouncements
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_proto.messages import Finding, Trigger
from opq_proto.wire.mauka_pb2 import MaukaMessage

LIMIT_S = 240.0
SECRET = "the webhook's secret"


class MailSink:
    """An SMTP server that keeps what it gets."""

    def __init__(self, **options: Any) -> None:
        self.mails: list[EmailMessage] = []
        self.arrived_s: list[float] = []
        self.port = free_port()
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, ready_timeout=LIMIT_S, **options
        )

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.arrived_s.append(time.time())
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"

    def __enter__(self) -> "MailSink":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


@dataclass
class HookReceiver:
    """A webhook's receiver; `answers` are given first, then 204. None: no answer until `release`."""

    answers: list[int | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    arrived_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver.answers.pop(0) if receiver.answers else 204
                receiver.arrived_s.append(time.time())
                receiver.requests.append((self.path, dict(self.headers.items()), body))
                if answer is None:
                    receiver.release.wait(LIMIT_S)
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook?from=opq"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in list(self.requests)]

    def __enter__(self) -> "HookReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class NotificationScene:
    """A store with accounts, rules and incidents, a bus, and the service while `running`."""

    def __init__(
        self, folder: Path, mail: MailSection | None = None, mqtt: NotificationMqttSection | None = None
    ) -> None:
        self.folder = folder
        self.store: CloudStore = open_store(None, folder)
        self.records = NotificationRecords(self.store.people.documents)
        self._zmq = zmq.Context()
        self._bus = self._zmq.socket(zmq.PUB)
        port = self._bus.bind_to_random_port("tcp://127.0.0.1")
        self.config = CloudConfig(
            store=StoreSection(data_dir=folder),
            view=ViewSection(public_url="https://pq.example.org", mail=mail or MailSection()),
            notifications=NotificationsSection(
                bus_endpoint=f"tcp://127.0.0.1:{port}",
                http_endpoint="127.0.0.1:0",
                watched_endpoint=f"127.0.0.1:{free_port()}",
                health_s=3600.0,
                poll_s=0.05,
                claim_s=0.5,
                private_hosts=("127.0.0.1",),
                mqtt=mqtt or NotificationMqttSection(),
            ),
        )
        self._writer = FindingWriter(lambda: self.store)
        self._events = 0
        self.service: Notifications | None = None

    def add_account(self, name: str, role: str = "owner", boxes: Sequence[str] = ()) -> str:
        """Its id; the Boxes are its own."""
        made = self.store.people.add_account(f"{name}@example.org", name, role, "no-hash")
        assert made is not None
        for box_id in boxes:
            self.store.people.change_access(
                box_id,
                lambda was: replace(was, owner_id=made.account_id),  # type: ignore[union-attr]
            )
        return made.account_id

    def share(self, box_id: str, privacy: str) -> None:
        def change(was: BoxAccess) -> BoxAccess:
            return replace(was, privacy=privacy)

        self.store.people.change_access(box_id, change)

    def add_rule(self, account_id: str, channel: str, **changes: Any) -> NotificationRule:
        rule_id = f"{len(self.records.rules()):02}{channel}"
        about = changes.pop("about", "incident")
        rule = NotificationRule(rule_id, account_id, f"{channel} of it", about, channel, 0)
        self.records.put_rule(replace(rule, **changes))
        return replace(rule, **changes)

    def put_findings(self, *findings: Finding, heard: bool = True, complete: bool = True) -> int:
        """Stored and joined as Mauka does; announced on the bus unless the message is to be lost.

        Returns the event; without `complete` it waits for `complete_event`.
        """
        self._events += 1
        first = findings[0]
        trigger = Trigger(
            f"event {self._events}", first.start_ns, first.end_ns, (first.box_id,), first.box_id, "test"
        )
        event_id = self.store.open_event(trigger, "test")
        done = self._writer.put_findings(event_id, findings)
        if complete:
            self.complete_event(event_id)
        for notice in notices(self.store, done):
            if heard:
                self._bus.send_multipart([INCIDENT.encode(), notice.message("test").SerializeToString()])

        return event_id

    def complete_event(self, event_id: int) -> None:
        """As the event service and Mauka do once all is stored and analysed."""
        self.store.finish_event(event_id)
        self.store.mark_analysed(event_id)

    def say_incident(self, number: int) -> None:
        """On the bus alone."""
        text = json.dumps({"kind": "incident_new", "incident": {"id": number}})
        self._bus.send_multipart([INCIDENT.encode(), MaukaMessage(incident_json=text).SerializeToString()])

    def edit(self, by_hand: Callable[[IncidentEditor], object]) -> None:
        """As a person does it on a page; said on the bus as the runner says it."""
        by_hand(IncidentEditor(self.store))
        waiting = IncidentAnnouncements(self.store.people.documents)
        while (oldest := waiting.oldest()) is not None:
            for notice in announced_notices(self.store, oldest):
                self._bus.send_multipart([INCIDENT.encode(), notice.message("test").SerializeToString()])
            waiting.remove(oldest)

    @contextmanager
    def running(self, **changes: Any) -> Iterator[Notifications]:
        """The service in a thread; its own store, as in a process of its own. changes: of its section."""
        shared = CloudContext(lambda: open_store(None, self.folder))
        config = replace(self.config, notifications=replace(self.config.notifications, **changes))
        self.service = service = Notifications(config, shared)
        with closing(shared), in_thread(service.run, until_ready=True):
            yield service

    def close(self) -> None:
        self._zmq.destroy(linger=0)
        self.store.close()


@contextmanager
def notification_scene(folder: Path, **sections: Any) -> Iterator[NotificationScene]:
    scene = NotificationScene(folder, **sections)
    try:
        yield scene
    finally:
        scene.close()


def sag_at(box_id: str, start_ns: int, percent: float = 60.0) -> Finding:
    return Finding(
        "sag",
        box_id,
        start_ns,
        start_ns + 158_000_000,
        1_000_000,
        residual_v=1.2 * percent,
        residual_percent=percent,
        itic="no_damage",
    )


Wait = Callable[[Callable[[], Any]], Any]
