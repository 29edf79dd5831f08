"""An emulator's process: in its own group, ended completely, even when our process is killed.

Both emulators use it. QEMU is one process and ends in order at SIGTERM. Renode is a script that waits for
another process, which ignores SIGTERM while it writes to a pty that no process reads.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

END_LIMIT_S = 10.0
"""Time from SIGTERM to SIGKILL, in which a QEMU writes flash and report."""


def ended_with_parent(command: tuple[str, ...]) -> tuple[str, ...]:
    """Extends a command so that it gets SIGTERM when its parent dies, even by kill -9 (util-linux;
    unchanged without it).
    """
    tether = shutil.which("setpriv")
    return (tether, "--pdeathsig", "TERM", *command) if tether else command


@contextlib.contextmanager
def guarded(
    command: Sequence[str], *, open_input: bool = False, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Starts a program in its own session, whose whole group gets SIGKILL if our process dies in the
    block, even by kill -9; `options` as of Popen.

    A shell waits for the end of a pipe that only our process holds. The program begins when that shell is
    there: at the end of its own pipe, before, it does not begin.

    `open_input`: its standard input is a pipe without data, open until the block ends; else /dev/null.
    """
    begin = 'read -r _ && exec "$@"' if open_input else 'read -r _ && exec "$@" </dev/null'
    held = ["/bin/sh", "-c", begin, "held", *command]
    process = subprocess.Popen(held, stdin=subprocess.PIPE, start_new_session=True, **options)
    line = ["/bin/sh", "-c", 'read -r _; kill -KILL "-$1"', "guard", str(process.pid)]
    guard = subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.stdin is not None
    try:
        os.write(process.stdin.fileno(), b"\n")
        if not open_input:
            process.stdin.close()
        yield process
    finally:
        process.stdin.close()
        guard.kill()
        guard.communicate()


def end_group(process: subprocess.Popen[Any], limit_s: float = END_LIMIT_S) -> None:
    """Sends SIGTERM to the process's group, then SIGKILL to the rest; it has its own session."""
    if process.poll() is None:
        _send(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
    _send(process, signal.SIGKILL)
    process.wait()


def _send(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # no process is left
        os.killpg(process.pid, number)
