"""A repository of releases with its keys, stand-in bundles, and a web server that may misbehave."""

import base64
import hashlib
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from opq_cloud.update.repository import ReleaseRepository
from opq_gateway.update.trees import tree_tag
from opq_proto.release.plan import Plan, target_name

PROGRAM = "print('stand-in gateway')\n"


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], script: str = "") -> Path:
    """A wheel with these files; `script` becomes the program opq-gateway."""
    folder.mkdir(parents=True, exist_ok=True)
    info, data = f"{name}-{version}.dist-info", f"{name}-{version}.data"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: opq-tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": wheel}
    if script:
        members[f"{data}/scripts/opq-gateway"] = "#!python\n" + script
    record = ""
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    members[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for member, text in members.items():
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (0o100755 if "/scripts/" in member else 0o100644) << 16
            file.writestr(entry, text)
    return path


def pip_wheel(folder: Path) -> Path:
    """A stand-in of pip that unpacks wheels and writes their scripts, in a tenth of real pip's time."""
    source = Path(__file__).with_name("stand_in_pip.py").read_text(encoding="utf-8")
    return make_wheel(folder, "pip", "1.0", {"pip/__main__.py": source})


def make_bundle(
    folder: Path, version: str, script: str = PROGRAM, files: Mapping[str, str] | None = None
) -> Path:
    """A small bundle: the program and a stand-in of pip."""
    wheels = [make_wheel(folder / version, "opq_toolkit", version, files or {}, script), pip_wheel(folder)]
    path = folder / f"bundle-{version}.zip"
    facts = {"version": version, "require": f"opq-toolkit=={version}", "tag": tree_tag()}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("bundle.json", json.dumps(facts))
        for wheel in wheels:
            file.write(wheel, wheel.name)
    return path


class Scene:
    """A repository in a folder, with all its keys here: two for the root, both needed."""

    def __init__(self, folder: Path) -> None:
        self.repository = ReleaseRepository(folder)
        self.roots = [Ed25519PrivateKey.generate() for _ in range(2)]
        self.release, self.online, self.foreign = (Ed25519PrivateKey.generate() for _ in range(3))
        self.repository.stage_root(
            [each.public_key() for each in self.roots],
            [self.release.public_key()],
            self.online.public_key(),
            2,
            1,
        )
        self.publish()

    def publish(self) -> None:
        staged = self.repository.staged
        for name, keys in (("root.json", self.roots), ("targets.json", [self.release])):
            if (staged / name).is_file():
                self.sign(staged / name, *keys)
        assert self.repository.publish(self.online) == []

    def add(self, bundle: Path, version: str, tag: str = "", custom: Mapping[str, Any] | None = None) -> str:
        name = target_name("gateway", version, tag or tree_tag())
        facts = {"kind": "gateway", "version": version} if custom is None else custom
        self.repository.stage_releases({name: (bundle, facts)})
        self.publish()
        return name

    def roll_out(self, version: str, **options: Any) -> Plan:
        plan = Plan("gateway", version, **options)
        self.repository.put_plan(plan, self.online)
        return plan

    def trust(self, update_folder: Path) -> None:
        """Gives a gateway the first root."""
        update_folder.mkdir(parents=True, exist_ok=True)
        (update_folder / "root.json").write_bytes((self.repository.metadata / "1.root.json").read_bytes())

    @staticmethod
    def sign(path: Path, *keys: Ed25519PrivateKey) -> None:
        document: Metadata[Any] = Metadata.from_file(str(path))
        document.signatures.clear()
        for key in keys:
            document.sign(CryptoSigner(key), append=True)
        document.to_file(str(path))

    def change(self, name: str, change: Callable[[Any], object], *keys: Ed25519PrivateKey) -> None:
        """Changes a published file, and signs it with these keys."""
        path = self.repository.metadata / name
        document: Metadata[Any] = Metadata.from_file(str(path))
        change(document.signed)
        document.to_file(str(path))
        self.sign(path, *keys)


class WebServer:
    """Serves a folder, as any web server does, unless `answers` has another answer for a path's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], object]] = {}
        self.asked: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.moved_to = ""
        """Where reports are redirected to; empty: they are accepted."""
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                for end, answer in outer.answers.items():
                    if self.path.endswith(end):
                        try:
                            answer(self)
                        except OSError:
                            self.close_connection = True
                        return
                file = outer.folder / self.path.lstrip("/")
                with suppress(ConnectionError):  # who asked was killed
                    if file.is_file():
                        send(self, file.read_bytes())
                    else:
                        self.send_error(404)

            def do_POST(self) -> None:
                outer.reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if outer.moved_to:
                    self.send_response(302)
                    self.send_header("Location", outer.moved_to)
                    self.end_headers()
                else:
                    send(self, b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder)
    try:
        yield server
    finally:
        server.close()


def send(to: BaseHTTPRequestHandler, data: bytes, length: int | None = None) -> None:
    """200 with these bytes; `length`: what the header says."""
    to.send_response(200)
    to.send_header("Content-Length", str(len(data) if length is None else length))
    to.end_headers()
    to.wfile.write(data)


def endless(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    for _ in range(100_000):
        to.wfile.write(b" " * 65_536)


def drip(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    for _ in range(200):
        to.wfile.write(b" ")
        to.wfile.flush()
        time.sleep(0.02)


def drip_head(to: BaseHTTPRequestHandler) -> None:
    for _ in range(200):
        to.wfile.write(b"H")
        to.wfile.flush()
        time.sleep(0.02)


def drip_chunk(to: BaseHTTPRequestHandler) -> None:
    """The length of a chunk, byte by byte: what reads it gets no byte of the body."""
    to.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        to.wfile.write(b"0")
        to.wfile.flush()
        time.sleep(0.02)


def redirect(to: BaseHTTPRequestHandler) -> None:
    to.send_response(302)
    to.send_header("Location", "/elsewhere")
    to.send_header("Content-Length", "0")
    to.end_headers()


def nothing(to: BaseHTTPRequestHandler) -> None:
    time.sleep(2)
