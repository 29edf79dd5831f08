"""PendSV's data path on the PC: every sample out, stamped once; what is lost on the line comes again."""

import ctypes
import random
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from host_library import CMODULES, DEVICE, library

from opq_gateway.blocks import SampleBlock
from opq_gateway.serial_side.reassembly import Reassembly, ResendRequest
from opq_proto.link import frames as link
from opq_proto.link import messages as m

T0_NS = 1_700_000_000_000_000_000
HALF = 40
LINE_BYTES_PER_HALF = 921_600 / 10 * HALF / 12_000
"""10 bits per byte; 307.2 bytes leave while 40 samples are taken."""
SKIPPED = {"module.c", "internal_adc.c", "external_adc.c", "trigger.c", "converters.c"}
SOURCES = [DEVICE / "tests" / "pipeline_world.c"] + [
    path
    for room in ("acquire", "clock", "dsp", "link", "pipeline")
    for path in sorted((CMODULES / room).glob("*.c"))
    if path.name not in SKIPPED
]
COUNTERS = (
    "blocks_dropped",
    "tx_dropped_bytes",
    "resent_blocks",
    "resend_gone",
    "resend_refused",
    "crossings",
    "measurements",
    "inbox_refused",
    "features_lost",
)


class Counters(ctypes.Structure):
    _fields_ = [
        ("blocks", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in COUNTERS),
        ("link", ctypes.c_uint32 * 6),
    ]


class StageCycles(ctypes.Structure):
    _fields_ = [
        ("calls", ctypes.c_uint32),
        ("min", ctypes.c_uint32),
        ("max", ctypes.c_uint32),
        ("sum", ctypes.c_uint64),
    ]


class World:
    """A Box's data path, fed by half buffers; `line` is what left it."""

    def __init__(self, c: Any, utc_ns: int = T0_NS, dip_pu: float = 0.9) -> None:
        self.c = c
        self.decoder = link.Decoder()
        self.messages: list[m.LinkMessage] = []
        self.made = 0
        self.drained = 0
        self.damage: Callable[[bytes], bytes] = lambda data: data
        self._room = 0.0
        self._sequence = 0
        self._out = ctypes.create_string_buffer(8192)
        c.world_begin(ctypes.c_int64(utc_ns), ctypes.c_float(dip_pu))

    def feed(self, counts: np.ndarray, drain: bool = True) -> None:
        """Samples in, and as many bytes out as the line carries meanwhile."""
        assert len(counts) % HALF == 0
        for at in range(0, len(counts), HALF):
            self.c.world_half(counts[at : at + HALF].astype(np.int16).ctypes.data_as(ctypes.c_void_p))
            self.made += HALF
            if self.made % 12_000 == 0:
                self.c.world_clock(ctypes.c_int64(0))
            if drain:
                self.drain()

    def drain(self) -> None:
        self._room += LINE_BYTES_PER_HALF
        room = int(self._room)
        self._room -= room
        taken = self.c.world_drain(self._out, ctypes.c_size_t(room))
        self.drained += taken
        data = self.damage(self._out.raw[:taken])
        self.messages += [message for _, message in self.decoder.feed(data)]

    def empty(self) -> None:
        """Let the line carry all that waits."""
        for _ in range(1000):
            self.drain()
            if self.c.opq_pipeline_is_idle():
                return
        raise AssertionError("the line never ends")

    def say(self, message: m.LinkMessage) -> None:
        data = link.encode(message, self._sequence)
        self._sequence += 1
        self.c.world_receive(data, ctypes.c_size_t(len(data)))

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    def counters(self) -> Counters:
        found = Counters()
        self.c.opq_pipeline_counters(ctypes.byref(found))
        return found

    def inbox(self) -> tuple[int, bytes] | None:
        kind, length = ctypes.c_uint8(), ctypes.c_size_t()
        out = ctypes.create_string_buffer(2048)
        found = self.c.opq_pipeline_receive(
            ctypes.byref(kind), out, ctypes.c_size_t(2048), ctypes.byref(length)
        )
        return (kind.value, out.raw[: length.value]) if found else None


