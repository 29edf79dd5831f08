"""`opq-tools keys`, on a key folder alone and beside running brokers' health."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command_in_process import run_in_process

from opq_cloud.store import open_store
from opq_proto.keys.backend_keys import BackendKeyFolder
from opq_proto.keys.key_files import KeyFolder, generate, read_key_file, read_secret_file
from opq_proto.keys.register import key_fingerprint
from opq_proto.messages import Measurement
from opq_tools.keys import keygen
from opq_tools.keys import keys_command as keys
from opq_tools.system import config_command

PORT_OFFSET = 50_000
"""No process of ours listens at 58911 and 58914."""


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(keys.command, [arguments[0], "--data-dir", str(folder), *arguments[1:]])


def listed(folder: Path, offset: int = PORT_OFFSET) -> Any:
    result = run(folder, "list", "--json", "--port-offset", str(offset))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    found = KeyFolder(tmp_path / "curve")
    found.create(True, ["1", "4"])
    return found


def test_keygen_alone_makes_a_first_systems_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    curve = tmp_path / "opq/curve"
    done = CliRunner().invoke(keygen.command, [])
    assert done.exit_code == 0 and "opq-cloud all, opq-gateway run" in done.stderr
    made = {path.relative_to(curve).as_posix() for path in curve.rglob("*") if path.is_file()}
    assert {Path(line).relative_to(curve).as_posix() for line in done.stdout.splitlines()} == made
    secret = {"opqserver_secret", "opqbox1_secret", "opqadministrator.pem"}
    public = {"opqserver.key", "opqbox1.key", "opqadministrator.pub"}
    assert made == {f"private_keys/{name}" for name in secret} | {f"public_keys/{name}" for name in public}
    before = {path: path.read_bytes() for path in curve.rglob("*") if path.is_file()}
    assert CliRunner().invoke(keygen.command, []).exit_code != 0  # it overwrites nothing
    assert {path: path.read_bytes() for path in curve.rglob("*") if path.is_file()} == before


def test_keys_are_listed_with_their_state(tmp_path: Path, folder: KeyFolder) -> None:
    first, second = listed(tmp_path)
    assert list(first)[:6] == ["box_id", "public_key", "state", "since_ms", "connected", "last_seen_ms"]
    assert (first["box_id"], first["state"], first["connected"], first["last_seen_ms"]) == (
        "1",
        "admitted",
        None,
        None,
    )
    assert second["public_key"] == read_secret_file(folder.box_secret("4")).public.decode()
    headings, row, _ = run(tmp_path, "list", "--port-offset", str(PORT_OFFSET)).stdout.splitlines()
    assert headings.split() == ["box", "state", "since", "(UTC)", "connected", "public", "key", "fingerprint"]
    assert row.split()[:2] == ["1", "admitted"] and "not known" in row


def test_an_exchange_keeps_both_keys_until_done(tmp_path: Path, folder: KeyFolder) -> None:
    old = read_secret_file(folder.box_secret("1"))
    assert run(tmp_path, "rotate", "1").exit_code == 0
    new = read_secret_file(folder.box_secret("1"))
    assert new.public != old.public
    assert folder.box_secret("1").stat().st_mode & 0o777 == 0o600
    row = listed(tmp_path)[0]
    assert (row["state"], row["public_key"], row["next_public_key"]) == (
        "rotating",
        old.public.decode(),
        new.public.decode(),
    )
    assert set(folder.admitted()[0]) >= {old.public, new.public}
    assert folder.incoming() == {new.public: "1"}
    again = run(tmp_path, "rotate", "1")
    assert again.exit_code == 1
    assert "has not yet connected" in str(again.exception)
    assert run(tmp_path, "rotate", "1", "--force").exit_code == 0
    assert new.public not in folder.admitted()[0]
    assert old.public in folder.admitted()[0]


def test_a_revoked_box_can_return(tmp_path: Path, folder: KeyFolder) -> None:
    assert run(tmp_path, "revoke", "4").exit_code == 0
    assert "4" not in folder.admitted()[0].values()
    assert [row["state"] for row in listed(tmp_path)] == ["admitted", "revoked"]
    assert "no admitted key" in str(run(tmp_path, "revoke", "4").exception)
    assert "no key to exchange" in str(run(tmp_path, "rotate", "4").exception)
    before = read_secret_file(folder.box_secret("4")).public
    assert run(tmp_path, "add", "4").exit_code == 0
    assert read_secret_file(folder.box_secret("4")).public != before
    assert [row["state"] for row in listed(tmp_path)] == ["admitted", "admitted"]


def test_a_revoked_key_is_offered_again(tmp_path: Path, folder: KeyFolder) -> None:
    """A new pair for such a Box says that its gateway needs it."""
    secret, public = folder.box_secret("4").read_bytes(), folder.box_public("4").read_bytes()
    assert "no revoked key" in str(run(tmp_path, "add", "4", "--again").exception)
    assert run(tmp_path, "revoke", "4").exit_code == 0
    assert run(tmp_path, "add", "4", "--again").exit_code == 0
    assert (folder.box_secret("4").read_bytes(), folder.box_public("4").read_bytes()) == (secret, public)
    assert not folder.box_revoked("4").exists()
    assert run(tmp_path, "revoke", "4").exit_code == 0
    said = run(tmp_path, "add", "4")
    assert said.exit_code == 0 and f"its gateway needs {folder.box_secret('4')}" in said.stderr
    assert folder.box_secret("4").read_bytes() != secret
    assert read_key_file(folder.box_revoked("4")).public != read_key_file(folder.box_public("4")).public


def test_a_range_of_keys_replaces_none(tmp_path: Path, folder: KeyFolder) -> None:
    kept = folder.box_public("4").read_bytes()
    result = run(tmp_path, "add", "3-5")
    assert result.exit_code == 1
    assert "Box 4 is admitted already" in str(result.exception)
    assert "done: Boxes 3, 5" in str(result.exception)
    assert folder.box_public("4").read_bytes() == kept
    made = run(tmp_path, "add", "7", "--json")
    assert json.loads(made.stdout) == [
        {"box_id": "7", "files": [str(folder.box_secret("7")), str(folder.box_public("7"))]}
    ]


def test_a_boxs_own_public_key_is_admitted(tmp_path: Path, folder: KeyFolder) -> None:
    """The Box made its own pair; only the public key is handed over."""
    pair = generate()
    assert run(tmp_path, "add", "9", "--public-key", pair.public.decode()).exit_code == 0
    assert read_key_file(folder.box_public("9")).public == pair.public
    assert not folder.box_secret("9").exists()
    twice = run(tmp_path, "add", "10", "--public-key", pair.public.decode())
    assert "that of Box 9" in str(twice.exception)
    by_file = run(tmp_path, "rotate", "1", "--public-key", str(folder.box_public("4")))
    assert "that of Box 4" in str(by_file.exception)
    assert run(tmp_path, "add", "11", "--public-key", "short").exit_code == 2
    assert run(tmp_path, "add", "11,12", "--public-key", pair.public.decode()).exit_code == 2


def test_an_absent_folder_is_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in str(run(tmp_path, "list").exception)


@pytest.mark.parametrize(("who", "name"), [(("7",), "curve"), (("--backend", "view"), "backend")])
def test_a_new_key_folder_is_reported(tmp_path: Path, who: tuple[str, ...], name: str) -> None:
    """A mistyped --data-dir would look like a key of the running system."""
    first = run(tmp_path / "typo", "add", *who)
    place = tmp_path / "typo" / name
    assert first.stderr == f"opq-tools keys: there was no key folder {place}; made a new one\n"
    assert run(tmp_path / "typo", "add", *who[:-1], "9" if name == "curve" else "cloud").stderr == ""


def test_a_broken_file_is_reported_beside_the_others(tmp_path: Path, folder: KeyFolder) -> None:
    (folder.public_keys / "opqbox5.key").write_text("nonsense")
    result = run(tmp_path, "list", "--json", "--port-offset", str(PORT_OFFSET))
    assert "opqbox5.key" in result.stderr
    assert len(json.loads(result.stdout)) == 2


CONNECTIONS = {"4": 3}


@pytest.fixture
def broker() -> Iterator[int]:
    """Something that answers as a broker's health does; its port less 8911."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(CONNECTIONS).encode() if self.path == "/connections" else b"?"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    while True:
        server = HTTPServer(("127.0.0.1", 0), Handler)
        if server.server_port > 8911:
            break
        server.server_close()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port - 8911
    server.shutdown()
    thread.join()
    server.server_close()


