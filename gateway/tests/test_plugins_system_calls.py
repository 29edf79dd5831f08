"""The table of system calls: each number has its answer, in the filter and in a confined process."""

import ctypes
import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from opq_plugins.policy import ProcessLimits
from opq_plugins.sandbox import landlock, system_calls
from opq_plugins.sandbox.call_table import CALLS, MACHINES, CallRule

PAGE = Path(__file__).parents[2] / "docs/plugins-sandbox.md"
BEGIN, END = "<!-- system calls -->\n", "<!-- end of system calls -->"
PLAIN = {
    CallRule.ALLOWED: system_calls.SECCOMP_ALLOW,
    CallRule.REFUSED: system_calls.SECCOMP_ERRNO | errno.EPERM,
    CallRule.ABSENT: system_calls.SECCOMP_ERRNO | errno.ENOSYS,
}
needs_landlock = pytest.mark.skipif(bool(landlock.why_not()), reason=landlock.why_not() or "it is here")


def table() -> str:
    lines = ["| calls | answer | why |", "| --- | --- | --- |"]
    for group in CALLS:
        lines.append(f"| {', '.join(f'`{name}`' for name in group.names())} | {group.rule} | {group.why} |")
    return "\n".join(lines) + "\n"


def test_the_page_has_the_table_of_calls() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    now, after = rest.split(END)
    if os.environ.get("OPQ_WRITE_DOCS"):
        PAGE.write_text(before + BEGIN + table() + END + after)
        return
    assert now == table(), f"OPQ_WRITE_DOCS=1 pytest {Path(__file__).name} writes it"


def answer(code: system_calls.Code, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """The result of the filter's program, as the kernel's interpreter of BPF computes it."""
    words = {0: number, 4: arch} | {16 + 8 * place: value for place, value in enumerate(arguments)}
    at = held = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        match operation:
            case system_calls.GIVE:
                return operand
            case system_calls.LOAD:
                held = words.get(operand, 0)
            case system_calls.MASK:
                held &= operand
            case system_calls.EQUAL:
                at += if_true if held == operand else if_false
            case system_calls.AT_LEAST:
                at += if_true if held >= operand else if_false
            case system_calls.ANY_BIT:
                at += if_true if held & operand else if_false
            case _:
                raise AssertionError(f"operation {operation:#x} is not in the interpreter")
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_each_number_has_the_tables_answer(machine: str) -> None:
    """A number that the table lacks is answered as a call that this kernel lacks; also those of x32."""
    code, arch = system_calls.program(machine, frozenset(), True), system_calls.AUDIT[machine]
    rules = {number: group.rule for group in CALLS for number in group.numbers(machine).values()}
    assert len(rules) == sum(len(group.numbers(machine)) for group in CALLS)
    private = range(0xF0000, 0xF0010)
    for number in (*range(2_000), *private, 0x40000000, 0x400000FD, 0xFFFFFFFF):
        rule = rules.get(number, CallRule.ABSENT)
        if rule in PLAIN:
            assert answer(code, arch, number) == PLAIN[rule], number
    assert answer(code, 0x40000003, 3) == system_calls.SECCOMP_KILL  # int 0x80 of i386


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide_as_the_table_says(machine: str) -> None:
    allowed, refused = PLAIN[CallRule.ALLOWED], PLAIN[CallRule.REFUSED]
    cases: list[tuple[str, tuple[int, ...], set[str], int]] = [
        ("openat", (0, 0, os.O_RDONLY), set(), allowed),
        ("openat", (0, 0, os.O_TRUNC), set(), refused),
        ("socket", (1, 1, 0), set(), refused),
        ("socket", (1, 1, 0), {"unix"}, allowed),
        ("socket", (2, 1, 6), {"tcp"}, allowed),
        ("socket", (2, 2, 0), {"tcp"}, refused),
        ("socket", (16, 3, 0), {"udp"}, allowed),
        ("socket", (16, 3, 4), {"tcp"}, refused),  # the sockets of all processes
        ("socket", (16, 3, 15), {"tcp"}, refused),  # devices that come and go
        ("socket", (17, 3, 0), {"tcp", "udp", "unix", "can"}, refused),  # packets
        ("socket", (38, 5, 0), {"tcp", "udp", "unix", "can"}, refused),  # the kernel's ciphers
        ("socket", (40, 1, 0), {"tcp", "udp", "unix", "can"}, refused),  # virtual machines
        ("fcntl" if machine != "arm" else "fcntl64", (0, 6), set(), allowed),  # F_SETLK
        ("fcntl", (0, 8), set(), refused),  # F_SETOWN
        ("fcntl", (0, 10), set(), refused),  # F_SETSIG
        ("fcntl", (0, 1024), set(), refused),  # F_SETLEASE
        ("fcntl", (0, 1026), set(), refused),  # F_NOTIFY
        ("ioctl", (0, 0x541B), set(), allowed),  # FIONREAD
        ("ioctl", (0, 0x8901), set(), refused),  # FIOSETOWN
        ("ioctl", (0, 0x5412), set(), refused),  # TIOCSTI
        ("prctl", (15,), set(), allowed),  # PR_SET_NAME
        ("prctl", (1,), set(), refused),  # PR_SET_PDEATHSIG
        ("prctl", (0x59616D61,), set(), refused),  # PR_SET_PTRACER
        ("clone", (0x003D0F00,), set(), allowed),  # a thread
        ("clone", (0x10000000,), set(), refused),  # a name space of users
        ("prlimit64", (0,), set(), allowed),
        ("prlimit64", (1,), set(), refused),
    ]
    numbers = system_calls.numbers(CallRule.ARGUMENTS, machine)
    for name, arguments, network, want in cases:
        code = system_calls.program(machine, frozenset(network), True)
        got = answer(code, system_calls.AUDIT[machine], numbers[name], arguments)
        assert got == want, (name, arguments, network)


WALK = """
import ctypes, json, sys

from opq_plugins.worker import __main__ as worker

facts, numbers = json.loads(sys.argv[1])
states = worker._confine(facts)
call = ctypes.CDLL(None, use_errno=True).syscall
found = {}
for number in numbers:
    ctypes.set_errno(0)
    found[number] = [call(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno()]
print(json.dumps([states, found]))
"""


@needs_landlock
def test_a_confined_process_gets_no_unlisted_call(tmp_path: Path) -> None:
    """Each number of this kernel's table, and those beyond it, that the table does not allow."""
    machine = system_calls.this_machine()
    rules = {number: group.rule for group in CALLS for number in group.numbers(machine).values()}
    want = {
        number: PLAIN[rule] & 0xFFFF
        for number in range(1_000)
        if (rule := rules.get(number, CallRule.ABSENT)) in (CallRule.REFUSED, CallRule.ABSENT)
    }
    facts = {
        "folder": str(tmp_path),
        "readable": [],
        "writable": [],
        "network": [],
        "limits": asdict(ProcessLimits()),
        "uid": 61_717,
    }
    program = [sys.executable, "-P", "-c", WALK, json.dumps([facts, list(want)])]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, cwd="/", timeout=600)
    assert ended.returncode == 0, ended.stderr
    states, found = json.loads(ended.stdout)
    assert states["system calls"].startswith("on")
    assert {int(number): tuple(got) for number, got in found.items()} == {
        number: (-1, number_of_error) for number, number_of_error in want.items()
    }


