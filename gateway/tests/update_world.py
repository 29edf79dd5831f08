"""A gateway's update with real processes: its folder, a supervisor in the place of systemd, and power cuts.

The program of the stand-in bundles is this repository's own code: a `.pth` file leads to it. SIGKILL comes
before the n-th change that the program makes in the folder. What a power cut leaves is modelled: of an update
that nothing disturbs, `recorded_writes.py` keeps the folder as it was before each change, and what was
flushed by then. Each file that was not flushed is kept, emptied, cut, or gone, and each rename that was not
flushed is undone or not, at random. pip's changes count as one of the program's: the tree is not flushed
until all of it is.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sysconfig
import time
import venv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from update_scene import Scene, make_bundle

from opq_gateway.update.journal import UpdateFolder
from opq_hil.backends.processes import ended_with_parent

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(str(ROOT / room) for room in ("proto", "gateway", "cloud", "hil", "tools"))]
SITE = sysconfig.get_path("purelib")
OLD, NEW = "0.1.0", "0.2.0"
HASTE = -15
UPDATER = """
import os, sys, threading
from pathlib import Path
if "OPQ_TEST_WRITES" in os.environ:
    sys.path.append({here!r})
    import recorded_writes
from opq_gateway.update import decide, starting
from opq_gateway.software_version import software_version
decide.FIRST_S, decide.STEADY_S, decide.LOOK_S = 0.01, 0.05, 0.2
starting.BOOT_ID = Path(os.environ["OPQ_TEST_BOOT"])
data = Path(sys.argv[1])
if sys.argv[2:] == ["version"]:
    print(software_version())
    sys.exit()
on_trial = starting.start_by_journal(data / "gateway.toml", data, sys.argv[1:])
from opq_gateway.update.journal import UpdateFolder
from opq_gateway.update.updater import Updater
stop = threading.Event()
url = (data / "url").read_text()
updater = Updater(UpdateFolder(data / "gateway"), (url, ""), {{}}, None, (b"", b""), stop.set)
updater._send = lambda report: None
updater.run(stop, on_trial)
"""
"""The updater without a gateway: no Box, so a trial that comes up goes well."""
WHOLE = """
from opq_gateway.update import decide
decide.FIRST_S, decide.STEADY_S, decide.LOOK_S = 0.3, 0.5, 0.5
from opq_gateway import main
main()
"""
"""The whole gateway, in a hurry."""


def sources() -> dict[str, str]:
    """Leads to the code of this repository and to what it needs, from within a wheel."""
    return {"opq_sources.pth": "\n".join([*SOURCES, SITE]) + "\n"}


def first_tree(folder: Path, bundles: Path, script: str) -> Path:
    """An installation outside of the update's folder, as /opt/opq is."""
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin/python"
    house = make_bundle(bundles, OLD, script, sources()).parent
    wheels = bundles / "first"
    wheels.mkdir()
    for wheel in (house / OLD).glob("*.whl"):
        shutil.copy(wheel, wheels)
    pip = house / "pip-1.0-py3-none-any.whl"
    subprocess.run([python, "-I", pip / "pip", "--find-links", wheels, "opq-toolkit"], check=True)
    return folder