def test_connections_and_last_contact_are_listed(tmp_path: Path, folder: KeyFolder, broker: int) -> None:
    store = open_store(None, tmp_path)
    store.append_measurements([Measurement("1", 1_765_792_486_013, {})])
    store.close()
    first, second = listed(tmp_path, broker)
    assert (first["connected"], first["last_seen_ms"]) == (False, 1_765_792_486_013)
    assert (second["connected"], second["last_seen_ms"]) == (True, None)


def test_connections_without_a_box_are_reported(
    tmp_path: Path, folder: KeyFolder, broker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONNECTIONS, "refused", 2)
    assert [row["connected"] for row in listed(tmp_path, broker)] == [False, True]
    monkeypatch.setitem(CONNECTIONS, "unknown", 7)
    assert [row["connected"] for row in listed(tmp_path, broker)] == [None, True]
    result = run(tmp_path, "list", "--port-offset", str(broker))
    assert "7 connections are in their handshake" in result.stderr
    assert "2 connections are of keys that are not admitted" in result.stderr


def test_key_changes_are_in_their_stores_log(tmp_path: Path, folder: KeyFolder) -> None:
    assert run(tmp_path, "revoke", "4").exit_code == 0
    assert not (tmp_path / "accounts.db").exists()  # no store is there, none is made
    open_store(None, tmp_path).close()
    assert run(tmp_path, "rotate", "1").exit_code == 0
    assert run(tmp_path, "add", "7,8").exit_code == 0
    store = open_store(None, tmp_path)
    entries = store.people.changes.entries()
    store.close()
    assert [(each.what, each.subject) for each in entries[:2]] == [
        ("admitted a Box by its key", "box 8"),
        ("admitted a Box by its key", "box 7"),
    ]
    exchanged = entries[2]
    assert (exchanged.by, exchanged.before["key"], exchanged.after["key"]) == (
        "command line",
        "admitted",
        "rotating",
    )
    assert exchanged.address.startswith("user ")


