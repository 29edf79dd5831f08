"""A seccomp filter for the process of a plug-in: it refuses system calls that plug-ins do not need.

Landlock does not see some calls that a process may make to files and processes of the same user: changing
modes and owners, limits and priorities of others. They are refused here, and so are sockets beyond those that
the server allows. What Landlock limits only in newer kernels (signals, cutting files by name) is refused here
in older ones.

Source: linux/audit.h, linux/filter.h, asm/unistd_64.h, asm-generic/unistd.h.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from collections.abc import Iterable

from opq_plugins.sandbox.protection import LIBC

PR_SET_SECCOMP = 22
"""Operation of prctl (linux/prctl.h)."""
SECCOMP_MODE_FILTER = 2
"""Its argument: the filter is a program of BPF (linux/seccomp.h)."""
SECCOMP_ALLOW = 0x7FFF0000
"""Result of the filter, like the next two; SECCOMP_ERRNO has the error in its lower 16 bits."""
SECCOMP_ERRNO = 0x00050000
SECCOMP_KILL = 0x80000000

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine -> its number in seccomp_data.arch."""
FORBIDDEN = """
ptrace 101 117, pivot_root 155 41, chroot 161 51, acct 163 89, mount 165 40, umount2 166 39,
swapon 167 224, reboot 169 142, sethostname 170 161, init_module 175 105, delete_module 176 106,
add_key 248 217, request_key 249 218, keyctl 250 219, unshare 272 97, perf_event_open 298 241,
open_by_handle_at 304 265, setns 308 268, process_vm_readv 310 270, process_vm_writev 311 271,
finit_module 313 273, kexec_load 246 104, bpf 321 280, userfaultfd 323 282, io_uring_setup 425 425,
kcmp 312 272, memfd_create 319 279, memfd_secret 447 447, shmget 29 194, msgget 68 186,
semget 64 190, mq_open 240 180, open_tree 428 428, move_mount 429 429, fsopen 430 430, fsconfig 431 431,
fsmount 432 432, fspick 433 433, pidfd_getfd 438 438, mount_setattr 442 442, quotactl 179 60,
quotactl_fd 443 443, fanotify_init 300 262,
truncate 76 45, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, fchown 93 55,
lchown 94 -, fchownat 260 54, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14,
lremovexattr 198 15, fremovexattr 199 16, setxattrat 463 463, removexattrat 466 466, utime 132 -,
utimes 235 -, futimesat 261 -, utimensat 280 88, file_setattr 469 469,
setpriority 141 140, sched_setaffinity 203 122, sched_setparam 142 118,
sched_setattr 314 274, ioprio_set 251 30, migrate_pages 256 238, move_pages 279 239,
process_madvise 440 440, process_mrelease 448 448
"""
"""System calls that plug-ins do not need, with their numbers on x86_64 and aarch64. They return EPERM.

Memory without an address (memfd, System V) is among them, because the limit of addresses does not count it.
"""
SIGNALS = "tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, pidfd_send_signal 424 424"
"""They are refused where Landlock does not limit signals; a plug-in may then send signals only to its
process."""
OWN_SIGNALS = "kill 62 129, tgkill 234 131"
CALLS = """
clone 56 220, clone3 435 435, openat2 437 437, open 2 -, openat 257 56, socket 41 198, socketpair 53 199,
sendto 44 206, sendmsg 46 211, sendmmsg 307 269, prlimit64 302 261, sched_setscheduler 144 119
"""
"""Calls whose arguments decide."""
NEW_SPACES = 0x7E020000
"""The flags of clone that make name spaces; one of users would give back all privileges within it."""
OPEN_MASK = os.O_ACCMODE | os.O_TRUNC
"""Bits of `open` that say how a file is used and whether it is truncated."""
READ_TRUNCATED = os.O_RDONLY | os.O_TRUNC
"""A file opened for reading must not be truncated; Linux allows it, and so does Landlock before version 3."""
SENDING = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
"""Call -> the place of its flags, because MSG_FASTOPEN connects and Landlock does not see it."""
KIND_OF_SOCKET = 0xF
TCP_PROTOCOLS = socket.IPPROTO_IP, socket.IPPROTO_TCP
"""Protocols allowed for a stream socket; Landlock does not limit others, such as MPTCP."""
UDP_PROTOCOLS = socket.IPPROTO_IP, socket.IPPROTO_UDP
"""Protocols allowed for a datagram socket."""
CAN = 29

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
Code = list[tuple[int, int, int, int]]
"""BPF: (operation, jump if true, jump if false, operand)."""