def test_libraries_of_python_run_under_the_filter() -> None:
    """Without Landlock, so that only the filter could stop them."""
    text = (
        "import ctypes, sys\n"
        "from opq_plugins.sandbox import protection, system_calls\n"
        "protection.no_new_privileges()\n"
        "state = system_calls.restrict({'tcp', 'listen'}, signals_are_limited=True)\n"
        "assert state.startswith('on'), state\n"
        "import asyncio, concurrent.futures, mmap, multiprocessing.pool, sqlite3, ssl, tempfile, threading\n"
        "import numpy, zmq, zlib, socket, zoneinfo, selectors, decimal, hashlib, urllib.request\n"
        "import cryptography.fernet, msgspec\n"
        "numpy.linalg.svd(numpy.random.default_rng(1).normal(size=(200, 200)))\n"
        "async def main():\n"
        "    await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(int))\n"
        "    async with await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0) as server:\n"
        "        port = server.sockets[0].getsockname()[1]\n"
        "        reader, writer = await asyncio.open_connection('127.0.0.1', port)\n"
        "        assert await reader.read() == b''\n"
        "        writer.close()\n"
        "asyncio.run(main())\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    base = sqlite3.connect(folder + '/a.sqlite')\n"
        "    base.execute('PRAGMA journal_mode=WAL')\n"
        "    base.execute('CREATE TABLE a (b)')\n"
        "    base.commit()\n"
        "    base.close()\n"
        "    numpy.memmap(folder + '/a.bin', mode='w+', shape=10)[:] = 1\n"
        "context = zmq.Context()\n"
        "pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)\n"
        "push.connect(f\"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}\")\n"
        "push.send(b'x')\n"
        "assert pull.recv() == b'x'\n"
        "context.destroy()\n"
        "import os\n"
        "if (child := os.fork()) == 0:\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "with concurrent.futures.ThreadPoolExecutor() as pool:\n"
        "    assert list(pool.map(abs, [-1])) == [1]\n"
        "print('done')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=600
    )
    assert ended.stdout == "done\n", ended.stderr


@pytest.mark.skipif(system_calls.this_machine() != "x86_64", reason="the kernel's other tables are elsewhere")
def test_calls_of_i386_end_the_process() -> None:
    """`int 0x80` from a process of 64 bits: its numbers mean other calls."""
    text = (
        "import ctypes, mmap\n"
        "from opq_plugins.sandbox import protection, system_calls\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))\n"  # mov eax, getpid; int 0x80; ret
        "run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))\n"
        "protection.no_new_privileges()\n"
        "assert system_calls.restrict((), signals_are_limited=True).startswith('on')\n"
        "print(run())\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert ended.returncode < 0 and ended.stdout == "", (ended.returncode, ended.stderr)


def test_this_machine_has_a_table() -> None:
    assert system_calls.this_machine() in MACHINES and ctypes.sizeof(ctypes.c_void_p) in (4, 8)
