"""The process of one version of one plug-in: `python -m opq_plugins.worker`, started by `WorkerProcess`.

It begins as a keeper, which waits for its child, the worker, and for its stdin, which ends when the host
ends. The keeper keeps its privileges, so that a plug-in cannot reach it. The worker gives up all privileges
before it reads a line of the plug-in. A worker that cannot confine itself reads only a trusted plug-in.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from opq_plugins.sandbox import landlock, protection, system_calls
from opq_plugins.sandbox.process_tree import resident_bytes, started_by
from opq_plugins.sdk import Value
from opq_plugins.worker.refusals import name_refusals

LAST_MS = 500
ROUNDS = 50
"""So often processes are looked for that others have started meanwhile."""
POLL_MS = 250


def main() -> None:
    """`worker WIRE REPORT`: two file descriptors, the second for the keeper; stdin has the facts as JSON."""
    wire_fd, report_fd = int(sys.argv[1]), int(sys.argv[2])
    facts: dict[str, Value] = json.loads(sys.stdin.buffer.readline())
    protection.adopt_orphans()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        protections = _confine(facts)
        lacking = [f"{what}: {why}" for what, why in protections.items() if why.startswith("off")]
        if lacking and not facts["trusted"]:
            _report(report_fd, {"unconfined": "; ".join(lacking)})
            os._exit(1)
        # reported before the plug-in runs, because it may lie
        _report(report_fd, {"protections": protections})
        os.close(report_fd)
        from opq_plugins.worker.symbol_instances import serve  # now as the other user

        wire = socket.socket(fileno=wire_fd)
        if protections["system calls"].startswith("on"):
            name_refusals(facts["network"], facts["network_place"])
        serve(wire, Path(facts["folder"]), facts["manifest"], facts["limits"])
        os._exit(0)
    os.close(wire_fd)
    _keep(child, report_fd, facts["limits"]["memory_bytes"])


def _confine(facts: Mapping[str, Value]) -> dict[str, str]:
    """Confines this process for good. Returns protection -> "on: ...", or "off: ..." with the reason."""
    limits, folder = facts["limits"], Path(facts["folder"])
    uid: int | None = facts["uid"] if os.geteuid() == 0 else None
    os.setsid()
    protection.first_to_go()
    wanted = [Path(sys.base_prefix), Path(sys.prefix), *map(Path, sys.path), folder]
    protections = {"user": protection.use_user(uid, wanted)}
    others = _tasks_of(os.geteuid()) if uid is None else 0  # the limit counts all processes of the user
    protections["limits"] = protection.limit(
        limits["memory_bytes"],
        limits["cpu_s"],
        limits["file_bytes"],
        limits["open_files"],
        limits["processes"] + others,
    )
    protection.end_with_parent()
    protections["no new privileges"] = protection.no_new_privileges()
    network, version = list(facts["network"]), landlock.version()
    allowed = landlock.Allowed(
        folder,
        readable=tuple(map(Path, facts["readable"])),
        writable=tuple(map(Path, facts["writable"])),
        connect=tuple(int(each[4:]) for each in network if each.startswith("tcp:")),
        listen=tuple(int(each[7:]) for each in network if each.startswith("listen:")),
    )
    protections["files"] = landlock.restrict(allowed, version)
    kinds = {each.partition(":")[0] for each in network}
    filtered = system_calls.restrict(kinds, signals_are_limited=version >= landlock.SIGNALS_VERSION)
    protections["system calls"] = filtered
    protections["network"] = f"on: {', '.join(network) or 'none'}" if filtered.startswith("on") else filtered
    if kinds & {"tcp", "listen"} and version < landlock.TCP_VERSION:
        protections["network"] += "; every TCP port is open, because Linux limits them from 6.7 on"
    return protections


def _keep(child: int, report_fd: int, memory_bytes: int) -> None:
    """Waits until the worker or the host ends; then kills and counts all that the worker started.

    The worker and the processes that it started share one memory limit.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end comes by stdin, or by SIGKILL
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
        others = started_by(child)
        if others and (held := resident_bytes([child, *others], memory_bytes)) > memory_bytes:
            ended = f"its {len(others) + 1} processes have {held >> 20} MiB of {memory_bytes >> 20}"
            break
        if 0 in ready:
            if os.read(0, 1):
                break
            poll.unregister(0)  # the wire or the host has ended: so will the worker, unless it hangs
            poll.poll(LAST_MS)
            break
    # Stopped first: one that is killed leaves its place in the limit of processes to a fork bomb's next one.
    _signal(child, signal.SIGSTOP)
    survivors: list[int] = []
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for _ in range(ROUNDS):
            left = [pid for pid in started_by(child) if number == signal.SIGKILL or pid not in survivors]
            if not left:
                break
            survivors += [pid for pid in left if pid not in survivors]
            for pid in left:
                _signal(pid, number)
    _signal(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    _report(report_fd, {"code": code, "survivors": len(survivors)} | ({"ended": ended} if ended else {}))
    os._exit(code if code >= 0 else 128 - code)


def _reap_orphans(child: int) -> None:
    """Reaps ended orphans, which are our children."""
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


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _report(report_fd: int, facts: Mapping[str, object]) -> None:
    try:
        os.write(report_fd, json.dumps(facts).encode() + b"\n")
    except OSError:
        return  # the host is gone


if __name__ == "__main__":
    main()
