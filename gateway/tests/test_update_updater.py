"""The updater without a gateway: what it remembers, what a full disk does, who may write the journal."""

import fcntl
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
from in_thread import in_thread
from update_scene import Scene, WebServer, make_bundle, web_server

from opq_gateway.update import decide, repository, updater
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.updater import Updater
from opq_proto.keys.key_files import generate
from opq_proto.release.report import Report

NEW = "99.0"
Usage = namedtuple("Usage", "total used free")


class World:
    """An updater with a repository, and what it reported."""

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.scene, self.server = Scene(folder / "repository"), server
        self.folder = UpdateFolder(folder / "gateway")
        self.scene.trust(self.folder.path)
        self.folder.point(folder)
        self.bundles = folder / "bundles"
        self.ended = Event()
        self.reports: list[Report] = []
        self.updater = Updater(self.folder, (server.url, ""), {}, None, (b"", b""), self.ended.set)  # type: ignore[arg-type]
        self.updater._send = self.reports.append  # type: ignore[method-assign]

    def roll_out(self, version: str, **spoiled: Any) -> None:
        bundle = make_bundle(self.bundles, version)
        if spoiled:
            bundle.write_bytes(b"spoiled")
        self.scene.add(bundle, version)
        self.scene.roll_out(version)

    def look(self) -> tuple[str, str]:
        self.updater.look(Event())
        return self.reports[-1].state, self.reports[-1].reason

    def fetched(self) -> int:
        return sum("/targets/" in each for each in self.server.asked)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with web_server(tmp_path / "repository") as server:
        yield World(tmp_path, server)


def test_an_unbuildable_bundle_is_fetched_once(world: World) -> None:
    world.roll_out("99.0", spoiled=True)
    state, why = world.look()
    assert state == "failed" and "is not a bundle" in why
    assert not world.folder.bundle.exists() and not world.folder.wheels.exists()
    assert world.look() == (state, why) and world.fetched() == 1
    world.roll_out("99.1")
    assert world.look() == ("trying", "") and world.ended.is_set()
    assert world.folder.read().refused and world.folder.read().step == decide.READY


def test_a_release_for_others_is_left_alone(world: World) -> None:
    world.scene.add(make_bundle(world.bundles, NEW), NEW, tag="cp27-vax")
    world.scene.roll_out(NEW)
    state, why = world.look()
    assert state == "well" and "there is no gateway-99.0-" in why


