"""Fetching a plug-in's zip: limits of size, redirects and addresses; what file:// may read."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from opq_plugins.package.fetch import fetch, guard_of
from opq_plugins.policy import Policy
from opq_proto.errors import PluginError
from opq_proto.kit.address_guard import AddressRefusedError, networks_of


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, rest = self.path.partition("?")
        if path == "/good.zip":
            self._answer(200, {"Content-Length": "4"}, b"zip!")
        elif path == "/big.zip":
            self._answer(200, {"Content-Length": "5000"}, b"x" * 5000)
        elif path == "/endless":
            self._answer(200, {}, b"x" * 5000)
        elif path == "/short":
            self._answer(200, {"Content-Length": "400"}, b"x" * 4)
        elif path == "/to":
            self._answer(302, {"Location": rest, "Content-Length": "0"}, b"")
        else:
            self._answer(404, {"Content-Length": "0"}, b"")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


POLICY = Policy(max_zip_bytes=1000, max_redirects=2, download_s=20)


def test_a_zip_is_fetched_also_behind_a_redirect(server: str, tmp_path: Path) -> None:
    for number, path in enumerate(("/good.zip", "/to?/good.zip", f"/to?{server}/good.zip")):
        fetch(server + path, tmp_path / str(number), POLICY, [])
        assert (tmp_path / str(number)).read_bytes() == b"zip!"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/big.zip", "the limit is 1000"),
        ("/endless", "more than 1000"),
        ("/short", "early"),
        ("/none", "404"),
        ("/to?/to?/to?/good.zip", "redirects"),
        ("/to?file:///etc/passwd", "redirects to 'file"),
        ("/to?http://10.0.0.1/x.zip", "in a private network"),
        ("/to?", "redirects"),
    ],
)
def test_what_goes_beyond_a_limit_is_refused(server: str, tmp_path: Path, path: str, told: str) -> None:
    with pytest.raises(PluginError, match=told):
        fetch(server + path, tmp_path / "x", POLICY, [])


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "x", "http://a:0/", "http://u@a/", "http://[::1", "http://a:x/"]
)
def test_a_wrong_zip_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(PluginError):
        fetch(url, tmp_path / "x", POLICY, [])


def test_private_addresses_are_refused_unless_allowed() -> None:
    far = guard_of(Policy(server_on_loopback=False))
    for address in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"):
        with pytest.raises(AddressRefusedError, match="in a private network; upload the file"):
            far.check_literal(address)
        guard_of(Policy(allow_private_addresses=True)).check_literal(address)
    guard_of(Policy()).check_literal("127.0.0.1")
    for address in ("64:ff9b::7f00:1", "2002:7f00:1::1", "::127.0.0.1", "fec0::1", "10.1.2.3"):
        with pytest.raises(AddressRefusedError):
            guard_of(Policy()).check_literal(address)
    guard_of(Policy(private_networks=networks_of(["10.1.0.0/16"]))).check_literal("10.1.2.3")
    far.check_literal("1.1.1.1")


def test_files_are_read_below_the_allowed_folders_only(tmp_path: Path) -> None:
    inside, outside = tmp_path / "uploads", tmp_path / "secret"
    inside.mkdir()
    (inside / "a b.zip").write_bytes(b"zip!")
    outside.write_bytes(b"secret")
    (inside / "link.zip").symlink_to(outside)
    fetch((inside / "a b.zip").as_uri(), tmp_path / "x", POLICY, [inside])
    assert (tmp_path / "x").read_bytes() == b"zip!"
    refused = [
        outside.as_uri(),
        (inside / "link.zip").as_uri(),
        f"{inside.as_uri()}/../secret",
        f"{inside.as_uri()}/%2e%2e/secret",
        inside.as_uri(),
        "file://elsewhere/x",
        (inside / "none.zip").as_uri(),
        f"{inside.as_uri()}/a%00b",
    ]
    for url in refused:
        with pytest.raises(PluginError):
            fetch(url, tmp_path / "y", POLICY, [inside])
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("piece", [b"X-A: 1\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"])
def test_headers_that_never_end_are_given_up(tmp_path: Path, piece: bytes) -> None:
    """Each byte comes in time, so that only the time of all of them ends it."""

    def drip() -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.sendall(b"HTTP/1.1 100 Continue\r\n")
            while not given_up.wait(0.05):
                peer.sendall(piece)

    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(PluginError, match="http://127"):
            fetch(
                f"http://127.0.0.1:{listening.getsockname()[1]}/x", tmp_path / "x", Policy(download_s=1.0), []
            )
        given_up.set()
        thread.join(240)


@pytest.mark.parametrize("url", ["http://127.0.0.1/\ud800", "file:///\ud800", "http://\u0131.example/"])
def test_urls_that_are_no_ascii_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(PluginError, match="ASCII"):
        fetch(url, tmp_path / "x", POLICY, [])
