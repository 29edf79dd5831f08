"""A seccomp filter for the process of a plug-in: it allows the system calls of `call_table`, and no others.

Landlock does not see some calls that a process may make to files and processes of the same user: watching
folders, changing modes and owners, limits and priorities of others. They are refused here, and so are
sockets beyond those that the server allows. What Landlock limits only in newer kernels (signals, cutting
files by name) is refused here in older ones.

Source: linux/audit.h, linux/filter.h, linux/fcntl.h, asm-generic/ioctls.h, linux/prctl.h.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Iterable
from itertools import pairwise

from opq_plugins.sandbox.call_table import CALLS, CallRule
from opq_plugins.sandbox.protection import LIBC

PR_SET_SECCOMP = 22
"""Operation of prctl (linux/prctl.h)."""
SECCOMP_MODE_FILTER = 2
"""Its argument: the filter is a program of BPF (linux/seccomp.h)."""
SECCOMP_ALLOW = 0x7FFF0000
"""Result of the filter, like the next two; SECCOMP_ERRNO has the error in its lower 16 bits."""
SECCOMP_ERRNO = 0x00050000
SECCOMP_KILL = 0x80000000

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
"""Machine of `MACHINES` -> its number in seccomp_data.arch."""
NEW_SPACES = 0x7E020000
"""The flags of clone that make name spaces; one of users would give back all privileges within it."""
OPEN_MASK = os.O_ACCMODE | os.O_TRUNC
"""Bits of `open` that say how a file is used and whether it is truncated."""
READ_TRUNCATED = os.O_RDONLY | os.O_TRUNC
"""A file opened for reading must not be truncated; Linux allows it, and so does Landlock before version 3."""
SENDING = {"send": 3, "sendto": 3, "sendmsg": 2, "sendmmsg": 3}
"""Call -> the place of its flags, because MSG_FASTOPEN connects and Landlock does not see it."""
KIND_OF_SOCKET = 0xF
TCP_PROTOCOLS = socket.IPPROTO_IP, socket.IPPROTO_TCP
"""Protocols allowed for a stream socket; Landlock does not limit others, such as MPTCP."""
UDP_PROTOCOLS = socket.IPPROTO_IP, socket.IPPROTO_UDP
"""Protocols allowed for a datagram socket."""
CAN = 29
NETLINK_ROUTE = 0
"""Protocol of netlink that lists addresses and routes; others watch devices, or list the sockets of all."""
FILE_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 36, 37, 38, 1030, 1031, 1032, 1033, 1034)
"""Commands of fcntl that are allowed: duplicates, flags, locks (also of 64 bits and of open files), the
owner's number, the size of a pipe, seals. Others signal the owner (F_SETOWN, F_SETSIG) or watch a file
(F_SETLEASE, F_NOTIFY)."""
SIGNALLING_REQUESTS = (0x8901, 0x8902, 0x5412, 0x541C)
"""Requests of ioctl that are refused: FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX."""
PROCESS_OPTIONS = (2, 3, 15, 16, 21, 23, 30, 38, 39, 42, 51, 56, 0x53564D41)
"""Operations of prctl that are allowed: PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_SET_VMA and those that read."""

# Operations of BPF (linux/bpf_common.h).
LOAD = 0x20
"""A word of seccomp_data, by its offset."""
EQUAL = 0x15
"""Jumps if the loaded word equals the operand."""
ANY_BIT = 0x45
"""Jumps if the loaded word has any bit of the operand."""
AT_LEAST = 0x35
"""Jumps if the loaded word is at least the operand."""
MASK = 0x54
"""Keeps the bits of the operand."""
GIVE = 0x06
"""Ends the program with the operand as its result."""

ALLOW_CALL = GIVE, 0, 0, SECCOMP_ALLOW
"""Instruction that allows the system call."""
REFUSE_CALL = GIVE, 0, 0, SECCOMP_ERRNO | errno.EPERM
"""Instruction that answers it with EPERM."""
ABSENT_CALL = GIVE, 0, 0, SECCOMP_ERRNO | errno.ENOSYS
"""Instruction that answers it as a kernel that lacks the call."""
Code = list[tuple[int, int, int, int]]
"""BPF: (operation, jump if true, jump if false, operand)."""


def restrict(network: Iterable[str], *, signals_are_limited: bool) -> str:
    """Sets the filter in this and every later thread and child; "on: ..." or "off: ..." with the reason.

    Args:
        network: kinds of `policy.NETWORK` that are allowed: tcp, listen, udp, unix, can.
        signals_are_limited: Landlock keeps signals within the plug-in.
    """
    machine = this_machine()
    if machine not in AUDIT:
        return f"off: no table of system calls for {machine}"
    code = program(machine, frozenset(network), signals_are_limited)
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    given = Program(len(code), ctypes.cast(packed, ctypes.c_void_p).value)
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0):
        return f"off: seccomp: {os.strerror(ctypes.get_errno())}"
    return f"on: {len(numbers(CallRule.REFUSED, machine))} calls refused, and all that it does not know"


def this_machine() -> str:
    """The machine of this process, which may have 32 bits on a kernel of 64, as on a Raspberry Pi."""
    machine = platform.machine()
    if sys.maxsize > 2**32:
        return machine
    is_arm = machine.startswith(("arm", "aarch64")) and sys.byteorder == "little"
    return "arm" if is_arm else f"{machine} with 32 bits"


def numbers(rule: CallRule, machine: str) -> dict[str, int]:
    """Call -> its number, for the calls with this rule."""
    found: dict[str, int] = {}
    for group in CALLS:
        if group.rule is rule:
            found |= group.numbers(machine)
    return found


def program(machine: str, network: frozenset[str], signals_are_limited: bool) -> Code:
    """The filter: from 0 on, a block for each run of numbers with one answer, which ends in that answer."""
    blocks: dict[int, Code] = {}
    plain = {CallRule.ALLOWED: ALLOW_CALL, CallRule.REFUSED: REFUSE_CALL}
    for rule, answer in plain.items():
        blocks |= {number: [answer] for number in numbers(rule, machine).values()}
    for name, number in numbers(CallRule.ARGUMENTS, machine).items():
        blocks[number] = _by_arguments(name, network)
    to_itself = _one_of(0, (os.getpid(),), ALLOW_CALL, REFUSE_CALL)
    for rule, alone in ((CallRule.SIGNALS, [REFUSE_CALL]), (CallRule.OWN_SIGNALS, to_itself)):
        block = [ALLOW_CALL] if signals_are_limited else alone
        blocks |= dict.fromkeys(numbers(rule, machine).values(), block)
    code: Code = [
        (LOAD, 0, 0, 4),  # seccomp_data.arch
        (EQUAL, 1, 0, AUDIT[machine]),
        (GIVE, 0, 0, SECCOMP_KILL),
        (LOAD, 0, 0, 0),  # seccomp_data.nr
    ]
    begins = sorted({0, *blocks, *(number + 1 for number in blocks)})
    for begin, end in pairwise(begins):
        block = blocks.get(begin, [ABSENT_CALL])
        if block != blocks.get(end, [ABSENT_CALL]):  # else one run with the next number
            code += [(AT_LEAST, len(block), 0, end), *block]
    return [*code, ABSENT_CALL]  # also the calls of x32


def _by_arguments(name: str, network: frozenset[str]) -> Code:
    """The block of a call whose arguments decide."""
    match name:
        case "open" | "openat":
            flags = _argument(1 if name == "open" else 2)
            return [flags, (MASK, 0, 0, OPEN_MASK), (EQUAL, 0, 1, READ_TRUNCATED), REFUSE_CALL, ALLOW_CALL]
        case "socket":
            return _sockets(network)
        case "socketpair":  # a socket of datagrams can send to any socket that is a file
            if "unix" in network:
                return [ALLOW_CALL]
            datagrams = (EQUAL, 0, 1, socket.SOCK_DGRAM)
            return [_argument(1), (MASK, 0, 0, KIND_OF_SOCKET), datagrams, REFUSE_CALL, ALLOW_CALL]
        case "send" | "sendto" | "sendmsg" | "sendmmsg":
            return [_argument(SENDING[name]), (ANY_BIT, 0, 1, socket.MSG_FASTOPEN), REFUSE_CALL, ALLOW_CALL]
        case "fcntl" | "fcntl64":
            return _one_of(1, FILE_COMMANDS, ALLOW_CALL, REFUSE_CALL)
        case "ioctl":
            return _one_of(1, SIGNALLING_REQUESTS, REFUSE_CALL, ALLOW_CALL)
        case "prctl":
            return _one_of(0, PROCESS_OPTIONS, ALLOW_CALL, REFUSE_CALL)
        case "clone":
            return [_argument(0), (ANY_BIT, 0, 1, NEW_SPACES), REFUSE_CALL, ALLOW_CALL]
        case "prlimit64":
            return _one_of(0, (0,), ALLOW_CALL, REFUSE_CALL)
        case "sched_setscheduler":  # libzmq sets the usual one for its threads, and aborts if it cannot
            return _one_of(1, (os.SCHED_OTHER,), ALLOW_CALL, REFUSE_CALL)
    raise KeyError(f"{name} has no block; add one, or change its rule in call_table")


def _one_of(
    place: int, values: Iterable[int], then: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> Code:
    """The block of a call whose argument is one of `values`, or another."""
    code = [_argument(place)]
    for value in values:
        code += [(EQUAL, 0, 1, value), then]
    return [*code, other]


def _sockets(network: frozenset[str]) -> Code:
    """The block of socket(family, kind, protocol)."""
    code: Code = []
    internet = []
    if network & {"tcp", "listen"}:
        internet.append((socket.SOCK_STREAM, TCP_PROTOCOLS))
    if "udp" in network:
        internet.append((socket.SOCK_DGRAM, UDP_PROTOCOLS))
    families = {"unix": socket.AF_UNIX, "can": CAN}
    whole = [int(family) for name, family in families.items() if name in network]
    for family in whole:
        code += [_argument(0), (EQUAL, 0, 1, family), ALLOW_CALL]
    if internet:  # libraries list the addresses of this machine before they connect
        code += [_argument(0), (EQUAL, 0, 3, socket.AF_NETLINK)]
        code += [_argument(2), (EQUAL, 0, 1, NETLINK_ROUTE), ALLOW_CALL]
    for kind, protocols in internet:
        code += [_argument(0), (EQUAL, 1, 0, socket.AF_INET), (EQUAL, 0, 7, socket.AF_INET6)]
        code += [_argument(1), (MASK, 0, 0, KIND_OF_SOCKET), (EQUAL, 0, 4, kind)]
        code += [_argument(2), (EQUAL, 1, 0, protocols[0]), (EQUAL, 0, 1, protocols[1]), ALLOW_CALL]
    return [*code, REFUSE_CALL]


def _argument(place: int) -> tuple[int, int, int, int]:
    """Loads the lower half of an argument; the kernel takes no more of an int."""
    return LOAD, 0, 0, 16 + 8 * place