def test_an_earlier_gateways_build_is_waited_for(world: World) -> None:
    world.roll_out(NEW)
    with (world.folder.path / "building.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state, why = world.look()
    assert state == "waiting" and why.endswith(": an earlier build is still running")
    assert world.folder.read() == decide.Journal()


def test_without_room_nothing_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.roll_out(NEW)
    monkeypatch.setattr(repository.shutil, "disk_usage", lambda _: Usage(0, 0, 100))
    state, why = world.look()
    assert state == "waiting" and "gateway-99.0-" in why and "100 are free" in why and world.fetched() == 0
    monkeypatch.undo()
    assert world.look()[0] == "trying"


def test_a_waiting_gateway_looks_again_soon(world: World) -> None:
    bundle = make_bundle(world.bundles, NEW)
    world.scene.add(bundle, NEW)
    world.scene.roll_out(NEW, share=0)
    assert (
        world.updater.look(Event()) is True and world.reports[-1].reason == "this gateway's turn has not come"
    )
    world.scene.roll_out(NEW, share=0, paused=True)
    assert world.updater.look(Event()) is False, "paused"
    world.scene.add(make_bundle(world.bundles, "0.0.1"), "0.0.1")
    world.scene.roll_out("0.0.1", share=0)
    assert world.updater.look(Event()) is False, "an older version"


def test_a_requested_look_comes_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Queue[int] = Queue()
    monkeypatch.setattr(decide, "FIRST_S", decide.LOOK_S)
    monkeypatch.setattr(world.updater, "look", lambda _: bool(looks.put(0)))
    with in_thread(lambda stop: world.updater.run(stop, False)):
        done, words = world.updater.look_now()  # a look that was not requested would come after an hour
        assert done and world.server.url in words
        looks.get(timeout=240)
        world.updater.look_now()
        looks.get(timeout=240)
    world.updater._url = ""
    assert world.updater.look_now()[0] is False


FULL = """
import subprocess, sys
from pathlib import Path
from threading import Event
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.updater import Updater
from opq_gateway.update import repository
place, url, root = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes()
repository.ROOM_FACTOR = 0  # the room is there when it looks, and gone when it writes
mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "full", str(place)]
subprocess.run(mount, check=True)
for kib in range(8, 200, 20):
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(place)], check=True)
    folder = UpdateFolder(place / "gateway")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.root.write_bytes(root)
    if not folder.link.is_symlink():
        folder.point(place)
    updater = Updater(folder, (url, ""), {}, None, (b"", b""), lambda: None)
    updater._send = lambda report: print("REPORT", report.state, report.reason)
    updater.look(Event())
    if folder.read().step != "idle":
        break
    assert not any((folder.path / name).exists() for name in ("a", "b", "wheels", "bundle.zip"))
"""


def test_a_full_disk_leaves_no_tree(world: World, tmp_path: Path) -> None:
    world.roll_out(NEW)
    (tmp_path / "disk").mkdir()
    root = world.folder.root
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", FULL]
    done = subprocess.run(
        [*command, tmp_path / "disk", world.server.url, root], capture_output=True, text=True, check=False
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    *full, built = [line.split(" ", 2) for line in done.stdout.splitlines() if line.startswith("REPORT")]
    print(*(each[2] for each in full), sep="\n")
    assert built[1] == "trying" and len(full) > 3
    for _, state, reason in full:
        assert state in ("waiting", "failed") and re.search("[Nn]o space left|cannot be", reason), reason


def test_an_unmovable_link_ends_the_trial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The former version goes on."""
    monkeypatch.setattr(decide, "STEADY_S", 0.0)
    monkeypatch.setattr(decide, "TRIAL_S", 0.05)
    monkeypatch.setattr(updater, "CHECK_S", 0.01)
    world.folder.write(decide.Journal(decide.TRYING, "b", NEW, 1))
    (world.folder.path / ".current.new/full").mkdir(parents=True)
    world.updater.run(world.ended, on_trial=True)
    refused = world.folder.read().refused[NEW]
    assert world.ended.is_set() and world.updater.judged.is_set()
    assert refused.startswith("after 0.05 s the link cannot be moved: ") and "\n" not in refused
    assert world.folder.linked == ""


START = """
import os, sys
from pathlib import Path
from opq_gateway.update.starting import start_by_journal
print(start_by_journal(Path("none"), Path(sys.argv[1]), []))
os.waitpid(-1, 0)
"""


def start(world: World) -> subprocess.CompletedProcess[str]:
    """A start by the link: whether it is on trial, and then a wait for children that it should not have."""
    command = [sys.executable, "-c", START, str(world.folder.path.parents[1])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_missing_tree_is_not_started(world: World) -> None:
    world.folder.write(decide.Journal(decide.READY, "b", NEW))
    done = start(world)
    assert done.stdout == "False\n" and "ChildProcessError" in done.stderr, done.stderr
    assert world.folder.read().refused == {NEW: "the program cannot be started: No such file or directory"}


def test_a_second_start_leaves_the_journal(world: World) -> None:
    ready = decide.Journal(decide.READY, "b", NEW)
    world.folder.write(ready)
    with (world.folder.path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert start(world).stdout == "False\n"
    assert world.folder.read() == ready


def test_a_report_follows_no_redirect(world: World) -> None:
    """The server whose address is configured may have no keys, and another program may listen there."""
    pair = generate()
    keys = (pair.secret or b"", generate().public)
    with web_server(world.folder.path) as other:
        other.moved_to = f"{world.server.url}/elsewhere"
        reporting = Updater(world.folder, (other.url, ""), {}, None, keys, world.ended.set)  # type: ignore[arg-type]
        reporting._send(Report("1", "0.1.0", 0))
        assert [each["gateway"] for each in other.reports] == ["1"]
    assert not world.server.asked