@pytest.fixture(scope="module")
def c() -> Any:
    loaded = library("pipeline", SOURCES)
    for name in ("world_drain", "world_waiting"):
        getattr(loaded, name).restype = ctypes.c_size_t
    for name in ("opq_pipeline_receive", "opq_pipeline_post", "opq_pipeline_is_idle"):
        getattr(loaded, name).restype = ctypes.c_bool
    loaded.world_cpu_permille.restype = ctypes.c_uint16
    return loaded


@pytest.fixture
def world(c: Any) -> World:
    return World(c)


def noise(samples: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def sine(samples: int, rms_v: float = 120.0, first: int = 0) -> np.ndarray:
    k = np.arange(first, first + samples)
    return np.round(rms_v * np.sqrt(2) / 0.01 * np.sin(2 * np.pi * 60 * k / 12_000)).astype(np.int16)


def as_block(samples: m.Samples) -> SampleBlock:
    facts = (samples.first_sample, samples.t_ns, samples.uncertainty_ns, samples.source, samples.rate_millihz)
    return SampleBlock(1, 0.01, *facts, samples.counts)


def test_the_first_frame_survives_a_reset(c: Any) -> None:
    world = World(c)
    world.decoder.feed(b"half a frame, or the prompt's last word")
    world.feed(noise(2400))
    world.empty()
    assert world.of(m.Samples)[0].first_sample == 0
    assert world.decoder.crc_errors == 1


def stamps(blocks: list[m.Samples]) -> dict[int, tuple[int, int, int, int]]:
    return {b.first_sample: (b.t_ns, b.uncertainty_ns, int(b.source), b.rate_millihz) for b in blocks}


def test_every_sample_leaves_in_order(
    world: World,
) -> None:
    """Every sample leaves bit exact in order with its time and the line is a third busy."""
    counts = noise(10 * 12_000)
    world.feed(counts)
    world.empty()
    blocks = world.of(m.Samples)
    assert [block.first_sample for block in blocks] == list(range(0, len(counts), 200))
    assert np.array_equal(np.concatenate([block.counts for block in blocks]), counts)
    # 7,000 ticks of a clock that runs at its nominal rate: k * 10^9 / 12,000 ns, the tick rounded once
    times = np.array([block.t_ns for block in blocks]) - T0_NS
    assert np.max(np.abs(times - np.array([k * 200 * 10**9 / 12_000 for k in range(len(blocks))]))) <= 25
    assert {block.flags & ~m.FLAG_CLIPPED for block in blocks} == {0}
    assert {int(block.source) for block in blocks} == {1}
    busy = world.drained / (10 * 92_160)
    assert busy <= 0.35
    print(f"line busy with raw blocks, measurements and nothing else: {busy:.1%}")
    assert world.decoder.sequence_gaps == world.decoder.crc_errors == 0


def test_a_ring_is_resent_beside_new_samples(
    world: World,
) -> None:
    counts = noise(12 * 12_000)
    world.feed(counts[:36_000])
    world.messages.clear()
    world.say(m.Resend(0, 36_000))
    at, most = 36_000, 0
    while sum(bool(b.flags & m.FLAG_RESENT) for b in world.of(m.Samples)) < 180:
        world.feed(counts[at : at + HALF])
        at += HALF
        most = max(most, world.c.world_waiting())
    seconds = (at - 36_000) / 12_000
    again = {b.first_sample: b for b in world.of(m.Samples) if b.flags & m.FLAG_RESENT}
    fresh = [b for b in world.of(m.Samples) if not b.flags & m.FLAG_RESENT]
    # 3.2 s are held: while the 3 s go again, oldest first, more are made, and none is overtaken
    assert sorted(again) == list(range(0, 36_000, 200))
    for first, block in again.items():
        assert np.array_equal(block.counts, counts[first : first + 200])
    assert len(fresh) >= (at - 36_000) // 200 - 5
    assert most < 1600 + 2048
    assert 3.0 / seconds >= 2.0
    print(
        f"3 s sent again in {seconds:.2f} s: {3 / seconds:.2f} times real time; {most} bytes waited at most"
    )
    assert world.counters().resend_gone == 0


def test_a_resent_sample_keeps_its_stamp(world: World) -> None:
    counts = noise(24_000)
    world.feed(counts[:12_000])
    world.empty()
    before = stamps(world.of(m.Samples))
    world.c.world_clock(ctypes.c_int64(T0_NS + 900 * 10**9))  # the gateway's time was 15 minutes off
    world.feed(counts[12_000:])
    world.messages.clear()
    world.say(m.Resend(0, 12_000))
    world.empty()
    again = stamps([block for block in world.of(m.Samples) if block.flags & m.FLAG_RESENT])
    assert again == {first: stamp for first, stamp in before.items() if first < 12_000}
    assert world.counters().resent_blocks == 60


@pytest.mark.parametrize("per_byte", [1e-4, 3e-4])
def test_a_corrupting_line_loses_nothing(c: Any, per_byte: float) -> None:
    """With the gateway's own reassembly: 20 s, its requests back over the same line, unharmed."""
    dice = random.Random(3)
    world = World(c)

    def damage(data: bytes) -> bytes:
        return bytes(b ^ (1 << dice.randrange(8)) if dice.random() < per_byte else b for b in data)

    world.damage = damage
    counts = noise(20 * 12_000, seed=7)
    reassembly = Reassembly(38_400)
    got: list[np.ndarray] = []
    for at in range(0, len(counts), 400):
        world.feed(counts[at : at + 400])
        for block in world.of(m.Samples):
            found = reassembly.accept_block(as_block(block))
            for out in found:
                if isinstance(out, ResendRequest):
                    world.say(m.Resend(out.first_sample, out.count))
                else:
                    assert isinstance(out, SampleBlock), out
                    got.append(out.counts)
        world.messages.clear()
    received = np.concatenate(got)
    assert world.decoder.crc_errors > 10
    assert len(received) > 19.5 * 12_000
    assert np.array_equal(received, counts[: len(received)])
    print(f"{world.decoder.crc_errors} bad frames, {reassembly.recovered} samples recovered, none missing")


def test_a_stopped_lines_losses_can_be_requested(world: World) -> None:
    counts = noise(60_000)
    world.feed(counts[:28_800], drain=False)
    assert world.counters().blocks_dropped == 0  # nine wait in the line's queue, the others in the ring
    world.feed(counts[28_800:36_000], drain=False)
    lost = world.counters()
    assert lost.blocks_dropped == pytest.approx(36 - 9, abs=1)  # 3/4 of the ring may wait
    assert lost.tx_dropped_bytes > lost.blocks_dropped * 430
    world.feed(counts[36_000:])
    have = {block.first_sample for block in world.of(m.Samples)}
    missing = sorted(set(range(0, 59_000, 200)) - have)
    assert missing == list(range(missing[0], missing[-1] + 1, 200))
    world.say(m.Resend(missing[0], missing[-1] + 200 - missing[0]))
    world.empty()
    blocks = {block.first_sample: block for block in world.of(m.Samples)}
    assert sorted(set(range(22_000, 59_000, 200)) - set(blocks)) == []  # what the ring still held
    assert world.decoder.sequence_gaps == 0  # what never went out was never numbered


def test_expired_samples_are_counted(world: World) -> None:
    world.feed(noise(48_000))
    world.messages.clear()
    world.say(m.Resend(0, 12_000))
    world.empty()
    again = [block.first_sample for block in world.of(m.Samples) if block.flags & m.FLAG_RESENT]
    assert again and min(again) >= 48_000 - 38_400
    assert world.counters().resend_gone + len(again) == 60


def test_an_endless_span_is_sent_once(world: World) -> None:
    world.feed(noise(12_000))
    world.empty()
    world.messages.clear()
    world.say(m.Resend(6000, 2**32 - 1))
    world.say(m.Resend(2**64 - 100, 200))
    world.feed(noise(12_000))
    world.empty()
    again = [block.first_sample for block in world.of(m.Samples) if block.flags & m.FLAG_RESENT]
    assert again == list(range(6000, 12_000, 200))
    assert len(world.of(m.Samples)) == 30 + 60


def test_repeated_spans_are_sent_once(world: World) -> None:
    """The same span asked for again is sent once and too many spans are refused."""
    world.feed(noise(24_000))
    world.messages.clear()
    world.say(m.Resend(2000, 4000))
    world.say(m.Resend(2000, 4000))
    world.say(m.Resend(3000, 1000))
    world.empty()
    again = [block.first_sample for block in world.of(m.Samples) if block.flags & m.FLAG_RESENT]
    assert sorted(set(again)) == list(range(2000, 6000, 200))
    assert len(again) <= 20 + 4  # those that the line's queue had taken when the second came
    for number in range(40):
        world.say(m.Resend(400 * number, 200))
    assert world.counters().resend_refused >= 1


def test_lost_samples_advance_the_index(world: World) -> None:
    world.feed(sine(12_000))
    world.c.world_lose(ctypes.c_uint32(400))
    world.feed(sine(12_000, first=12_400))
    blocks = world.of(m.Samples)
    ends = [(a.first_sample + len(a.counts), b) for a, b in pairwise(blocks)]
    [(end, after)] = [(end, b) for end, b in ends if b.first_sample != end]
    assert after.flags & m.FLAG_OVERRUN_BEFORE
    assert [b.flags & m.FLAG_OVERRUN_BEFORE for _, b in ends].count(m.FLAG_OVERRUN_BEFORE) == 1
    assert after.first_sample - end >= 400
    assert after.t_ns - T0_NS == pytest.approx(after.first_sample / 12_000 * 1e9, abs=25)


def test_a_dip_is_reported_within_two_cycles(world: World) -> None:
    """A dip is reported within two cycles of its begin with the time of its cycle."""
    dip = np.concatenate((sine(24_000), sine(12_000, rms_v=60.0, first=24_000)))
    reported = None
    for at in range(0, len(dip), HALF):
        world.feed(dip[at : at + HALF])
        if world.of(m.Crossing) and reported is None:
            reported = at + HALF
    first = world.of(m.Crossing)[0]
    assert (first.kind, first.entering) == (m.CrossingKind.DIP, True)
    assert first.limit_v == pytest.approx(108.0)
    assert reported is not None
    print(f"dip reported {(reported - 24_000) / 12:.1f} ms after its first sample")
    assert reported - 24_000 <= 600
    assert 23_600 <= first.sample <= 24_200
    assert first.t_ns - T0_NS == pytest.approx(first.sample / 12_000 * 1e9, abs=60)


def test_features_overtake_a_backlog(world: World) -> None:
    """Two seconds wait in the ring, as after an erase; the voltage dips and comes back 15 times meanwhile."""
    signal = sine(72_000)
    for begin in range(24_000, 48_000, 1600):
        signal[begin : begin + 800] //= 2
    world.feed(signal[:24_000])
    for at in range(24_000, 48_000, HALF):
        world.c.world_half_only(signal[at : at + HALF].ctypes.data_as(ctypes.c_void_p))
    world.made = 48_000
    world.feed(signal[48_000:])
    world.empty()
    assert [crossing.entering for crossing in world.of(m.Crossing)] == [True, False] * 15
    assert len(world.of(m.BoxMeasurement)) == world.counters().measurements
    assert world.counters().tx_dropped_bytes == 0


def test_figures_of_each_window_come_beside_the_samples(world: World) -> None:
    world.feed(sine(36_000))
    figures = world.of(m.BoxMeasurement)
    assert 12 <= len(figures) <= 15
    for figure in figures[1:]:
        assert figure.samples == pytest.approx(2400, abs=2)
        assert figure.rms_v == pytest.approx(120.0, rel=1e-3)
        assert figure.f_hz == pytest.approx(60.0, abs=0.005)
    assert world.counters().measurements == len(figures)


def test_a_flood_of_commands_is_counted(world: World) -> None:
    """Commands and update pieces wait for the main thread and a flood is counted."""
    world.say(m.Command(7, m.Operation.PUT_SETTING, "gain=1.01"))
    world.say(m.UpdateData(8, 1024, bytes(range(256))))
    assert world.inbox() == (0x08, struct.pack("<HB", 7, 3) + b"\x09gain=1.01")
    assert world.inbox() == (0x0C, struct.pack("<HIH", 8, 1024, 256) + bytes(range(256)))
    assert world.inbox() is None
    for number in range(6):
        world.say(m.UpdateData(number, 0, bytes(1024)))
    taken = 0
    while world.inbox() is not None:
        taken += 1
    assert taken == 3
    assert world.counters().inbox_refused == 3


def test_an_unanswerable_command_is_not_taken(world: World) -> None:
    """The outbox of 4 KB is filled while PendSV does not run; then the line takes it away."""
    payload = bytes(1000)
    world.say(m.Command(7, m.Operation.HELLO))
    for _ in range(3):
        assert world.c.opq_pipeline_post(10, payload, ctypes.c_size_t(len(payload)))
    assert world.inbox() is None
    world.feed(noise(2400))
    assert world.inbox() == (0x08, struct.pack("<HB", 7, 1) + b"\x00")


def test_a_full_outbox_says_so(world: World) -> None:
    payloads = [struct.pack("<HiiI", code, -1, 2, 3) for code in range(300)]
    taken = [world.c.opq_pipeline_post(7, data, ctypes.c_size_t(len(data))) for data in payloads]
    assert taken[:200] == [True] * 200 and taken[-1] is False
    assert not world.c.opq_pipeline_is_idle()
    world.feed(noise(2400))
    logs = world.of(m.Log)
    assert [entry.code for entry in logs] == [code for code, there in enumerate(taken) if there]
    assert world.counters().tx_dropped_bytes == 14 * taken.count(False)
    world.empty()
    assert world.c.opq_pipeline_is_idle()


def test_a_held_line_is_silent(world: World) -> None:
    world.feed(noise(2400))
    world.empty()
    world.c.opq_pipeline_hold(ctypes.c_bool(True))
    drained = world.drained
    world.feed(noise(12_000))
    assert world.drained == drained
    world.c.opq_pipeline_hold(ctypes.c_bool(False))
    world.feed(noise(2400))
    world.empty()
    assert world.of(m.Samples)[-1].first_sample == 2400 + 12_000 + 2400 - 200
    assert world.counters().blocks == 84


def test_a_two_second_stall_costs_nothing(c: Any, world: World) -> None:
    """PendSV could not run while flash was erased: its blocks are stamped late and right."""
    counts = noise(84_000)
    world.feed(counts[:12_000])
    for at in range(12_000, 36_000, HALF):  # as the interrupt alone sees it
        c.world_half_only(counts[at : at + HALF].ctypes.data_as(ctypes.c_void_p))
    world.made = 36_000
    world.feed(counts[36_000:])
    world.empty()
    blocks = {block.first_sample: block for block in world.of(m.Samples)}
    assert world.counters().blocks_dropped == 0
    assert sorted(blocks) == list(range(0, 84_000, 200))
    for first, block in blocks.items():
        assert np.array_equal(block.counts, counts[first : first + 200])
        assert block.t_ns - T0_NS == pytest.approx(first / 12_000 * 1e9, abs=25)


def test_stages_and_load_are_counted(world: World) -> None:
    """The cycle counter steps 100 per look: the sums say which looks were taken."""
    assert world.c.world_cpu_permille() == 0
    world.feed(noise(12_000))
    for number, name in enumerate(("decimate", "stamp", "frame", "features")):
        found = StageCycles()
        world.c.opq_stages_read(ctypes.c_int(number), ctypes.byref(found))
        assert found.calls == (300 if name == "decimate" else 60), name
        assert 100 <= found.min <= found.max
        assert found.min * found.calls <= found.sum <= found.max * found.calls
    assert 0 < world.c.world_cpu_permille() <= 1000
