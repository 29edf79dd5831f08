"""The start of a gateway's process: which tree serves, and a guard while a tree is on trial.

Runs before everything else, so it imports little. The tree that the link names is the boot loader of the
other tree. It starts the other tree by exec, which keeps the process's number for systemd, and leaves a child
that ends the process if the trial gives no verdict, even if the new version hangs.
"""

import fcntl
import json
import os
import signal
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path

from opq_gateway.update.decide import TRIAL_S, Role, at_start, failed
from opq_gateway.update.journal import PROGRAM, UpdateFolder
from opq_proto.kit.system_place import default_data_dir

GUARD_S = TRIAL_S + 30.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_by_journal(config: Path, data_dir: Path | None, arguments: list[str]) -> bool:
    """Starts the other tree if that is due, and then does not return; otherwise returns whether this process
    is on trial."""
    folder = UpdateFolder((data_dir or _data_dir(config)) / "gateway")
    if not folder.path.is_dir() or _another_serves(folder.path.parent):
        return False
    before = folder.read()
    role, journal = at_start(before, folder.name_of(sys.prefix), folder.linked, boot_id())
    try:
        if journal != before:
            folder.write(journal)
        if role is Role.TRY:
            program = folder.tree(journal.tree) / PROGRAM
            guard = _leave_guard(folder, journal.tree)
            try:
                os.execv(program, [str(program), *arguments])
            # the program is missing; without this the guard would end this version, which goes on serving
            finally:
                os.kill(guard, signal.SIGKILL)
                os.waitpid(guard, 0)
    except OSError as error:
        with suppress(OSError):  # the disk is full; this version goes on serving
            folder.write(failed(journal, f"the program cannot be started: {error.strerror or error}"))
    return role is Role.ON_TRIAL


def _another_serves(data_folder: Path) -> bool:
    """Whether another gateway has this folder; then the journal is that gateway's, and this process will
    end."""
    try:
        with (data_folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # the file was not there before
    return False


def boot_id() -> str:
    """Names the system's start; "" where Linux does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _leave_guard(folder: UpdateFolder, tree: str) -> int:
    """Forks a child that kills this process after GUARD_S, unless the link names `tree` by then; returns its
    number."""
    watched = os.getpid()
    if guard := os.fork():
        return guard
    until_s = time.monotonic() + GUARD_S
    while os.getppid() == watched and folder.linked != tree:
        if time.monotonic() > until_s:
            os.kill(watched, signal.SIGKILL)
            break
        time.sleep(0.5)
    os._exit(0)


def _data_dir(config: Path) -> Path:
    """The data folder of a configuration; errors in it are reported later."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        if config.is_file():
            text = config.read_bytes().decode("utf-8-sig")
            document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
            return Path(document["data_dir"])
    return default_data_dir()