def test_the_first_service_key_brings_the_servers(tmp_path: Path) -> None:
    def of(*arguments: str) -> Result:
        return CliRunner().invoke(keys.command, [*arguments, "--backend", "--data-dir", str(tmp_path)])

    open_store(None, tmp_path).close()
    assert "make it with opq-tools keys add --backend" in str(of("list").exception)
    assert of("add", "cloud", "view").exit_code == 0
    found = BackendKeyFolder(tmp_path / "backend")
    assert read_secret_file(found.server_secret).public == read_key_file(found.server_public).public
    assert found.box_secret("view").stat().st_mode & 0o777 == 0o600
    rows = json.loads(of("list", "--json").stdout)
    assert [(row["name"], row["state"]) for row in rows] == [("view", "admitted"), ("cloud", "admitted")]
    server = found.server_secret.read_bytes()
    twice = of("add", "third", "cloud")
    assert twice.exit_code and "cloud is admitted already, nothing was changed" in str(twice.exception)
    assert not found.box_public("third").exists() and found.server_secret.read_bytes() == server
    assert of("revoke", "view").exit_code == 0
    assert list(found.admitted()[0].values()) == ["cloud"]
    assert "nothing was changed" in str(of("revoke", "view").exception)
    assert "want up to 32 small letters" in str(of("add", "Cloud").exception)
    pair = generate()
    assert of("add", "view", "--public-key", pair.public.decode()).exit_code == 0
    assert found.admitted()[0][pair.public] == "view"
    assert "a service's key is not exchanged: add a second name" in of("rotate", "cloud").output
    store = open_store(None, tmp_path)
    try:
        changes = [(each.what, each.subject) for each in store.people.changes.entries()]
    finally:
        store.close()
    assert ("admitted services by their key", "services view") in changes
    assert ("revoked the key of services", "services view") in changes