def restrict(network: Iterable[str], *, signals_are_limited: bool) -> str:
    """Sets the filter in this and every later thread and child; "on: ..." or "off: ..." with the reason.

    Args:
        network: kinds of `policy.NETWORK` that are allowed: tcp, listen, udp, unix, can.
        signals_are_limited: Landlock keeps signals within the plug-in.
    """
    machine = platform.machine()
    if machine not in AUDIT or sys.maxsize < 2**32:
        return f"off: no table of system calls for {machine}"
    code = program(machine, frozenset(network), signals_are_limited)
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    given = Program(len(code), ctypes.cast(packed, ctypes.c_void_p).value)
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0):
        return f"off: seccomp: {os.strerror(ctypes.get_errno())}"
    return f"on: {len(numbers(FORBIDDEN, machine))} calls refused"


def numbers(table: str, machine: str) -> dict[str, int]:
    """Call -> its number on one of AUDIT's machines, without calls that the machine lacks."""
    column = 1 + list(AUDIT).index(machine)
    rows = [each.split() for each in table.split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def program(machine: str, network: frozenset[str], signals_are_limited: bool) -> Code:
    """The filter: a block for each call, which ends in an answer; all other calls are allowed."""
    of = numbers(CALLS, machine)
    blocks: dict[int, Code] = {number: [REFUSE_CALL] for number in numbers(FORBIDDEN, machine).values()}
    unknown = [(GIVE, 0, 0, SECCOMP_ERRNO | errno.ENOSYS)]
    # their flags are in memory, where no filter can read them; libraries then use clone and openat
    blocks |= {of["clone3"]: unknown, of["openat2"]: unknown}
    blocks[of["clone"]] = [_argument(0), (ANY_BIT, 0, 1, NEW_SPACES), REFUSE_CALL, ALLOW_CALL]
    for name, place in (("open", 1), ("openat", 2)):
        if name in of:
            blocks[of[name]] = [
                _argument(place),
                (MASK, 0, 0, OPEN_MASK),
                (EQUAL, 0, 1, READ_TRUNCATED),
                REFUSE_CALL,
                ALLOW_CALL,
            ]
    for name, place in SENDING.items():
        blocks[of[name]] = [_argument(place), (ANY_BIT, 0, 1, socket.MSG_FASTOPEN), REFUSE_CALL, ALLOW_CALL]
    blocks[of["prlimit64"]] = [_argument(0), (EQUAL, 0, 1, 0), ALLOW_CALL, REFUSE_CALL]
    # libzmq sets the usual scheduler for each of its threads, and aborts if it cannot
    blocks[of["sched_setscheduler"]] = [_argument(1), (EQUAL, 0, 1, os.SCHED_OTHER), ALLOW_CALL, REFUSE_CALL]
    if not signals_are_limited:
        blocks |= {number: [REFUSE_CALL] for number in numbers(SIGNALS, machine).values()}
        own = [_argument(0), (EQUAL, 0, 1, os.getpid()), ALLOW_CALL, REFUSE_CALL]
        blocks |= dict.fromkeys(numbers(OWN_SIGNALS, machine).values(), own)
    if "unix" not in network:  # a socket of datagrams can send to any socket that is a file
        datagrams = (EQUAL, 0, 1, socket.SOCK_DGRAM)
        blocks[of["socketpair"]] = [
            _argument(1),
            (MASK, 0, 0, KIND_OF_SOCKET),
            datagrams,
            REFUSE_CALL,
            ALLOW_CALL,
        ]
    blocks[of["socket"]] = _sockets(network)
    code: Code = [
        (LOAD, 0, 0, 4),  # seccomp_data.arch
        (EQUAL, 1, 0, AUDIT[machine]),
        (GIVE, 0, 0, SECCOMP_KILL),
        (LOAD, 0, 0, 0),  # seccomp_data.nr
    ]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, 0x40000000), REFUSE_CALL]  # the x32 calls
    for number, block in blocks.items():
        code += [(EQUAL, 0, len(block), number), *block]
    return [*code, ALLOW_CALL]


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
    if internet:
        whole.append(socket.AF_NETLINK)  # libraries list the addresses of this machine before they connect
    for family in whole:
        code += [_argument(0), (EQUAL, 0, 1, family), ALLOW_CALL]
    for kind, protocols in internet:
        code += [_argument(0), (EQUAL, 1, 0, socket.AF_INET), (EQUAL, 0, 7, socket.AF_INET6)]
        code += [_argument(1), (MASK, 0, 0, KIND_OF_SOCKET), (EQUAL, 0, 4, kind)]
        code += [_argument(2), (EQUAL, 1, 0, protocols[0]), (EQUAL, 0, 1, protocols[1]), ALLOW_CALL]
    return [*code, REFUSE_CALL]


def _argument(place: int) -> tuple[int, int, int, int]:
    """Loads the lower half of an argument; the kernel takes no more of an int."""
    return LOAD, 0, 0, 16 + 8 * place
