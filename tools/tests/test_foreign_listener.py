"""A secret for a port of this machine is not sent to another person's program that listens there."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
from plugin_zips import Whose

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.settings.notifications import NotificationMqttSection
from opq_cloud.core.settings.view import MailSection
from opq_cloud.notifications.mqtt_channel import MqttChannel
from opq_gateway.config import MqttSection
from opq_gateway.counters import BoxCounters
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.mqtt.mqtt_feed import MqttPublisher
from opq_proto.kit.address_guard import AddressGuard
from opq_proto.kit.port_owner import ForeignListenerError, check_peer, check_port_owner
from opq_rules.connections.access import Access
from opq_rules.connections.mqtt_client import Client, Login
from opq_rules.sinks import rest
from opq_rules.sources import httppull

STRANGER = 4242
SECRET = "opq_secret-of-a-service"


def listening(monkeypatch: pytest.MonkeyPatch, host: str = "127.0.0.1") -> socket.socket:
    """A socket of another user: root makes it as one, else this process counts as another user's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if os.getuid() != 0:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
        return socket.create_server((host, 0), family=family)
    os.seteuid(STRANGER)  # a socket belongs to who makes it
    try:
        return socket.create_server((host, 0), family=family)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_foreign_listener_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """By address, by name, and by a connection that is already there."""
    with listening(monkeypatch, host) as listener:
        port = listener.getsockname()[1]
        for name in ("127.0.0.1", "localhost", "::ffff:127.0.0.1"):
            with pytest.raises(ForeignListenerError, match=f"port {port} .*neither you"):
                check_port_owner(name, port)
        near = "::1" if ":" in host else "127.0.0.1"
        with socket.create_connection((near, port)) as connected, pytest.raises(ForeignListenerError):
            check_peer(connected)


def test_own_listeners_and_other_machines_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        check_port_owner("127.0.0.1", own.getsockname()[1])
    with listening(monkeypatch) as foreign:
        port = foreign.getsockname()[1]
        check_port_owner("192.0.2.1", port)  # RFC 5737: no address of this machine
        check_port_owner("127.0.0.2", port)
        check_port_owner("::1", port)
    check_port_owner("127.0.0.1", port)  # no program listens there now


class Impostor:
    """Another user's program: keeps what it receives; with a banner it speaks like a mail server."""

    def __init__(self, listener: socket.socket, banner: bytes = b"") -> None:
        self.received = b""
        self._listener, self._banner = listener, banner
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def all_received(self) -> bytes:
        self._listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept does not see a close
        self._listener.close()
        self._thread.join(60.0)
        return self.received

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.settimeout(1.0)
            with connection, suppress(OSError):
                connection.sendall(self._banner)
                while part := connection.recv(4096):
                    self.received += part
                    if self._banner:
                        ends = part.upper().startswith(b"QUIT")
                        connection.sendall(b"221 bye\r\n" if ends else b"250-mail\r\n250 AUTH PLAIN\r\n")


def of_rules(port: int, file: Path) -> None:
    Client(Login(f"tcp://127.0.0.1:{port}", "opq", SECRET)).start(60.0)


def of_notifications(port: int, file: Path) -> None:
    section = NotificationMqttSection(host="localhost", port=port, user="opq", password_file=file)
    MqttChannel(section)._connected()


def of_mails(port: int, file: Path) -> None:
    section = MailSection(server=f"127.0.0.1:{port}", security="none", user="opq", password_file=file)
    message = EmailMessage()
    message["From"], message["To"] = "a@example.org", "b@example.org"
    MailServer(section).deliver(message)


class Once(Whose):
    """A context that ends with its first try to connect."""

    def connected(self, up: bool, why: str = "") -> None:
        self.ups.append((up, why))
        self.end.set()


def of_gateway(port: int, file: Path) -> None:
    section = MqttSection(host="127.0.0.1", port=port, user="opq", password_file=file)
    feed, counters = MeasuredFeed(), BoxCounters()
    MqttPublisher(section, {}, (), feed, counters, MeasuredShares({}))._session(threading.Event())


def of_rule_sink(port: int, file: Path) -> None:
    sink = rest.Sink(Access(hosts=AddressGuard(("127.0.0.1",))))
    sink.configure({"url": f"http://127.0.0.1:{port}/x", "headers": {"Authorization": f"Bearer {SECRET}"}})
    sink.open(Whose())
    sink.collect(Whose(), [{"v": 1}])


def of_rule_source(port: int, file: Path) -> None:
    source = httppull.Source(Access(hosts=AddressGuard(("localhost",))))
    source.configure("/x", {"url": f"http://localhost:{port}", "headers": {"X-Api-Key": SECRET}})
    whose = Once()
    source.open(whose)
    raise ConnectionError(whose.ups[0][1])


@pytest.mark.parametrize(
    "client", [of_rules, of_notifications, of_mails, of_gateway, of_rule_sink, of_rule_source]
)
def test_no_client_sends_its_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: Callable[[int, Path], None]
) -> None:
    """Without the check each of them had sent it."""
    file = tmp_path / "password"
    file.write_text(SECRET)
    with listening(monkeypatch) as listener:
        port = listener.getsockname()[1]
        impostor = Impostor(listener, b"220 mail\r\n" if client is of_mails else b"")
        with pytest.raises(OSError, match="neither you"):
            client(port, file)
        received = impostor.all_received()
    assert SECRET.encode() not in received and b"AUTH" not in received