def test_replacing_the_servers_pair_warns_first(tmp_path: Path, folder: KeyFolder) -> None:
    def rotate(*arguments: str) -> Result:
        asked = ["rotate", "--server", "--data-dir", str(tmp_path), *arguments]
        return CliRunner().invoke(keys.command, asked)

    open_store(None, tmp_path).close()
    before = read_secret_file(folder.server_secret)
    assert "2 Boxes (1, 4) would be cut off" in str(rotate().exception)
    assert read_secret_file(folder.server_secret) == before
    said = json.loads(rotate("--force", "--json").stdout)
    after = read_secret_file(folder.server_secret)
    assert after != before and read_key_file(folder.server_public).public == after.public
    assert said["cut_off"] == ["1", "4"] and said["fingerprint"] == key_fingerprint(after.public.decode())
    for box_id in ("1", "4"):
        assert run(tmp_path, "revoke", box_id).exit_code == 0
    assert rotate().exit_code == 0
    own = BackendKeyFolder(tmp_path / "backend")
    own.create(True, ["cloud", "view"])
    first = read_secret_file(own.server_secret)
    assert "it holds when all services" in rotate("--backend").stdout
    assert read_secret_file(own.server_secret) != first
    own.box_secret("view").unlink()  # it is another machine's
    assert "1 name (view) would be cut off" in str(rotate("--backend").exception)
    assert "of 1 name (view)" in rotate("--backend", "--force").stdout
    store = open_store(None, tmp_path)
    try:
        changes = [each for each in store.people.changes.entries() if each.what.startswith("replaced")]
    finally:
        store.close()
    assert [each.subject for each in changes] == ["server of services"] * 2 + ["server of boxes"] * 2


@pytest.mark.parametrize("words", [("list",), ("revoke", "1"), ("rotate", "1")])
def test_a_mistyped_folder_has_no_keys(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nor are the connections of the default addresses those of its keys."""
    done = run_in_process("keys", *words, "--data-dir", str(tmp_path / "x"))
    assert done.returncode == 2 and f"there is no folder {tmp_path / 'x'}" in done.stderr
    (tmp_path / "x").symlink_to(tmp_path / "y")
    assert f"{tmp_path / 'y'}" in run_in_process("keys", *words, "--data-dir", str(tmp_path / "x")).stderr


def test_config_check_names_missing_service_keys(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    reached = '[triggering_broker]\nbackend_endpoint = "tcp://*:9881"\n'
    path.write_text(f'data_dir = "{tmp_path}"\n{reached}')

    def check() -> Any:
        return json.loads(CliRunner().invoke(config_command.command, ["check", str(path), "--json"]).stdout)

    assert check()["ok"] and check()["notes"] == [], "a start makes these keys"
    path.write_text(f'data_dir = "{tmp_path}"\n[backend_keys]\nenabled = false\n{reached}')
    in_clear = check()
    assert in_clear["ok"] and in_clear["notes"] == [
        {
            "key": "backend_keys",
            "text": "in clear, without a key, beyond loopback: triggering_broker.backend_endpoint tcp://*:9881",
        }
    ]
    path.write_text(f'data_dir = "{tmp_path}"\n[backend_keys]\nenabled = true\n{reached}')
    missing = check()
    assert not missing["ok"] and missing["notes"] == []
    assert [each["key"] for each in missing["problems"]] == [
        "triggering_broker.backend_endpoint",
        "triggering_service.measurement_endpoint",
    ]
    assert all("make it with opq-tools keys add --backend" in each["text"] for each in missing["problems"])
    made = CliRunner().invoke(keys.command, ["add", "--backend", "cloud", "--data-dir", str(tmp_path)])
    assert made.exit_code == 0 and check()["problems"] == [] == check()["notes"]
    BackendKeyFolder(tmp_path / "backend").server_secret.unlink()
    elsewhere = check()
    assert elsewhere["ok"]
    assert "only the service that binds this address needs it" in elsewhere["notes"][0]["text"]
