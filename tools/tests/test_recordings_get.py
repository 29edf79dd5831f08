"""`opq-tools recordings get` against a server on loopback that behaves well, badly, or not at all."""

import functools
import hashlib
import http.server
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner

from opq_proto.errors import OpqError
from opq_recordings.reading import read_recording
from opq_tools.recordings.get import COMMIT, RECORDINGS, REPOSITORY, DownloadError, command, fetch
from opq_tools.recordings.public import ListError, read_list


class Server(http.server.BaseHTTPRequestHandler):
    contents: ClassVar[dict[str, bytes]] = {}
    cut_at: ClassVar[int | None] = None
    bare: ClassVar[Path | None] = None
    """A bare git repository; `/owner/name/commit/path` is answered from it, as GitHub does."""

    def do_GET(self) -> None:
        content = self.contents.get(self.path)
        if self.bare is not None:
            _, _, _, commit, path = self.path.split("/", 4)
            shown = subprocess.run(
                ["git", "-C", self.bare, "show", f"{commit}:{unquote(path)}"],
                capture_output=True,
                check=False,
            )
            content = shown.stdout if shown.returncode == 0 else None
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
    Server.contents, Server.cut_at, Server.bare = {}, None, None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        thread = threading.Thread(target=functools.partial(listening.serve_forever, poll_interval=0.02))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def facts() -> dict[str, Any]:
    """Our own recording: a ramp."""
    content = np.arange(1000, dtype="<i2").tobytes()
    return {
        **RECORDINGS[0],
        "file": "ramp.i16",
        "samples": 1000,
        "sha256": hashlib.sha256(content).hexdigest(),
        "source_path": "data/ramp",
    }


RAMP = np.arange(1000, dtype="<i2").tobytes()
RAMP_PATH = f"/{REPOSITORY}/{COMMIT}/data/ramp"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_with_its_facts(server: str, facts: dict[str, Any], tmp_path: Path) -> None:
    Server.contents = {RAMP_PATH: RAMP}
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
    Server.contents = {RAMP_PATH: content}
    with pytest.raises(DownloadError, match="nothing kept"):
        fetch(facts, tmp_path, server)
    assert names(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing(
    server: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    Server.contents, Server.cut_at = {RAMP_PATH: RAMP}, 700
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


def test_a_missing_file_is_one_line(server: str, facts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch(facts, tmp_path, server)
    made = CliRunner().invoke(command, ["get", "--out", str(tmp_path / "new"), "--base-url", server])
    assert isinstance(made.exception, DownloadError) and not (tmp_path / "new").exists()
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(facts, tmp_path, "http://127.0.0.1:9")
    assert names(tmp_path) == []


def test_a_right_file_is_not_fetched_again(server: str, facts: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ramp.i16").write_bytes(RAMP)
    assert "already" in fetch(facts, tmp_path, server)
    assert names(tmp_path) == ["ramp.i16", "ramp.json"]


def test_another_same_named_file_needs_force(server: str, facts: dict[str, Any], tmp_path: Path) -> None:
    Server.contents = {RAMP_PATH: RAMP}
    (tmp_path / "ramp.i16").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="another file"):
        fetch(facts, tmp_path, server)
    assert (tmp_path / "ramp.i16").read_bytes() == b"mine"
    fetch(facts, tmp_path, server, force=True)
    assert (tmp_path / "ramp.i16").read_bytes() == RAMP


def test_an_unwritable_disk_is_one_line(
    server: str, facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.contents = {RAMP_PATH: RAMP}

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left"):
        fetch(facts, tmp_path, server)
    assert names(tmp_path) == []


def test_the_command_fetches_the_pinned_commit(server: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["get", "--out", str(tmp_path / "new"), "--base-url", server])
    assert isinstance(result.exception, OpqError)  # not there: a 404, one line
    assert f"{COMMIT}/" in str(result.exception) and "event_9354_1" in str(result.exception)
    assert CliRunner().invoke(command, ["get", "--base-url", "ftp://x"]).exit_code == 2


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare git repository with a recording of two parts; one name has letters that a URL encodes."""
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    (work / "Тест 1").mkdir(parents=True)
    (work / "Тест 1" / "relay.cfg").write_bytes(b"S,R,1999")
    (work / "Тест 1" / "relay.dat").write_bytes(RAMP)
    name = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "Recordings"]):
        subprocess.run(["git", *words], cwd=work, check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", "--bare", work, bare], check=True, capture_output=True)
    return bare


def list_of(folder: Path, bare: Path, **digests: str) -> Path:
    commit = subprocess.run(
        ["git", "-C", bare, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    known = {
        "relay.cfg": hashlib.sha256(b"S,R,1999").hexdigest(),
        "relay.dat": hashlib.sha256(RAMP).hexdigest(),
    }
    files = "".join(f'"Тест 1/{name}" = "{digests.get(name[6:], known[name])}"\n' for name in known)
    path = folder / "list.toml"
    path.write_text(
        f'[[recording]]\nrepository = "some/repo"\ncommit = "{commit}"\nlicence = "MIT"\n'
        f"[recording.files]\n{files}",
        encoding="utf-8",
    )
    return path


def test_listed_recordings_come_from_their_commits(server: str, bare: Path, tmp_path: Path) -> None:
    Server.bare = bare
    out = tmp_path / "public"
    words = ["get", "--list", str(list_of(tmp_path, bare)), "--out", str(out), "--base-url", server]
    first = CliRunner().invoke(command, words)
    assert first.exit_code == 0 and first.stdout.count("checked; licence: MIT") == 2, first.output
    assert (out / "some/repo/Тест 1/relay.dat").read_bytes() == RAMP
    assert CliRunner().invoke(command, words).stdout.count("was here already") == 2


def test_a_failed_download_spares_the_others(server: str, bare: Path, tmp_path: Path) -> None:
    Server.bare = bare
    listed = list_of(tmp_path, bare, cfg="0" * 64)
    words = ["get", "--list", str(listed), "--out", str(tmp_path / "public"), "--base-url", server]
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, DownloadError) and "1 of 2 files could not be downloaded" in str(
        result.exception
    )
    assert names(tmp_path / "public/some/repo/Тест 1") == ["relay.dat"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no [[recording]]"),
        ("[[recording", "is not TOML"),
        ("[[recording]]\nrepository = 'x'", "repository is 'x', want owner/name"),
        ("[[recording]]\nrepository = 'a/b'\ncommit = 'main'", "commit is 'main', want 40"),
        (f"[[recording]]\nrepository = 'a/b'\ncommit = '{COMMIT}'", "has no files"),
        (f"[[recording]]\nrepository='a/b'\ncommit='{COMMIT}'\nfiles={{'../x'='00'}}", "not a path within"),
        (f"[[recording]]\nrepository='a/b'\ncommit='{COMMIT}'\nfiles={{x='00'}}", "sha256 of 'x' is '00'"),
    ],
)
def test_a_list_that_is_wrong_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text(text)
    with pytest.raises(ListError) as refused:
        read_list(path)
    assert why in str(refused.value) and "\n" not in str(refused.value)
