"""Byte queues: whole records or none, around the end, across threads."""

import ctypes
import subprocess
from typing import Any

import pytest
from host_library import DEVICE, library, program
from test_link_golden import LINK


class Queue(ctypes.Structure):
    _fields_ = [
        ("bytes", ctypes.c_void_p),
        ("mask", ctypes.c_uint32),
        ("head", ctypes.c_uint32),
        ("tail", ctypes.c_uint32),
        ("refused_bytes", ctypes.c_uint32),
    ]


class Bench:
    """A queue of 16 bytes whose positions are about to wrap."""

    def __init__(self) -> None:
        self.c: Any = library("queue", [LINK / "queue.c"])
        for name in ("opq_queue_waiting", "opq_queue_free", "opq_queue_take"):
            getattr(self.c, name).restype = ctypes.c_size_t
        for name in ("opq_queue_put", "opq_queue_put_byte", "opq_queue_put_record", "opq_queue_take_record"):
            getattr(self.c, name).restype = ctypes.c_bool
        self.room = ctypes.create_string_buffer(16)
        self.queue = Queue()
        self.c.opq_queue_init(ctypes.byref(self.queue), self.room, 16)
        self.queue.head = self.queue.tail = 2**32 - 5

    def put(self, data: bytes) -> bool:
        return bool(self.c.opq_queue_put(ctypes.byref(self.queue), data, ctypes.c_size_t(len(data))))

    def take(self, room: int) -> bytes:
        out = ctypes.create_string_buffer(room + 1)
        length = self.c.opq_queue_take(ctypes.byref(self.queue), out, ctypes.c_size_t(room))
        return out.raw[:length]

    def waiting(self) -> int:
        return int(self.c.opq_queue_waiting(ctypes.byref(self.queue)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_records_survive_the_wrap(bench: Bench) -> None:
    assert bench.put(b"0123456789")
    assert bench.take(4) == b"0123"
    assert bench.put(b"abcdefghij")
    assert bench.waiting() == 16
    assert bench.take(99) == b"456789abcdefghij"
    assert (bench.waiting(), bench.take(5)) == (0, b"")


def test_a_full_queue_counts_refusals(bench: Bench) -> None:
    assert bench.put(b"x" * 15)
    assert not bench.put(b"yy")
    assert bench.c.opq_queue_put_byte(ctypes.byref(bench.queue), ord("z"))
    assert not bench.c.opq_queue_put_byte(ctypes.byref(bench.queue), ord("!"))
    assert bench.queue.refused_bytes == 3
    assert bench.take(99) == b"x" * 15 + b"z"


def test_an_overlong_record_is_removed(bench: Bench) -> None:
    """A record longer than the readers room is taken away and the next one is whole."""
    c, queue = bench.c, ctypes.byref(bench.queue)
    assert c.opq_queue_put_record(queue, 1, b"12345678", ctypes.c_size_t(8))
    assert c.opq_queue_put_record(queue, 2, b"ab", ctypes.c_size_t(2))
    assert not c.opq_queue_put_record(queue, 3, b"", ctypes.c_size_t(0))  # 16 bytes are 11 + 5
    tag, length, out = ctypes.c_uint8(), ctypes.c_size_t(), ctypes.create_string_buffer(4)

    def take() -> bool:
        return bool(
            c.opq_queue_take_record(queue, ctypes.byref(tag), out, ctypes.c_size_t(4), ctypes.byref(length))
        )

    assert not take()
    assert (tag.value, length.value) == (1, 0)
    assert take()
    assert (tag.value, out.raw[: length.value]) == (2, b"ab")
    assert not take()


def test_two_threads_pass_whole_records() -> None:
    built = program("queue_threads", [DEVICE / "tests" / "queue_threads.c", LINK / "queue.c"], "-pthread")
    run = subprocess.run([built], capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout == "200000 records, 0 wrong\n"
