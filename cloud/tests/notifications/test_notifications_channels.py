"""Channels and what feeds them: addresses that are refused, mail over TLS, rows of stream rules, health."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from notification_scene import SECRET, HookReceiver, MailSink, notification_scene
from waiting import wait_for

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.view import MailSection
from opq_cloud.notifications.health_watch import HealthWatch
from opq_cloud.notifications.message_texts import MAX_IN_A_MAIL, mail_of
from opq_cloud.notifications.rows_endpoint import RowsEndpoint
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.notifications.webhook_channel import DeliveryRefusedError, opened
from opq_cloud.store import BoxRecord
from opq_cloud.store.records.accounts.notifications import NotificationEntry
from opq_cloud.view.web.links import make_ticket
from opq_proto.errors import StoreError
from opq_proto.kit.address_guard import AddressGuard
from opq_proto.kit.http_server import HttpServer, ReplyHandler
from opq_rules.sinks import notify

UTC_ZONE = ZoneInfo("UTC")


def test_a_private_address_is_never_connected() -> None:
    """A name is resolved once and no address of it that is private is connected to."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        asked: list[str] = []

        def resolve(host: str, _: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1", "::1", "169.254.169.254"]

        guard = AddressGuard(resolve=resolve)
        with pytest.raises(DeliveryRefusedError, match=r"rebinding\.example is on this machine"):
            opened(guard, f"http://rebinding.example:{port}/", 1.0)
        assert asked == ["rebinding.example"]
        with pytest.raises(BlockingIOError):
            listener.accept()
        allowed = AddressGuard(("Rebinding.Example",), resolve=resolve)
        with closing(opened(allowed, f"http://rebinding.example:{port}/", 30.0)) as connection:
            assert connection.host == "rebinding.example"
            assert connection.sock.getpeername() == ("127.0.0.1", port)


@pytest.mark.parametrize(
    "url", ["http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:7f00:1]/"]
)
def test_other_spellings_of_loopback_are_refused_too(url: str) -> None:
    with pytest.raises((DeliveryRefusedError, OSError)):
        opened(AddressGuard(), url, 1.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, plain))
    return paths


def entry(headline: str, number: str = "id") -> NotificationEntry:
    return NotificationEntry(number, "a", "r", "Rule\r\nBcc: x@y.z", "mail", "incident", headline, 1, 1)


