"""The filter of system calls that systemd sets for a unit, read from its file, for a process under test.

systemd-analyze says what a group contains; libseccomp, which systemd uses too, makes the filter. What a unit
does by mounts (ProtectSystem) is not done here: it closes more, and no test may rely on it.

Source: systemd.exec(5); seccomp.h of libseccomp.
"""

import ctypes
import ctypes.util
import shutil
import socket
import subprocess
from pathlib import Path

UNIT = Path(__file__).parents[2] / "tools/opq_tools/system/service/units/opq-gateway.service"
ALLOW, EPERM = 0x7FFF0000, 0x00050001
EQUAL, EQUAL_MASKED = 4, 7
NEW_SPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
WRITE, EXECUTE, SHARED_EXECUTE = 2, 4, 0o100000


class Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def reason_without() -> str | None:
    """Why the filter cannot be made here; None: it can."""
    if shutil.which("systemd-analyze") is None:
        return "needs systemd-analyze: apt-get install systemd"
    return None if ctypes.util.find_library("seccomp") else "needs libseccomp: apt-get install libseccomp2"


def settings(text: str) -> dict[str, list[str]]:
    """Key -> values of a unit file, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key.strip(), []).append(value.strip())
    return found


def allowed_calls(text: str) -> set[str]:
    """The system calls that SystemCallFilter= of a unit leaves; @default always belongs to them."""
    found = _expanded("@default")
    for value in settings(text)["SystemCallFilter"]:
        calls = set().union(*(_expanded(name) for name in value.removeprefix("~").split()))
        found = found - calls if value.startswith("~") else found | calls
    return found


def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    inside = [line.strip() for line in shown.splitlines()[1:] if line.strip() and "#" not in line]
    return set().union(*(_expanded(each) for each in inside))


def apply(text: str, calls: set[str]) -> None:
    """Sets the filters of a unit for this process and its children. `calls`: from `allowed_calls`."""
    found = settings(text)
    refused: list[tuple[str, Comparison | None]] = []
    if found.get("RestrictNamespaces") == ["true"]:
        refused += [("unshare", None), ("setns", None)]
        refused += [("clone", Comparison(0, EQUAL_MASKED, flag, flag)) for flag in NEW_SPACES]
    if found.get("MemoryDenyWriteExecute") == ["true"]:
        both = WRITE | EXECUTE
        refused += [("mmap", Comparison(2, EQUAL_MASKED, both, both))]
        refused += [
            (name, Comparison(2, EQUAL_MASKED, EXECUTE, EXECUTE)) for name in ("mprotect", "pkey_mprotect")
        ]
        refused += [("shmat", Comparison(2, EQUAL_MASKED, SHARED_EXECUTE, SHARED_EXECUTE))]
    families = {int(getattr(socket, name)) for name in found["RestrictAddressFamilies"][0].split()}
    refused += [("socket", Comparison(0, EQUAL, family, 0)) for family in range(46) if family not in families]
    _load(ALLOW, EPERM, refused)
    _load(EPERM, ALLOW, [(name, None) for name in sorted(calls)])


def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    loaded.seccomp_init.restype = ctypes.c_void_p
    return loaded


def _load(otherwise: int, action: int, rules: list[tuple[str, Comparison | None]]) -> None:
    seccomp = library()
    made = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(otherwise)))
    for name, comparison in rules:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # of another machine
            continue
        count, first = (0, None) if comparison is None else (1, ctypes.byref(comparison))
        failed = seccomp.seccomp_rule_add_array(made, ctypes.c_uint32(action), number, count, first)
        assert not failed, (name, failed)
    failed = seccomp.seccomp_load(made)
    seccomp.seccomp_release(made)
    assert not failed, failed