class UpdateWorld:
    """One gateway's data folder, and the program that its link names."""

    def __init__(self, folder: Path, scene: Scene, url: str, first: Path) -> None:
        self.data = folder / "data"
        self.folder = UpdateFolder(self.data / "gateway")
        self.first = first
        self.boot = folder / "boot_id"
        self.boot.write_text("boot 1")
        self.writes = folder / "writes.jsonl"
        self.scene = scene
        self.folder.path.mkdir(parents=True)
        scene.trust(self.folder.path)
        (self.data / "url").write_text(url)
        self.folder.point(first)

    def reset(self) -> None:
        """As it was before any update, but for the metadata that was seen."""
        for path in self.folder.path.iterdir():
            if path.name not in ("root.json", "current"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.folder.point(self.first)

    def start(self, kill_at: int | None = None) -> subprocess.Popen[bytes]:
        """What the unit starts, in its own process group; it dies before its `kill_at`th change."""
        environment = {**os.environ, "OPQ_TEST_BOOT": str(self.boot)}
        if kill_at is not None:
            environment |= {"OPQ_TEST_WRITES": str(self.writes), "OPQ_TEST_KILL": str(kill_at)}
            environment["OPQ_TEST_FOLDER"] = str(self.folder.path)
        command = ended_with_parent((str(self.folder.link / "bin/opq-gateway"), str(self.data)))
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=quiet, stdout=quiet
        )
        hasten(process)
        return process

    def version(self, tree: Path | None = None) -> str:
        """The version of the program of a tree, else of what the link names; it has to run."""
        command = [str((tree or self.folder.link) / "bin/opq-gateway"), str(self.data), "version"]
        environment = {**os.environ, "OPQ_TEST_BOOT": str(self.boot)}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def run_on(self, within_s: float = 240.0) -> str:
        """Starts it again and again, as systemd does, until nothing is under way; returns the version."""
        until_s = time.monotonic() + within_s
        while True:
            process = self.start()
            try:
                while process.poll() is None:
                    journal = self.folder.read()
                    if journal.step == "idle" and (self.folder.linked or journal.refused):
                        return self.version()
                    assert time.monotonic() < until_s, journal
                    time.sleep(0.02)
            finally:
                end_group(process)

    def run_to_kill(self, kill_at: int) -> bool:
        """Runs until the `kill_at`th change; False: there are not so many."""
        self.writes.write_text("")
        while True:
            made = self.writes.read_text().count('"change"')
            process = self.start(kill_at - made)
            while process.poll() is None:
                if self.folder.linked and self.folder.read().step == "idle":
                    end_group(process)
                    return False
                time.sleep(0.01)
            end_group(process)
            if process.returncode == -signal.SIGKILL:
                return True

    def recorded(self) -> list["Moment"]:
        """One update that nothing disturbs: the folder before each of its changes, and what was flushed."""
        snapshots = self.writes.parent / "moments"
        shutil.rmtree(snapshots, ignore_errors=True)
        snapshots.mkdir()
        os.environ["OPQ_TEST_SNAPSHOTS"] = str(snapshots)
        try:
            self.reset()
            assert not self.run_to_kill(1_000_000)
        finally:
            del os.environ["OPQ_TEST_SNAPSHOTS"]
        flushed: set[Flushed] = set()
        renames: list[dict[str, str]] = []
        moments = []
        for entry in map(json.loads, self.writes.read_text().splitlines()):
            match entry["what"]:
                case "change":
                    moments.append(Moment(snapshots / str(len(moments)), frozenset(flushed), tuple(renames)))
                case "flushed":
                    flushed.add((entry["path"], entry["mtime_ns"], entry["bytes"]))
                    renames = [each for each in renames if each["folder"] != entry["path"]]
                case "renamed":
                    flushed |= {(entry["path"], *rest) for path, *rest in flushed if path == entry["from"]}
                    renames.append(entry)
        return moments

    def put_back(self, moment: "Moment", chance: random.Random) -> int:
        """Makes the folder what a power cut at a moment may leave; returns how many things it damaged."""
        shutil.rmtree(self.folder.path)
        shutil.copytree(moment.place, self.folder.path, symlinks=True)
        changed = 0
        for entry in reversed(moment.renames):
            if chance.random() < 0.5:
                undo(entry)
                changed += 1
        for path in list(files_below(self.folder.path)):
            now = path.lstat()
            if (str(path), now.st_mtime_ns, now.st_size) in moment.flushed or path.name == "root.json":
                continue
            lot = chance.randrange(4)
            changed += lot != 0
            if lot == 1:
                path.unlink()
            elif lot > 1:
                os.truncate(path, 0 if lot == 2 else now.st_size // 2)
        self.boot.write_text(f"boot {chance.random()}")
        return changed


Flushed = tuple[str, int, int]
"""Path, time of its last change, size."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The folder before one change, what was on disk for sure by then, and the renames that were not."""

    place: Path
    flushed: frozenset[Flushed]
    renames: tuple[dict[str, str], ...]


def undo(entry: dict[str, str]) -> None:
    """The name has again what it had before the rename, or is not there."""
    path = Path(entry["path"])
    path.unlink(missing_ok=True)
    if entry.get("link"):
        path.symlink_to(entry["link"])
    elif entry.get("text") is not None:
        path.write_bytes(bytes.fromhex(entry["text"]))


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files; links are whole or not there."""
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if not path.is_symlink() and path.is_file():
                yield path


def hasten(process: subprocess.Popen[bytes]) -> None:
    """Raises the priority of a process's session, where we may: a gateway has its own processor, as a
    Box has, which keeps 3.2 s. Source: sched(7), autogroup."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PGRP, process.pid, HASTE)
        Path(f"/proc/{process.pid}/autogroup").write_text(str(HASTE))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """What systemd does to a unit's processes at the end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def updater_script() -> str:
    return UPDATER.format(here=str(Path(__file__).parent))
