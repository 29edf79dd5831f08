"""The update server: repository, the original's routes, reports, and a roll-out that stops."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from free_ports import free_port
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.config import CloudConfig, UpdateSection
from opq_cloud.store import open_store
from opq_cloud.store.records.boxes.gateway_updates import GatewayUpdates
from opq_cloud.update.repository import ReleaseRepository
from opq_cloud.update.rollout import standing
from opq_cloud.update.update_service import MOST_AT_ONCE, UpdateService, as_received
from opq_proto.keys.key_files import KeyFolder, read_key_file, read_secret_file
from opq_proto.release.plan import Plan, ReleaseError
from opq_proto.release.report import HEADER, Report, report_key, seal

NEW = "0.2.0"
LIMIT_S = 240.0
PACKAGES = ("opq-box-update-1500000000.tar.bz2", "opq-box-update-1600000000.tar.bz2")


@dataclass
class Running:
    """A running server with a published release and a plan, and the keys of Boxes 1 and 2."""

    url: str
    repository: ReleaseRepository
    keys: KeyFolder
    updates: GatewayUpdates
    online: Ed25519PrivateKey

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.build_opener(NoRedirect).open(self.url + path, timeout=LIMIT_S) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def report(self, report: Report, key: bytes | None = None) -> int:
        if key is None:
            secret = read_secret_file(self.keys.box_secret(report.gateway)).secret or b""
            key = report_key(secret, read_key_file(self.keys.server_public).public)
        body, header = seal(report, key)
        request = urllib.request.Request(self.url + "/report", body, {HEADER: header})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def sign(path: Path, *keys: Ed25519PrivateKey) -> None:
    document: Metadata[Any] = Metadata.from_file(str(path))
    for key in keys:
        document.sign(CryptoSigner(key), append=True)
    document.to_file(str(path))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    root, release, online = (Ed25519PrivateKey.generate() for _ in range(3))
    repository = ReleaseRepository(tmp_path / "updates")
    repository.stage_root([root.public_key()], [release.public_key()], online.public_key(), 1, 1)
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"bundle")
    repository.stage_releases({f"gateway-{NEW}-any.zip": (bundle, {"kind": "gateway"})})
    for name, key in (("root.json", root), ("targets.json", release)):
        sign(repository.staged / name, key)
    assert repository.publish(online) == []
    repository.put_plan(Plan("gateway", NEW, share=0, stop_at=2), online)
    pem = online.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "updates/online.pem").write_bytes(pem)
    packages = tmp_path / "updates/box-updates"
    packages.mkdir()
    for name in PACKAGES:
        (packages / name).write_bytes(name.encode())
    keys = KeyFolder(tmp_path / "curve")
    keys.create(server=True, box_ids=("1", "2", "3"))
    config = replace(CloudConfig(), update=UpdateSection(http_endpoint=f"127.0.0.1:{free_port()}"))
    shared = CloudContext(lambda: open_store(None, tmp_path))
    service = UpdateService(config, shared, tmp_path)
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=service.run, args=(stop, ready))
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        updates = GatewayUpdates(shared.store.people.documents)
        until(updates.plans)  # its first round, which renews signatures too, is over
        yield Running(f"http://127.0.0.1:{service.port}", repository, keys, updates, online)
    finally:
        stop.set()
        thread.join()
        shared.close()


def until(holds: Any) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_the_originals_boxes_find_their_update(running: Running) -> None:
    assert running.get("/ls")[2] == "\n".join(PACKAGES).encode()
    assert running.get("/version")[2] == b"1600000000"
    code, headers, _ = running.get("/latest")
    assert (code, headers["Location"]) == (303, f"/update/{PACKAGES[1]}")
    code, headers, body = running.get(headers["Location"])
    assert (code, body, headers["Content-Type"]) == (200, PACKAGES[1].encode(), "application/octet-stream")
    assert headers["Content-Disposition"] == f'attachment; filename="{PACKAGES[1]}"'
    assert running.get("/update/other")[::2] == (404, b"Resource not found.")
    health = json.loads(running.get("/")[2])
    assert (health["name"], health["ok"]) == ("Box Update Server", True)


@pytest.mark.parametrize(
    "path",
    [
        "/online.pem",
        "/metadata/../online.pem",
        "/targets/..%2fonline.pem",
        "/metadata/.",
        "/update/../../online.pem",
        "/staged/root.json",
        "/metadata//etc/passwd",
        "/report",
    ],
)
def test_nothing_else_is_served(running: Running, path: str) -> None:
    assert running.get(path)[0] == 404


def test_the_repository_is_served(running: Running) -> None:
    for folder in (running.repository.metadata, running.repository.targets):
        for file in folder.iterdir():
            assert running.get(f"/{folder.name}/{file.name}")[::2] == (200, file.read_bytes())


def test_each_admitted_boxs_report_counts_once(running: Running) -> None:
    report = Report("1", "0.1.0", 1000)
    assert running.report(report) == 204
    assert running.report(report) == 409, "played again"
    assert running.report(replace(report, at_ms=999)) == 409
    assert running.report(replace(report, at_ms=2000), b"x" * 32) == 403
    ahead_ms = time.time_ns() // 1_000_000 + 2 * 86_400_000
    assert running.report(replace(report, at_ms=ahead_ms)) == 403, "no later one would count for a year"
    running.keys.box_public("2").unlink()
    assert running.report(Report("2", "0.1.0", 1000)) == 403
    assert running.report(replace(report, at_ms=2000, reason="x" * 400)) == 403
    assert [each["at_ms"] for each in running.updates.reports()] == [1000]


def test_reports_drive_a_roll_out(running: Running) -> None:
    """A roll out goes on by reports and stops at the second that fails."""
    now_ms = time.time_ns() // 1_000_000
    for gateway in ("1", "2", "3"):
        assert running.report(Report(gateway, "0.1.0", now_ms)) == 204
    until(lambda: (running.repository.plan("gateway") or Plan("gateway", NEW)).share > 0)
    for at, gateway in enumerate(("2", "1"), 1):
        assert running.report(Report(gateway, "0.1.0", now_ms + at, "failed", NEW, "", "no uplink")) == 204
    until(lambda: (running.repository.plan("gateway") or Plan("gateway", NEW)).stopped)
    plan = running.repository.plan("gateway")
    assert plan is not None and plan.stopped == "2 failed; gateway 1: no uplink"
    until(lambda: running.updates.plans()[0]["stopped"] == plan.stopped)


def test_a_slow_gateway_clock_is_not_silence(running: Running) -> None:
    slow_ms = time.time_ns() // 1_000_000 - 3 * 3_600_000
    for at_ms, state in ((slow_ms, "well"), (slow_ms + 1, "trying")):
        assert running.report(Report("1", "0.1.0", at_ms, state, NEW)) == 204
    (kept,) = running.updates.reports()
    assert standing(Plan("gateway", NEW), as_received(kept), time.time_ns() // 1_000_000) == "trying"


def test_only_published_releases_with_online_key_roll(running: Running) -> None:
    with pytest.raises(ReleaseError, match=r"gateway 0\.9\.0 is not among the published releases"):
        running.repository.put_plan(Plan("gateway", "0.9.0"), running.online)
    with pytest.raises(ReleaseError, match="is not the online key"):
        running.repository.put_plan(Plan("gateway", NEW), Ed25519PrivateKey.generate())


def test_time_stamps_are_signed_again_before_they_expire(running: Running) -> None:
    before = running.repository.newest("timestamp")
    assert before is not None and not running.repository.renew(running.online)
    path = running.repository.metadata / "timestamp.json"
    document: Metadata[Any] = Metadata.from_file(str(path))
    document.signed.expires = document.signed.expires.replace(year=2020)
    document.to_file(str(path))
    assert running.repository.renew(running.online)
    after = running.repository.newest("timestamp")
    assert after is not None and after.signed.version > before.signed.version


def test_slow_connections_do_not_close_the_port(running: Running) -> None:
    """More than its places, each of which sends half a request; downloads and reports go on."""
    place = ("127.0.0.1", int(running.url.rpartition(":")[2]))
    body = b"POST /report HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"
    with ExitStack() as held:
        for number in range(3 * MOST_AT_ONCE):
            peer = held.enter_context(socket.create_connection(place, LIMIT_S))
            peer.sendall(body if number % 2 else b"GET /ls HT")
        assert running.get("/ls")[0] == 200
        assert running.report(Report("1", "0.1.0", time.time_ns() // 1_000_000)) == 204
