"""Two filters that a worker sets for itself and its children: Landlock for files, seccomp for system calls.

Landlock (from Linux 5.13, where it is enabled) limits where it may make and remove files, and since 6.12
which processes it may signal and to which sockets without a file it may connect. seccomp refuses the calls
that no plug-in needs. Neither requires privileges.

Source: linux/landlock.h, linux/audit.h, asm/unistd_64.h, asm-generic/.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from opq_plugins.sandbox.protection import LIBC, why_off

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_ONLY, PATH_BENEATH = 1, 1
WRITE_FILE, REMOVE, MAKE, REFER, TRUNCATE = 1 << 1, 0b11 << 4, 0b1111111 << 6, 1 << 13, 1 << 14
ABSTRACT_SOCKET, SIGNAL = 1, 2
SCOPED = 6
"""The version of Landlock that can limit sockets and signals."""

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
SECCOMP_ALLOW, SECCOMP_ERRNO, SECCOMP_KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine -> its number in seccomp_data.arch."""
FORBIDDEN = """
ptrace 101 117, pivot_root 155 41, chroot 161 51, acct 163 89, mount 165 40, umount2 166 39,
swapon 167 224, reboot 169 142, sethostname 170 161, init_module 175 105, delete_module 176 106,
add_key 248 217, request_key 249 218, keyctl 250 219, unshare 272 97, perf_event_open 298 241,
open_by_handle_at 304 265, setns 308 268, process_vm_readv 310 270, process_vm_writev 311 271,
finit_module 313 273, kexec_load 246 104, bpf 321 280, userfaultfd 323 282, io_uring_setup 425 425,
kcmp 312 272, memfd_create 319 279, memfd_secret 447 447, shmget 29 194, msgget 68 186,
semget 64 190, open_tree 428 428, move_mount 429 429, fsopen 430 430, fsconfig 431 431,
fsmount 432 432, fspick 433 433, pidfd_getfd 438 438, mount_setattr 442 442
"""
"""System calls that no plug-in needs, with their numbers on x86_64 and aarch64. They return EPERM.

Memory without an address (memfd, System V) is among them, because the limit of addresses does not count it.
"""
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
SOCKET = {"x86_64": 41, "aarch64": 198}
FAMILIES = (1, 2, 10, 16, 29)
"""Socket families that a plug-in may use: files, IPv4, IPv6, netlink (needed to look up names), CAN."""
NEW_SPACES = 0x7E020000
"""The flags of clone that make name spaces; one of users would give back all privileges within it."""


def stay_below(writable: Sequence[Path], *, own_user: bool) -> str:
    """From now on this thread and its children make, rename and remove files only below `writable`.

    `own_user`: they also write only there (and to devices); otherwise the rights of another user ensure that.
    Call it after `protection.no_new_privileges`, while there is one thread.
    """
    version = LIBC.syscall(CREATE_RULESET, None, 0, VERSION_ONLY)
    if version < 1:
        return why_off("landlock")
    handled = REMOVE | MAKE
    if version >= 2:
        handled |= REFER
    if own_user:
        handled |= WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    scope = ABSTRACT_SOCKET | SIGNAL if version >= SCOPED else 0
    wanted = struct.pack("=QQQ", handled, 0, scope)[: 24 if version >= SCOPED else 8]
    rules = LIBC.syscall(CREATE_RULESET, wanted, len(wanted), 0)
    if rules < 0:
        return why_off("landlock")
    try:
        allowed = [(path, handled) for path in writable]
        if own_user:
            allowed.append((Path("/dev"), handled & (WRITE_FILE | TRUNCATE)))
        for path, rights in allowed:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if LIBC.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, folder), 0):
                    return why_off(f"landlock: {path}")
            finally:
                os.close(folder)
        if LIBC.syscall(RESTRICT_SELF, rules, 0):
            return why_off("landlock")
    except OSError as error:
        return f"off: {error.filename} of `writable`: {error.strerror}"
    finally:
        os.close(rules)
    where = ", ".join(map(str, writable)) or "nowhere"
    return f"on: below {where}" + ("" if scope else "; signals and abstract sockets are open: Linux 6.12")


def forbidden(machine: str) -> list[int]:
    """The numbers of FORBIDDEN on one of AUDIT's machines."""
    column = 1 + list(AUDIT).index(machine)
    return sorted(int(each.split()[column]) for each in FORBIDDEN.split(","))


def filter_system_calls() -> str:
    """Sets a seccomp filter that refuses FORBIDDEN, in this and every later thread and child."""
    machine = platform.machine()
    if machine not in AUDIT or sys.maxsize < 2**32:
        return f"off: no table for {machine}"
    load, equal, give = 0x20, 0x15, 0x06
    numbers = forbidden(machine)
    any_bit, no = 0x45, (give, 0, 0, SECCOMP_ERRNO | EPERM)
    code = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 1, 0, AUDIT[machine]),
        (give, 0, 0, SECCOMP_KILL),
        (load, 0, 0, 0),  # seccomp_data.nr
    ]
    if machine == "x86_64":
        code += [(0x35, 0, 1, 0x40000000), no]  # the x32 calls
    code += [
        (equal, 0, 1, CLONE3),
        (give, 0, 0, SECCOMP_ERRNO | ENOSYS),
    ]  # its flags are in memory, where no filter can read them: programs then use clone
    code += [(equal, 0, 4, CLONE[machine]), (load, 0, 0, 16), (any_bit, 0, 1, NEW_SPACES), no]
    code += [(give, 0, 0, SECCOMP_ALLOW)]
    code += [(equal, 0, len(FAMILIES) + 3, SOCKET[machine]), (load, 0, 0, 16)]
    code += [(equal, len(FAMILIES) - at, 0, family) for at, family in enumerate(FAMILIES)]
    code += [no, (give, 0, 0, SECCOMP_ALLOW)]
    for at, number in enumerate(numbers):
        code.append((equal, len(numbers) - at, 0, number))
    code += [(give, 0, 0, SECCOMP_ALLOW), no]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = Program(len(code), ctypes.cast(packed, ctypes.c_void_p).value)
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        return f"off: seccomp: {os.strerror(ctypes.get_errno())}"
    return f"on: {len(numbers)} calls refused"