def options_of(security: str, certificate: tuple[Path, Path]) -> dict[str, object]:
    """For a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if security == "starttls":
        return {"tls_context": context, "require_starttls": True}
    return {"ssl_context": context} if security == "tls" else {}


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_mail_goes_through_any_server(
    security: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    message = mail_of([(entry("Sag"), "")], "ada@example.org", "opq@example.org", UTC_ZONE, "https://v/n")
    with MailSink(**options_of(security, certificate)) as sink:
        MailServer(MailSection(server=f"127.0.0.1:{sink.port}", security=security)).deliver(message)
        (taken,) = sink.mails
    assert taken["Subject"] == "[OPQ] Sag" and taken["Message-ID"] == "<id@opq.notifications>"


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_needs_a_trusted_certificate(security: str, certificate: tuple[Path, Path]) -> None:
    """A server of a few lines: an asyncio one that is stopped in a broken handshake leaves its transport."""
    context = options_of("tls", certificate)["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    message = mail_of([(entry("Sag"), "")], "ada@example.org", "opq@example.org", UTC_ZONE, "https://v/n")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                if security == "starttls":
                    for answer in (b"220 here\r\n", b"250-here\r\n250 STARTTLS\r\n", b"220 go\r\n"):
                        peer.sendall(answer)
                        if answer != b"220 go\r\n":
                            peer.recv(1000)
                with context.wrap_socket(peer, server_side=True) as secure:
                    secure.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            MailServer(MailSection(server=f"127.0.0.1:{port}", security=security)).deliver(message)
        thread.join()


def test_several_entries_are_one_mail() -> None:
    """No text becomes a header or a tag."""
    items = [
        (entry(f"<b>Sag</b> {number}\r\nX: y", str(number)), f"https://v/{number}") for number in range(103)
    ]
    message = mail_of(items, "ada@example.org", "opq@example.org", UTC_ZONE, "https://v/n")
    assert message["Subject"] == "[OPQ] 103 notifications: Rule Bcc: x@y.z" and message["Bcc"] is None
    text, page = (part.get_content() for part in message.iter_parts())
    assert text.count("https://v/") == MAX_IN_A_MAIL + 1 and "3 more are in the log." in text
    assert "<b>" not in page and "&lt;b&gt;Sag&lt;/b&gt; 7" in page
    one = mail_of([(entry("Sag\r\nBcc: eve@x.y"), "")], "a@b.c", "o@b.c", UTC_ZONE, "u")
    assert one["Subject"] == "[OPQ] Sag Bcc: eve@x.y" and one["Bcc"] is None


@pytest.fixture
def posted(tmp_path: Path) -> Iterator[tuple]:
    with notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", boxes=("3",))
        scene.share("4", "nothing")
        token = make_ticket(scene.store.people, "notify", 3600, account_id=ada, label="rules")
        scene.add_rule(ada, "webhook", about="stream_rule", url="https://example.org", least_severity=4.0)
        counters = ServiceCounters()
        endpoint = RowsEndpoint(scene.store.people, RuleBook(scene.store.people, counters), counters)
        yield scene, endpoint, token, ada


def test_a_row_is_added_once(posted: tuple) -> None:
    """A row is added once for the account of its token."""
    scene, endpoint, token, ada = posted
    row = {
        "id": "r1:7",
        "rule": "r1",
        "text": "THD 9 % at Box 3",
        "severity": 5,
        "box_id": "3",
        "row": {"thd": 9},
    }
    answers = [endpoint.reply(f"Bearer {token}", json.dumps(row).encode()) for _ in range(2)]
    assert [(status, json.loads(body)) for status, _, body in answers] == [
        (202, {"accepted": 1}),
        (202, {"accepted": 0}),
    ]
    (made,) = scene.records.entries(ada)
    assert (made.kind, made.headline, made.box_ids) == ("rule", "THD 9 % at Box 3", ("3",))
    assert json.loads(made.content) == {"rule": "r1", "row": {"thd": 9}, "severity": 5}
    weak = endpoint.reply(f"Bearer {token}", json.dumps({**row, "id": "x", "severity": 3}).encode())
    assert json.loads(weak[2]) == {"accepted": 0}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"box_id": "4"}, 403),
        ({"text": ""}, 400),
        ({"text": 5}, 400),
        ({"severity": "high"}, 400),
        ({"severity": 11}, 400),
        ({"severity": True}, 400),
        ({"id": "x" * 201}, 400),
        ({"text": "x" * 301}, 400),
    ],
)
def test_a_row_that_is_none_is_refused(posted: tuple, change: dict, status: int) -> None:
    scene, endpoint, token, ada = posted
    answer = endpoint.reply(f"Bearer {token}", json.dumps({"text": "row", **change}).encode())
    assert answer[0] == status and scene.records.entries(ada) == []
    for body in (b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000):
        assert endpoint.reply(f"Bearer {token}", body)[0] == 400


def test_a_row_needs_a_notification_token(posted: tuple) -> None:
    """Without a token for notifications no message is sent, and a flood is held."""
    scene, endpoint, token, ada = posted
    reads = make_ticket(scene.store.people, "token", 3600, account_id=ada, label="reads")
    ended = make_ticket(scene.store.people, "notify", -1, account_id=ada, label="ended")
    for authorization in (
        "",
        "Bearer",
        f"Bearer {reads}",
        f"Bearer {ended}",
        f"Basic {token}",
        "Bearer opq_x",
    ):
        assert endpoint.reply(authorization, b'{"text": "x"}')[0] == 401
    answers = [endpoint.reply(f"Bearer {token}", b"{}")[0] for _ in range(100)]
    assert answers[:60] == [400] * 60 and 429 in answers[60:]


def test_the_sink_of_a_stream_rule_reaches_people(tmp_path: Path) -> None:
    with HookReceiver() as hook, notification_scene(tmp_path) as scene:
        ada = scene.add_account("ada", boxes=("3",))
        token = make_ticket(scene.store.people, "notify", 3600, account_id=ada, label="rules")
        scene.add_rule(ada, "webhook", about="stream_rule", url=hook.url, secret=SECRET)
        with scene.running() as service:
            url = f"http://127.0.0.1:{service.port}/notify"
            sink = notify.Sink()
            sink.configure(
                {"token": token, "url": url, "text": "THD {{.thd}} at Box {{.box}}", "timeout": 60_000}
            )
            sink.open(SinkFacts())
            for _ in range(2):  # the second is a retry
                sink.collect(SinkFacts(("r:1", "r:2")), [{"box": 3, "thd": 9.5}, {"box": 3.0, "thd": 10.0}])
            with pytest.raises(ValueError, match="answered 403"):
                sink.collect(SinkFacts(("r:3",)), [{"box": 4, "thd": 9.5}])
            sink.close(SinkFacts())
            assert httpx.get(url, timeout=240).status_code == 405
            wait_for(lambda: len(hook.requests) == 2)
            wait_for(lambda: all(each.state == "sent" for each in scene.records.entries(ada)))
        said = sorted((each["kind"], each["rule"], each["row"]["thd"]) for each in hook.bodies)
        assert said == [("rule", "r", 9.5), ("rule", "r", 10.0)]
        assert {each.headline for each in scene.records.entries(ada)} == {
            "THD 9.5 at Box 3",
            "THD 10.0 at Box 3.0",
        }


class SinkFacts:
    """What a sink is told of the rows that it collects."""

    rule_id, op_id, instance_id = "r", "sink_0", 0

    def __init__(self, row_ids: tuple[str, ...] = ()) -> None:
        self.row_ids = row_ids
        self.row_id = row_ids[0] if row_ids else ""

    def log(self, event: str, **facts: object) -> None: ...
    def get_state(self, key: str) -> object: ...
    def put_state(self, key: str, value: object) -> None: ...


def test_mqtt_without_subscriber_is_tried_again() -> None:
    """A receiver without an answer is tried again, and a wrong property is named."""
    with pytest.raises(ValueError, match="token"):
        notify.Sink().configure({"token": "secret"})
    with pytest.raises(ValueError, match="url"):
        notify.Sink().configure({"token": "opq_x", "url": "ftp://x"})
    sink = notify.Sink()
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = holder.getsockname()[1]
    sink.configure({"token": "opq_x", "url": f"http://127.0.0.1:{port}/notify"})
    sink.open(SinkFacts())
    with pytest.raises(ConnectionError):
        sink.collect(SinkFacts(("r:1",)), [{"thd": 9}])
    sink.close(SinkFacts())


def test_silence_and_its_end_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To accounts that see the Box, the end if they want it, also over a restart."""

    def refused(*_: object) -> bool:
        raise StoreError("the disk is full")

    with notification_scene(tmp_path) as scene:
        for box_id in ("3", "7"):
            scene.store.put_box(BoxRecord(box_id, f"Box {box_id}"))
        scene.store.put_box(BoxRecord("8", "put away", unplugged=True))
        ada = scene.add_account("ada", boxes=("3",))
        root = scene.add_account("root", "admin")
        scene.add_rule(ada, "mail", about="silence", updates=True)
        scene.add_rule(root, "mail", about="health")
        at_ms = 1_800_000_000_000
        counters = ServiceCounters()

        def watch(now_ms: int) -> HealthWatch:
            book = RuleBook(scene.store.people, counters, lambda: now_ms)
            return HealthWatch("http://127.0.0.1:1/", scene.store, book, counters, lambda: now_ms)

        silent = [HealthReport(box, False, at_ms // 1000) for box in ("3", "7", "8")]
        makai = HealthReport("makai", False, at_ms // 1000)
        early = watch(at_ms + 299_000)
        assert early.accept_reports([*silent, makai]) == 0
        for late_ms in (300_000, 400_000):  # the second after a restart
            made = watch(at_ms + late_ms).accept_reports(silent)
            assert made == (late_ms == 300_000)
        back, late = [HealthReport("3", True, at_ms // 1000 + 500)], watch(at_ms + 500_000)
        with monkeypatch.context() as refusing:  # what the store does not take is said once it does
            refusing.setattr(scene.store.people.documents, "insert", refused)
            with pytest.raises(StoreError):
                late.accept_reports(back)
        assert [late.accept_reports(back) for _ in range(2)] == [1, 0]
        assert [each.headline for each in reversed(scene.records.entries(ada))] == [
            "Box 3 is silent since 2027-01-15 08:00:00 UTC",
            "Box 3 reports again",
        ]
        early._now_ms = lambda: at_ms + 700_000
        assert early.accept_reports([makai]) == 1
        assert [each.headline[:22] for each in scene.records.entries(root)] == ["Service makai is not w"]


def test_health_is_read_over_http(tmp_path: Path) -> None:
    """Health is read over HTTP; a service without an answer is one component."""
    part = HealthReport("mauka", False, int(time.time())).as_json()
    body = json.dumps({"name": "opq", "ok": False, "timestamp": 1, "subcomponents": [part]}).encode()

    class Handler(ReplyHandler):
        def do_GET(self) -> None:
            self.send_reply((200, "application/json", body))

    with notification_scene(tmp_path) as scene:
        root = scene.add_account("root", "admin")
        scene.add_rule(root, "mail", about="health", after_s=0)
        counters = ServiceCounters()
        server = HttpServer("health", "127.0.0.1:0", Handler)
        server.start()
        book = RuleBook(scene.store.people, counters)
        now_ms = [time.time_ns() // 1_000_000]
        url = f"http://127.0.0.1:{server.port}/"
        watch = HealthWatch(url, scene.store, book, counters, lambda: now_ms[0])
        while not counters.total("health_read"):  # its 2 s may pass on a machine that stands still
            watch.check_health()
        server.end()
        for _ in range(2):  # one answer that is missing is nothing yet
            watch.check_health()
            assert len(scene.records.entries(root)) == 1
            now_ms[0] += 5_000
        watch.check_health()
        told = {each.headline.partition(" since ")[0] for each in scene.records.entries(root)}
        assert told == {"Service mauka is not well", "Service opq is not well"}
