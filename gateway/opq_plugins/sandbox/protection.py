"""Steps by which a process confines itself: another user, no capabilities, limits, no new privileges.

Each step returns "on" or the user, or "off: " with the reason why the kernel or our privileges do not
permit it. Linux only, by ctypes: no package, no helper program.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
"""Operation of prctl, like the next three (linux/prctl.h)."""
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
READ_CLOSED = (1 << 2, 1 << 1)
"""CAP_DAC_READ_SEARCH, or else CAP_DAC_OVERRIDE, which containers have."""


def use_user(uid: int | None, wanted: Sequence[Path]) -> str:
    """Gives up root, and every capability except reading closed folders, if `wanted` is in one.

    Landlock limits reading afterwards, and user and Landlock limit writing.

    Args:
        uid: the user to become for good; None: this one.
        wanted: paths that have to be readable, e.g. an interpreter below /root.
    """
    user = os.geteuid() if uid is None else uid
    closed = [path for path in wanted if is_there(path) and not readable_by(user, path.resolve())]
    held = _permitted()
    kept = next((each for each in READ_CLOSED if each & held), 0) if closed else 0
    if uid is not None:
        if closed and not kept:
            return f"off: {closed[0]} is closed to other users than root; open that folder"
        LIBC.prctl(PR_SET_KEEPCAPS, int(bool(kept)), 0, 0, 0)
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            return f"off: cannot become user {uid}: {error.strerror}"
    sets = struct.pack("=6I", kept, kept, 0, 0, 0, 0)
    if LIBC.capset(CAPABILITY_HEADER, sets) and _permitted() & ~kept:  # a unit's filter may forbid the call
        return why_off("capset")
    return f"uid {user}{', as the server' if uid is None else ''}"


def is_there(path: Path) -> bool:
    """Whether it exists, as far as this user may know."""
    try:
        return path.exists()
    except OSError:
        return False


def readable_by(uid: int, path: Path) -> bool:
    """Whether user `uid`, without groups, can read `path`."""
    for each in (path, *path.parents):
        try:
            found = each.stat()
        except OSError:
            return False
        wanted = 0o5 if each.is_dir() else 0o4
        mode = found.st_mode >> 6 if found.st_uid == uid else found.st_mode
        if each != path:
            wanted = 0o1
        if mode & wanted != wanted:
            return False
    return True


def limit(memory_bytes: int, cpu_s: int, file_bytes: int, open_files: int, processes: int) -> str:
    """Sets hard rlimits, which cannot be raised again. A limit of 0 is not changed."""
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_NPROC: processes,
    }
    for which, value in wanted.items():
        if value:
            _, hard = resource.getrlimit(which)
            low = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (low, low))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "on"


def no_new_privileges() -> str:
    """Set-uid programs then give no privileges; Landlock and the seccomp filter need this too."""
    return why_off("prctl") if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) else "on"


def adopt_orphans() -> None:
    """Orphans of our children become our children, and not those of the first process."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def first_to_go() -> None:
    """When memory runs out, the kernel then kills the worker and not the server."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def end_with_parent() -> None:
    """Requests SIGKILL for the end of the parent. Call it after `use_user`, which resets it."""
    LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def why_off(what: str) -> str:
    return f"off: {what}: {os.strerror(ctypes.get_errno())}"


def _permitted() -> int:
    """The capabilities that this thread may use, as bits."""
    sets = ctypes.create_string_buffer(24)
    if LIBC.capget(CAPABILITY_HEADER, sets):
        return 0
    words = struct.unpack("=6I", sets.raw)
    return int(words[1] | words[4] << 32)
