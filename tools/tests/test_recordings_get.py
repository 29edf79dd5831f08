"""`opq-tools recordings get` against a server on loopback that behaves well, badly, or not at all."""

import functools
import hashlib
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from opq_proto.errors import OpqError
from opq_recordings.reading import read_recording
from opq_tools.recordings_get import BASE_URL, COMMIT, RECORDINGS, DownloadError, command, fetch


class Server(http.server.BaseHTTPRequestHandler):
    contents: ClassVar[dict[str, bytes]] = {}
    cut_at: ClassVar[int | None] = None

    def do_GET(self) -> None:
        content = self.contents.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.cut_at])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Server.contents, Server.cut_at = {}, None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        thread = threading.Thread(target=functools.partial(listening.serve_forever, poll_interval=0.02))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def facts() -> dict[str, Any]:
    """A recording of our own: a ramp."""
    content = np.arange(1000, dtype="<i2").tobytes()
    return {
        **RECORDINGS[0],
        "file": "ramp.i16",
        "samples": 1000,
        "sha256": hashlib.sha256(content).hexdigest(),
        "source_path": "data/ramp",
    }


RAMP = np.arange(1000, dtype="<i2").tobytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_facts_are_fetched_and_can_be_read(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    Server.contents = {"/data/ramp": RAMP}
    assert "checked" in fetch(facts, tmp_path, server)
    assert names(tmp_path) == ["ramp.i16", "ramp.json"]
    recording = read_recording(tmp_path / "ramp.i16")
    assert recording.channel.values.tolist() == list(range(1000))
    assert (recording.rate_hz, recording.v_per_lsb, recording.nominal_v) == (12000.0, 0.0068, 120.0)
    assert json.loads((tmp_path / "ramp.json").read_text()) == facts


@pytest.mark.parametrize("content", [RAMP[:-2] + b"??", RAMP[:-2], RAMP + b"!!", b""])
def test_another_content_is_refused_and_nothing_is_left(
    server: str, facts: dict[str, Any], tmp_path: Path, content: bytes
) -> None:
    Server.contents = {"/data/ramp": content}
    with pytest.raises(DownloadError, match="nothing kept"):
        fetch(facts, tmp_path, server)
    assert names(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    Server.contents, Server.cut_at = {"/data/ramp": RAMP}, 700
    with pytest.raises(DownloadError):
        fetch(facts, tmp_path, server)
    assert names(tmp_path) == []


def test_what_is_no_web_server_is_one_line(facts: dict[str, Any], tmp_path: Path) -> None:
    def speak() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"220 ready\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(DownloadError, match=r"broke off: 220 ready$"):
            fetch(facts, tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_dead_server_are_one_line_each(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch(facts, tmp_path, server)
    made = CliRunner().invoke(command, ["get", "--out", str(tmp_path / "new"), "--base-url", server])
    assert isinstance(made.exception, DownloadError) and not (tmp_path / "new").exists()
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(facts, tmp_path, "http://127.0.0.1:9")
    assert names(tmp_path) == []


def test_a_file_that_is_right_already_is_not_fetched_again(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "ramp.i16").write_bytes(RAMP)
    assert "already" in fetch(facts, tmp_path, server)
    assert names(tmp_path) == ["ramp.i16", "ramp.json"]


def test_another_file_of_the_same_name_is_kept_unless_forced(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    Server.contents = {"/data/ramp": RAMP}
    (tmp_path / "ramp.i16").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="another file"):
        fetch(facts, tmp_path, server)
    assert (tmp_path / "ramp.i16").read_bytes() == b"mine"
    fetch(facts, tmp_path, server, force=True)
    assert (tmp_path / "ramp.i16").read_bytes() == RAMP


def test_a_disk_that_cannot_be_written_is_one_line(
    server: str, facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.contents = {"/data/ramp": RAMP}

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left"):
        fetch(facts, tmp_path, server)
    assert names(tmp_path) == []


def test_the_command_asks_for_both_files_at_the_pinned_commit(server: str, tmp_path: Path) -> None:
    assert COMMIT in BASE_URL and len(COMMIT) == 40
    result = CliRunner().invoke(command, ["get", "--out", str(tmp_path / "new"), "--base-url", server])
    assert isinstance(result.exception, OpqError)  # not there: a 404, one line
    assert "event_9354_1" in str(result.exception)
    assert CliRunner().invoke(command, ["get", "--base-url", "ftp://x"]).exit_code == 2
