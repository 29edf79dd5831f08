"""Imported by a process of a test: notes its changes of a folder, and kills its group before one of them."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

FOLDER, LOG = os.environ["OPQ_TEST_FOLDER"], os.environ["OPQ_TEST_WRITES"]
SNAPSHOTS = os.environ.get("OPQ_TEST_SNAPSHOTS", "")
CHANGES = {"os.rename": 1, "os.remove": 0, "os.symlink": 1, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0}
"""Event of a change -> which of its arguments is the path. Source: docs.python.org, Audit events."""
_log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_left = int(os.environ["OPQ_TEST_KILL"])
_copying = False
_fsync = os.fsync


def _note(what: str, **facts: object) -> None:
    os.write(_log, json.dumps({"what": what, **facts}).encode() + b"\n")


def _count(path: object) -> None:
    """One more change in the folder; the power goes before it when it is the one."""
    global _left, _copying  # noqa: PLW0603
    if _copying or not isinstance(path, (str, bytes, os.PathLike)):
        return
    if not os.fsdecode(path).startswith(FOLDER):
        return
    _left -= 1
    os.environ["OPQ_TEST_KILL"] = str(_left)  # goes on after an exec
    if _left == 0:
        os.killpg(0, signal.SIGKILL)
    _copying = True
    if SNAPSHOTS:
        number = sum(1 for _ in Path(SNAPSHOTS).iterdir())
        shutil.copytree(  # links: what is complete is not written again
            FOLDER, Path(SNAPSHOTS) / str(number), symlinks=True, copy_function=os.link
        )
    _copying = False
    _note("change")


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _count(arguments[0])
    elif event in CHANGES:
        _count(arguments[CHANGES[event]])
        if event == "os.rename" and str(arguments[1]).startswith(FOLDER):
            _note("renamed", **{"from": str(arguments[0])}, **_before(Path(str(arguments[1]))))


def _before(path: Path) -> dict[str, object]:
    """What the name has now."""
    facts: dict[str, object] = {"path": str(path), "folder": str(path.parent)}
    if path.is_symlink():
        facts["link"] = str(path.readlink())
    elif path.is_file() and path.stat().st_size < 100_000:
        facts["text"] = path.read_bytes().hex()
    return facts


def _flush(file: "int | object") -> None:
    number = file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined]
    path = str(Path(f"/proc/self/fd/{number}").readlink())
    _count(path)
    _fsync(number)
    now = os.fstat(number)
    _note("flushed", path=path, mtime_ns=now.st_mtime_ns, bytes=now.st_size)


os.fsync = _flush  # type: ignore[assignment]
sys.addaudithook(_hear)
