"""The process of one version of one plug-in: `python -m opq_plugins.worker`, started by `WorkerProcess`.

It begins as a keeper, which only waits: for its child, the worker proper, and for its own stdin, which ends
when the host ends. The keeper keeps its privileges, so that a plug-in cannot reach it; the worker gives up
all of them before a line of the plug-in is read.
"""

import json
import os
import pwd
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from opq_plugins.sandbox import filters, protection
from opq_plugins.sandbox.process_tree import resident_bytes, space_of, started_by
from opq_plugins.sdk import Value

LAST_MS = 500
POLL_MS = 250


def main() -> None:
    """`worker WIRE REPORT`: two file descriptors, the second for the keeper; stdin has the facts as JSON."""
    wire_fd, report_fd = int(sys.argv[1]), int(sys.argv[2])
    facts: dict[str, Value] = json.loads(sys.stdin.buffer.readline())
    protections: dict[str, str] = {}
    writable = [Path(each) for each in facts["writable"]]
    uid: int | None = facts["uid"] if os.geteuid() == 0 else None
    spaces = protections["name spaces"] = protection.own_name_spaces()
    protections["files"] = "off: it reads what the server's user may"
    copy: Path | None = None
    if uid is not None or spaces == "on":
        folder = Path(facts["folder"])
        if uid is not None and spaces != "on" and not protection.readable_by(uid, folder):
            copy = _copied(folder)
            facts["folder"] = str(copy / "plugin")
        wanted = [Path(sys.base_prefix), Path(sys.prefix), *map(Path, sys.path), Path(facts["folder"])]
        if spaces == "on":
            hidden = [Path(facts["hidden"]), *([_home_folder()] if uid is None else [])]
            whose = os.geteuid() if uid is None else uid
            ways = protection.open_ways(whose, wanted, hidden, writable)
            protections["own folder in memory"] = protection.own_scratch(facts["limits"]["file_bytes"])
        else:
            ways = _closed(facts["uid"], wanted)
        protections["files"] = ways
        if uid is not None and (ways.startswith("off") or ways.endswith("closed to other users")):
            if not facts["allow_root"]:
                if copy is not None:
                    shutil.rmtree(copy, ignore_errors=True)
                why = f"it would run as root: {ways}; open that folder, or let the policy allow_root"
                _report(report_fd, {"refused": why})
                sys.exit(1)
            uid = None
    protection.adopt_orphans()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if protections["name spaces"] == "on":
            protections["processes"] = protection.own_proc()
            _reap(wire_fd, report_fd)
        _confine(facts, uid, protections, writable)
        _report(report_fd, {"protections": protections})  # by us, because a plug-in may lie
        os.close(report_fd)
        from opq_plugins.worker.server import serve  # now as the other user

        serve(socket.socket(fileno=wire_fd), Path(facts["folder"]), facts["manifest"], facts["limits"])
        os._exit(0)
    os.close(wire_fd)
    _keep(child, report_fd, copy, facts["limits"]["memory_bytes"])


def _home_folder() -> Path:
    """The home of the server's user; a worker of the same user must not read it."""
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        home = Path("/nonexistent")
    return home if home != Path("/") else Path("/nonexistent")


def _copied(folder: Path) -> Path:
    """A copy that the worker's user can read: the data folder is closed, and cannot be mounted elsewhere."""
    copy = Path(tempfile.mkdtemp(prefix="opq-plugin-"))
    shutil.copytree(folder, copy / "plugin")
    copy.chmod(0o755)
    return copy


def _reap(wire_fd: int, report_fd: int) -> None:
    """Runs the first process of a name space, which ignores signals and reaps orphans, and does nothing else.

    Returns in the worker, the second process; when that ends, the first one ends, and with it all others.
    """
    worker = os.fork()
    if worker == 0:
        return
    os.close(wire_fd)
    os.close(report_fd)
    protection.end_with_parent()
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _confine(
    facts: dict[str, Value], uid: int | None, protections: dict[str, str], writable: list[Path]
) -> None:
    limits = facts["limits"]
    os.setsid()
    protection.first_to_go()
    processes = limits["processes"]
    if uid is not None:
        protections["user"] = protection.become(uid)
    elif os.geteuid() == 0:
        protections["user"] = "off: runs as root"  # for root a limit of processes has no effect
    else:
        protections["user"] = protection.give_up_capabilities()
    if os.geteuid() != 0:
        processes += _tasks_of(os.geteuid())  # the limit counts all processes of the user
    protections["limits"] = protection.limit(
        limits["memory_bytes"], limits["cpu_s"], limits["file_bytes"], limits["open_files"], processes
    )
    protection.end_with_parent()
    protections["no new privileges"] = protection.no_new_privileges()
    if protections.get("own folder in memory", "").startswith("on"):
        writable = [protection.SCRATCH, *writable]
        os.environ["TMPDIR"] = str(protection.SCRATCH)
    protections["new files, signals"] = filters.stay_below(writable, own_user=uid is None)
    protections["system calls"] = filters.filter_system_calls()


def _keep(child: int, report_fd: int, copy: Path | None, memory_bytes: int) -> None:
    """Waits until the worker or the host ends; then kills and counts all that the worker started.

    The processes that the worker started count with it: together they have the memory limit of one.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end comes by stdin, or by SIGKILL
    space = space_of(child)
    own_space = space != space_of(os.getpid())
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    ended = ""
    while True:
        ready = {fd for fd, _ in poll.poll(POLL_MS)}
        if handle in ready:
            break
        _reap_orphans(child)
        others = started_by(child, space if own_space else None)
        if others and (held := resident_bytes([child, *others], memory_bytes)) > memory_bytes:
            ended = f"its {len(others) + 1} processes have {held >> 20} MiB of {memory_bytes >> 20}"
            break
        if 0 in ready:
            if os.read(0, 1):
                break
            poll.unregister(0)  # the wire or the host has ended: so will the worker, unless it hangs
            poll.poll(LAST_MS)
            break
    survivors = started_by(child, space if own_space else None)
    for pid in (child, *survivors):
        _kill(pid)
    _, status = os.waitpid(child, 0)
    for _ in range(50):  # a fork bomb without its own name space may be faster than we are
        left = [] if own_space else started_by(child, None)
        if not left:
            break
        survivors += [pid for pid in left if pid not in survivors]
        for pid in left:
            _kill(pid)
    code = os.waitstatus_to_exitcode(status)
    if copy is not None:
        shutil.rmtree(copy, ignore_errors=True)
    _report(report_fd, {"code": code, "survivors": len(survivors)} | ({"ended": ended} if ended else {}))
    os._exit(code if code >= 0 else 128 - code)


def _reap_orphans(child: int) -> None:
    """Reaps orphans that have ended; without a name space of their own they are our children."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None or ended.si_pid == child:
            return
        os.waitpid(ended.si_pid, 0)


def _tasks_of(uid: int) -> int:
    """Number of threads in all processes of the user."""
    count = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid:
                count += len(os.listdir(path / "task"))  # noqa: PTH208
        except OSError:
            continue
    return count


def _closed(uid: int, wanted: list[Path]) -> str:
    closed = [path for path in wanted if path.exists() and not protection.readable_by(uid, path.resolve())]
    return f"off: {closed[0]} is closed to other users" if closed else "not needed"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _report(report_fd: int, facts: Mapping[str, object]) -> None:
    try:
        os.write(report_fd, json.dumps(facts).encode() + b"\n")
    except OSError:
        return  # the host is gone


if __name__ == "__main__":
    main()
