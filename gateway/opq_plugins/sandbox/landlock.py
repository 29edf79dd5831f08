"""Landlock: where a worker may make and remove files, whom it may signal, which sockets it may connect to.

Needs no rights: a process gives them up for itself and its children. Linux 5.13, where it is switched on;
signals and sockets with a name that is no file since 6.12. Source: linux/landlock.h.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_ONLY, PATH_BENEATH = 1, 1
WRITE_FILE, REMOVE, MAKE, REFER, TRUNCATE = 1 << 1, 0b11 << 4, 0b1111111 << 6, 1 << 13, 1 << 14
ABSTRACT_SOCKET, SIGNAL = 1, 2
SCOPED = 6
"""The version that knows sockets and signals."""


def stay_below(writable: Sequence[Path], *, own_user: bool) -> str:
    """From now on this thread and its children make, rename and remove files below `writable` only.

    `own_user`: they also write there only (and to devices); else another user's rights see to that.
    After `protection.no_new_privileges`, while there is one thread.
    """
    version = LIBC.syscall(CREATE_RULESET, None, 0, VERSION_ONLY)
    if version < 1:
        return _why("landlock")
    handled = REMOVE | MAKE
    if version >= 2:
        handled |= REFER
    if own_user:
        handled |= WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    scope = ABSTRACT_SOCKET | SIGNAL if version >= SCOPED else 0
    wanted = struct.pack("=QQQ", handled, 0, scope)[: 24 if version >= SCOPED else 8]
    rules = LIBC.syscall(CREATE_RULESET, wanted, len(wanted), 0)
    if rules < 0:
        return _why("landlock")
    try:
        allowed = [(path, handled) for path in writable]
        if own_user:
            allowed.append((Path("/dev"), handled & (WRITE_FILE | TRUNCATE)))
        for path, rights in allowed:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if LIBC.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, folder), 0):
                    return _why(f"landlock: {path}")
            finally:
                os.close(folder)
        if LIBC.syscall(RESTRICT_SELF, rules, 0):
            return _why("landlock")
    except OSError as error:
        return f"off: {error.filename} of `writable`: {error.strerror}"
    finally:
        os.close(rules)
    where = ", ".join(map(str, writable)) or "nowhere"
    return f"on: below {where}" + ("" if scope else "; signals and abstract sockets are open: Linux 6.12")


def _why(what: str) -> str:
    return f"off: {what}: {os.strerror(ctypes.get_errno())}"
