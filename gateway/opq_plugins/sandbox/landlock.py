"""Landlock: the files that the process of a plug-in may read and write, and the TCP ports that it may use.

It needs neither privileges nor a name space, and cannot be undone by the process or its children. Actions
without a rule are refused: reading, writing, making, removing and executing files; connecting to and
listening on TCP ports (from Linux 6.7); signals to other processes and sockets without a file (from 6.12).
It also prevents tracing processes outside, and reading their memory and environment.

Source: linux/landlock.h; Documentation/userspace-api/landlock.rst.
"""

import ctypes
import errno
import os
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opq_plugins.sandbox.protection import LIBC

# Numbers of system calls, the same on every machine.
CREATE_RULESET = 444
ADD_RULE = 445
RESTRICT_SELF = 446

VERSION_ONLY = 1
"""Flag of CREATE_RULESET: returns the version of Landlock and makes nothing."""

# Kinds of rule.
PATH_BENEATH = 1
NET_PORT = 2

# Rights on files (LANDLOCK_ACCESS_FS_...).
EXECUTE = 1
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE = 0b11 << 4
"""Folders and files."""
MAKE = 0b1111111 << 6
"""Every kind of file."""
MAKE_DEVICE = 1 << 6 | 1 << 11
"""Character and block devices, a part of MAKE."""
REFER = 1 << 13
"""Linking and moving a file into another folder."""
TRUNCATE = 1 << 14
DEVICE_CONTROL = 1 << 15
"""ioctl on devices."""

# Rights on TCP ports (LANDLOCK_ACCESS_NET_...).
BIND_TCP = 1
CONNECT_TCP = 1 << 1

# What a domain keeps within itself (LANDLOCK_SCOPE_...).
ABSTRACT_SOCKET = 1
SIGNAL = 1 << 1

FILES_ONLY = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICE_CONTROL
"""Rights of a rule whose path is a file."""
TCP_VERSION = 4
"""First version of Landlock that limits TCP ports."""
DEVICES_VERSION = 5
"""First version that limits the control of devices."""
SIGNALS_VERSION = 6
"""First version that limits signals and abstract sockets."""

SYSTEM = (
    "/usr /lib /lib32 /lib64 /nix/store /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/ssl/certs "
    "/etc/ssl/openssl.cnf /etc/pki/tls/certs /etc/pki/tls/cert.pem /etc/pki/ca-trust/extracted "
    "/etc/ca-certificates /etc/resolv.conf /etc/hosts /etc/host.conf /etc/gai.conf /etc/nsswitch.conf "
    "/etc/services /etc/protocols /etc/passwd /etc/group /etc/localtime /etc/timezone /etc/mime.types "
    "/sys/devices/system/cpu"
)
"""Existing files that every plug-in may read: libraries, certificates, names, time zones; no secrets."""
DEVICES_OF_ALL = "/dev/null /dev/zero /dev/full /dev/random /dev/urandom"
REASONS = {
    errno.ENOSYS: "this kernel has no Landlock (it needs Linux 5.13, built with CONFIG_SECURITY_LANDLOCK)",
    errno.EOPNOTSUPP: "Landlock is off in this kernel; add landlock to lsm= in its command line",
    errno.EPERM: "a filter of system calls forbids Landlock; a systemd unit allows it by "
    "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """The rights of one plug-in. `folder`: its folder; `connect`, `listen`: TCP ports."""

    folder: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    connect: tuple[int, ...] = ()
    listen: tuple[int, ...] = ()


def version() -> int:
    """The version of Landlock here; 0: it is not available, and errno has the reason."""
    return max(0, int(LIBC.syscall(CREATE_RULESET, None, 0, VERSION_ONLY)))


def why_not() -> str:
    """Why Landlock is not available here; "" if it is."""
    return "" if version() else _reason()


def restrict(allowed: Allowed, use_version: int) -> str:
    """From now on this thread and its later children have only the rights in `allowed`.

    Call it after `protection.no_new_privileges`, while there is one thread. `use_version`: from `version`.

    Returns: "on: ..." with what is open in spite of it, or "off: ..." with the reason.
    """
    if use_version < 1:
        return f"off: {_reason()}"
    files = (1 << 13) - 1
    for right, since in ((REFER, 2), (TRUNCATE, 3), (DEVICE_CONTROL, DEVICES_VERSION)):
        files |= right if use_version >= since else 0
    ports = BIND_TCP | CONNECT_TCP if use_version >= TCP_VERSION else 0
    scope = ABSTRACT_SOCKET | SIGNAL if use_version >= SIGNALS_VERSION else 0
    wanted = struct.pack("=QQQ", files, ports, scope)[: 24 if scope else 16 if ports else 8]
    rules = LIBC.syscall(CREATE_RULESET, wanted, len(wanted), 0)
    if rules < 0:
        return f"off: {_reason()}"
    read, use = READ_FILE | READ_DIR, READ_FILE | WRITE_FILE | TRUNCATE
    write = files & ~(EXECUTE | MAKE_DEVICE)
    missing: list[str] = []
    try:
        _allow(rules, allowed.folder, read)
        for path in [*interpreter_without(allowed.folder), *map(Path, SYSTEM.split())]:
            with suppress(OSError):  # another system, or a path that this user cannot read
                _allow(rules, path, read)
        for path in map(Path, DEVICES_OF_ALL.split()):
            with suppress(OSError):
                _allow(rules, path, use & files)
        for paths, rights in ((allowed.readable, read), (allowed.writable, write)):
            for path in paths:
                try:
                    _allow(rules, path, rights)
                except FileNotFoundError:
                    missing.append(f"{path} is not there")
        if ports:
            for numbers, right in ((allowed.connect, CONNECT_TCP), (allowed.listen, BIND_TCP)):
                for number in numbers:
                    _add(rules, NET_PORT, struct.pack("=QQ", right, number))
        if LIBC.syscall(RESTRICT_SELF, rules, 0):
            return f"off: {_reason()}"
    except OSError as error:
        return f"off: Landlock: {error.filename}: {error.strerror}"
    finally:
        os.close(rules)
    where = ", ".join(map(str, allowed.writable)) or "nowhere"
    return "; ".join([f"on: Landlock {use_version}; writes below {where}", *missing])


def interpreter_without(folder: Path) -> list[Path]:
    """Where the interpreter and its packages are, but no folder that contains the plug-in's `folder`.

    A data folder may be inside of an environment (/opt/opq/var): of such a folder only the others are given.
    The folder where somebody started the server is in `sys.path` too, and is not given.
    """
    found: list[Path] = []
    for path in (Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()):
        if path in folder.parents:
            with suppress(OSError):
                found += [each for each in path.iterdir() if each not in folder.parents]
        else:
            found.append(path)
    paths = [Path(each).resolve() for each in sys.path]
    return found + [path for path in paths if path not in folder.parents and _has_packages(path)]


def _has_packages(path: Path) -> bool:
    """Whether packages are installed there, or ours are developed there."""
    with suppress(OSError):
        return path.name in ("site-packages", "dist-packages") or any(path.glob("opq_*/__init__.py"))
    return False


def _allow(rules: int, path: Path, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        held = rights if path.is_dir() else rights & FILES_ONLY
        _add(rules, PATH_BENEATH, struct.pack("=Qi", held, handle), path)
    finally:
        os.close(handle)


def _add(rules: int, kind: int, rule: bytes, path: Path | str = "a TCP port") -> None:
    if LIBC.syscall(ADD_RULE, rules, kind, rule, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))


def _reason() -> str:
    number = ctypes.get_errno()
    return REASONS.get(number, f"Landlock: {os.strerror(number)}")
