"""Intake without port or socket: link messages in, ring, measurements and questions out."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake_bench import HELLO, T0_NS, Bench, samples
from structlog.testing import capture_logs

from opq_gateway.blocks import SampleBlock, boot_id_of
from opq_gateway.local.health import health
from opq_gateway.ring.lost import NOT_RESENT
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment import StatedFacts
from opq_gateway.serial_side.last_heard import KEPT_S, LastHeard
from opq_proto.link import payloads as link_payloads
from opq_proto.link.box_losses import LOSS_WORDS
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    FLAG_RESENT,
    Acknowledgement,
    BoxFacts,
    BoxMeasurement,
    Command,
    Crash,
    LinkMessage,
    Log,
    Losses,
    Operation,
    Resend,
    Status,
)
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Gap, TimeSource
from opq_sim.mains.generator import Generator


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_samples_before_the_hello_are_dropped(bench: Bench) -> None:
    bench.intake.opened()
    bench.feed(0, 1000)
    assert bench.counters["samples_before_hello"] == 5
    assert bench.sent == [Command(1, Operation.HELLO)]
    bench.now_s += 1.0
    bench.intake.tick()
    assert bench.sent[-1] == Command(2, Operation.HELLO)
    bench.intake.accept_message(HELLO)
    bench.feed(1000, 30_000)
    assert bench.counters["samples"] == 29_000


def test_a_hole_becomes_a_lasting_gap(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 6000)
    bench.feed(6400, 130_000, flags=0)
    assert Resend(6000, 400) in bench.sent
    assert bench.counters["missing_samples"] == 400 and bench.counters["gaps"] == 1
    wave = bench.ring.read(0, 2**62)
    assert wave is not None and [(g.first_sample, g.samples) for g in wave.gaps] == [(6000, 400)]
    assert bench.behind.gaps == [Gap(6000, 400, NOT_RESENT)]
    assert sum(len(block.counts) for block in bench.behind.blocks) == 6000 + 130_000 - 6400


def test_a_slow_box_is_waited_for(
    bench: Bench,
) -> None:
    """An emulated Box on a busy machine plays a twentieth of a second in each second."""
    bench.intake.accept_message(HELLO)
    bench.feed(0, 6000)
    for at in range(6200, 18_000, 200):
        bench.intake.accept_message(samples(at))
        bench.now_s += 20 * 200 / 12_000
        bench.intake.tick()
    assert bench.counters["gaps"] == 0 and bench.counters["samples"] == 6000
    bench.intake.accept_message(replace(samples(6000), flags=FLAG_RESENT))
    assert bench.counters["gaps"] == 0 and bench.counters["samples"] == 18_000


def test_waiting_samples_continue_after_20_s(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 6000)
    bench.feed(6200, 7000)
    bench.now_s += 19.0
    bench.intake.tick()
    assert bench.counters["samples"] == 6000
    bench.now_s += 1.0
    bench.intake.tick()
    assert bench.counters["samples"] == 6800 and bench.behind.gaps == [Gap(6000, 200, NOT_RESENT)]


def test_a_boxs_overrun_is_the_named_reason(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 2000)
    bench.intake.accept_message(replace(samples(3000), flags=FLAG_OVERRUN_BEFORE))
    bench.feed(3200, 10_000)
    wave = bench.ring.read(0, 2**62)
    assert wave is not None and "overran" in wave.gaps[0].reason
    assert bench.counters["box_overruns"] == 1


def test_a_restarted_gateway_knows_its_silence(bench: Bench, tmp_path: Path) -> None:
    bench.now_s += 1.7  # the first samples waited in a buffer
    bench.intake.accept_message(HELLO)
    bench.feed(0, 2400)
    bench.now_s -= 1.7
    bench.feed(2400, 60_000)  # the gateway is killed
    bench.ring.close()
    again = Bench(tmp_path)
    again.now_s, again.off_ns = bench.now_s + 14.5, -3600 * 10**9  # somebody set the clock back meanwhile
    again.intake.accept_message(replace(HELLO, boot_id=6))
    again.feed(0, 2400)
    start_id = again.behind.blocks[0].start_id
    assert boot_id_of(start_id) == 6
    assert again.status.silent_before == (start_id, pytest.approx(14.5, abs=0.02))
    same = Bench(tmp_path)  # started again beside a Box that went on
    same.now_s = again.now_s + 2.0
    same.intake.accept_message(replace(HELLO, boot_id=6))
    same.feed(2400, 4800)
    assert same.behind.blocks[0].start_id == start_id and same.status.silent_before is None


def test_after_a_machine_start_its_clock_is_ignored(tmp_path: Path) -> None:
    path, block = (
        tmp_path / "heard.json",
        SampleBlock(5, 0.01, 0, T0_NS, 1000, TimeSource.GPS, 12_000_000, Generator(seed=1).counts(0, 200)),
    )
    ring = Ring(tmp_path / "ring", "1", 1.0)
    ring.append(block)
    heard = LastHeard(path, "one")
    heard.note_block(block, 1000.0)
    late = replace(block, first_sample=round(KEPT_S * 12_000))
    heard.note_block(replace(late, first_sample=24_000), 1009.0)  # late: the first entry is better
    before = path.read_bytes()
    newest = ring.newest()
    assert newest is not None and LastHeard(path, "one").ended_s(newest) == 1000.0
    other_start = replace(newest, facts=StatedFacts(6, 0.01))
    known = [
        LastHeard(path, "two").ended_s(newest),
        LastHeard(path, "").ended_s(newest),
        LastHeard(path, "one").ended_s(None),
        LastHeard(path, "one").ended_s(other_start),
    ]
    heard.note_block(late, 1001.0 + KEPT_S)
    assert path.read_bytes() != before, "a crystal is not followed for ever"
    path.write_bytes(b"{")
    assert [*known, LastHeard(path, "one").ended_s(newest)] == [None] * 5


def test_a_new_boot_is_a_new_stream(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 24_400)
    assert bench.status.silent_before is None
    bench.now_s += 14.5
    bench.off_ns = -3600 * 10**9  # somebody sets the clock meanwhile
    bench.intake.accept_message(replace(HELLO, boot_id=6))
    bench.feed(0, 24_400, t_ns=T0_NS + 10**10)
    start_id = bench.behind.blocks[-1].start_id
    assert bench.status.silent_before == (start_id, pytest.approx(14.5, abs=0.02))
    assert bench.counters["restarts"] == 1 and bench.counters["missing_samples"] == 0
    assert bench.counters["samples"] == 48_800


def test_restarted_indices_without_hello_are_noticed(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(20_000, 30_000)
    for at in range(0, 10_000, 200):
        bench.intake.accept_message(replace(samples(at), t_ns=samples(30_000 + at).t_ns))
    assert Command(1, Operation.HELLO) in bench.sent
    bench.intake.accept_message(HELLO)
    assert bench.counters["restarts"] == 1
    assert bench.counters["samples"] == 10_000 + 10_000 - 2 * 200  # two blocks went before it was sure


def test_after_a_restart_the_stream_continues(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 5000)
    after = Bench(tmp_path)  # the one before was killed: nothing was closed
    after.now_s += 2.0
    after.intake.accept_message(HELLO)
    for at in (4000, 8000):  # still in the line: sent again for the gateway before
        after.intake.accept_message(replace(samples(at), flags=FLAG_RESENT))
    after.intake.accept_message(samples(9000))
    assert after.sent == [Resend(5000, 3000), Resend(8200, 800)]
    for at in [*range(5000, 8000, 200), *range(8200, 9000, 200)]:
        after.intake.accept_message(replace(samples(at), flags=FLAG_RESENT))
    wave = after.ring.read(0, 2**62)
    assert wave is not None and not wave.gaps and len(wave.counts) == 9200
    assert np.array_equal(wave.counts, Generator(seed=1).counts(0, 9200))


def test_another_runs_ring_is_not_continued(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.intake.accept_message(HELLO)
    before.feed(0, 5000)
    after = Bench(tmp_path)
    after.intake.accept_message(HELLO)  # the same boot id, but the time says that it is another run
    after.intake.accept_message(replace(samples(7000), t_ns=samples(7000).t_ns + 10**12))
    assert after.sent == [] and after.counters["samples"] == 200


def test_another_box_on_the_port_is_left_out(bench: Bench) -> None:
    bench.intake.accept_message(replace(HELLO, box_id=9))
    bench.feed(0, 2000)
    assert bench.counters["samples"] == 0 and bench.status.foreign_box == 9
    bench.status.serial_open = True
    problem = bench.status.problem(bench.now_s) or ""
    assert problem.startswith("Box 9 is on this port: are two cables swapped? Only if it is to become Box 1")
    bench.intake.accept_message(HELLO)
    bench.feed(2000, 4000)
    assert bench.counters["samples"] == 2000 and bench.status.foreign_box == 0


def numbers(bench: Bench) -> list[Command]:
    """The commands that give the Box its number."""
    bench.intake.tick()
    return [each for each in bench.sent if isinstance(each, Command) and each.argument == "box_id=1"]


def test_a_box_without_number_gets_its_ports(bench: Bench) -> None:
    bench.intake.opened()
    new = replace(HELLO, box_id=0)
    bench.intake.accept_message(new)
    bench.feed(0, 2000)
    assert bench.counters["samples"] == 2000
    [order] = numbers(bench)
    assert order.operation is Operation.PUT_SETTING
    bench.intake.accept_message(Acknowledgement(order.command_id, Status.DONE, ""))
    bench.intake.accept_message(HELLO)
    bench.feed(2000, 4000)
    bench.intake.accept_message(new)  # somebody took the number away, to move it
    assert (bench.counters["samples"], bench.counters["numbered"], numbers(bench)) == (4000, 1, [order])
    bench.intake.accept_message(replace(new, boot_id=6))
    assert len(numbers(bench)) == 2


def test_a_refused_number_is_logged_and_counted(bench: Bench) -> None:
    bench.intake.opened()
    bench.intake.accept_message(replace(HELLO, box_id=0))
    for seconds in (0.0, 3.0):  # the first try is not answered
        bench.now_s += seconds
        bench.intake.tick()
        bench.intake.accept_message(replace(HELLO, box_id=0))
    order = numbers(bench)[-1]
    bench.intake.accept_message(Acknowledgement(order.command_id, Status.FAILED, "not saved: status 2"))
    sent = len(numbers(bench))
    bench.intake.accept_message(replace(HELLO, box_id=0))
    assert (len(numbers(bench)), bench.counters["number_refused"]) == (sent, 1)
    (part,) = health({"1": bench.status}, bench.now_s, 1e9)["subcomponents"]
    assert part["note"].startswith("Box 1 does not take the number of its port: failed not saved: status 2; ")
    bench.intake.accept_message(HELLO)  # somebody has set it
    assert bench.status.number_refused == ""
    bench.intake.lost()
    bench.intake.opened()
    bench.intake.accept_message(replace(HELLO, box_id=0))
    assert len(numbers(bench)) == sent + 1


def test_a_disk_that_takes_nothing_stops_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    bench.intake.accept_message(HELLO)
    bench.status.serial_open = bench.status.connected = True
    monkeypatch.setattr(bench.ring, "append_all", full)
    bench.feed(0, 30_000)
    assert bench.counters["ring_failed"] == 150 and len(bench.behind.blocks) == 150
    assert bench.status.problem(bench.now_s) == "samples are measured but not stored: No space left on device"
    monkeypatch.undo()
    bench.feed(30_000, 31_000)
    assert bench.counters["ring_blocks"] == 5
    assert bench.status.problem(bench.now_s) is None


def test_the_boxs_own_figures_are_handed_on(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    figures = BoxMeasurement(1000, 5000, 120.0, 60.0, 0.001, None)
    bench.intake.accept_message(figures)
    assert bench.behind.figures_ == [figures]


@pytest.mark.parametrize(
    "wrong",
    [
        {"v_per_lsb": 0.0},
        *({"v_per_lsb": value} for value in (-0.01, float("nan"), float("inf"), 1e300, 1e-300)),
        {"rate_millihz": 0},
        *({"nominal_v": value} for value in (0.0, -230.0, float("nan"), float("inf"), 2e6)),
        *({"nominal_hz": value} for value in (0.0, -50.0, float("nan"), float("inf"), 401.0)),
        *({name: value} for name in ("hardware", "firmware") for value in ("a\nb", "\x1b[31m", "x" * 200)),
    ],
)
def test_an_impossible_hello_is_refused(bench: Bench, wrong: dict[str, object]) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 2000)
    bench.intake.accept_message(replace(HELLO, **wrong))  # type: ignore[arg-type]
    bench.feed(2000, 3000)
    assert bench.counters["hello_refused"] == 1 and bench.counters["samples"] == 2000
    bench.intake.accept_message(HELLO)
    bench.intake.accept_message(samples(3000))
    assert Resend(2000, 1000) in bench.sent  # what was dropped meanwhile
    bench.feed(2000, 3000, flags=FLAG_RESENT)
    assert bench.counters["samples"] == 3200


def test_a_boot_loaders_hello_is_refused(bench: Bench) -> None:
    waiting = replace(HELLO, firmware="boot 1.0.0: no good image", v_per_lsb=float("nan"))
    with capture_logs() as lines:
        bench.intake.accept_message(waiting)
        bench.intake.accept_message(waiting)
    [line] = [line for line in lines if line["event"] == "box.in_recovery"]
    assert line["firmware"] == "boot 1.0.0: no good image"
    assert not [line for line in lines if line["event"] == "hello.refused"]
    assert bench.counters["hello_refused"] == 2
    bench.status.serial_open = True
    assert bench.status.problem(0.0) == "Box is in its boot loader's recovery"
    bench.intake.accept_message(HELLO)
    assert bench.status.problem(0.0) == "no samples yet"


def test_new_nominal_values_apply_from_then(bench: Bench) -> None:
    fifty = replace(HELLO, nominal_v=230.0, nominal_hz=50.0)
    for at, hello in enumerate((fifty, replace(fifty, nominal_v=400.0), replace(fifty, nominal_hz=60.0))):
        bench.intake.accept_message(hello)
        bench.feed(at * 1000, at * 1000 + 1000)
    assert len(bench.behind.restarts) == 1 and bench.counters["restarts"] == 0
    assert len({block.start_id for block in bench.behind.blocks}) == 1
    stated = [(block.nominal_v, block.nominal_hz) for block in bench.behind.blocks]
    assert stated == [(230.0, 50.0)] * 5 + [(400.0, 50.0)] * 5 + [(230.0, 60.0)] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"t_ns": -1},
        {"t_ns": 2**63 - 1},
        {"first_sample": 2**64 - 200},
        {"rate_millihz": 0},
        {"rate_millihz": 1000},
    ],
)
def test_samples_that_cannot_be_true_are_left_out(bench: Bench, wrong: dict[str, int]) -> None:
    bench.intake.accept_message(HELLO)
    bench.feed(0, 1000)
    bench.intake.accept_message(replace(samples(1000), **wrong))
    bench.feed(1000, 2000)
    assert bench.counters["samples_refused"] == 1 and bench.counters["samples"] == 2000


def test_a_boxs_log_is_worded_and_bounded(bench: Bench) -> None:
    with capture_logs() as lines:
        for number in range(100):
            bench.intake.accept_message(Log(40, 3100, number, 5))
        bench.now_s += 10.0
        bench.intake.accept_message(Log(1, 7, 5, 5))
    assert [line["event"] for line in lines] == ["box.on_battery"] * 20 + ["box.started"]
    assert (lines[0]["supply_mv"], lines[0]["log_level"]) == (3100, "warning")
    assert lines[-1]["reset_cause"] == "watchdog"
    assert bench.counters["log_lines"] == 101
    assert bench.counters["log_lines_untold"] == 80


told = st.tuples(
    st.integers(-3, 4),  # from the block before to this one; mostly 1
    st.sampled_from((0, 0, 0, 0, FLAG_CLIPPED, FLAG_OVERRUN_BEFORE, FLAG_RESENT)),
    st.sampled_from((12_000_000, 12_000_000, 12_000_000, 13_000_000)),
    st.sampled_from((TimeSource.GPS, TimeSource.GPS, TimeSource.FREE)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(told | st.just((1, 0, 12_000_000, TimeSource.GPS)), max_size=60), st.data())
def test_joined_blocks_equal_single_ones(
    steps: list[tuple[int, int, int, TimeSource]], data: st.DataObject
) -> None:
    stream: list[LinkMessage] = [HELLO]
    at = 10
    for step, flags, rate_millihz, source in steps:
        at = max(0, at + step)
        unknown = UNKNOWN_UNCERTAINTY_NS if source is TimeSource.FREE else 1000
        stream.append(
            replace(
                samples(at * 200),
                flags=flags,
                rate_millihz=rate_millihz,
                source=source,
                uncertainty_ns=unknown,
            )
        )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)) | {0, len(stream)})
    with TemporaryDirectory() as folder:
        alone, together = Bench(Path(folder) / "alone"), Bench(Path(folder) / "together")
        for begin, end in pairwise(cuts):
            for message in stream[begin:end]:
                alone.intake.accept_message(message)
            together.intake.accept_messages([(0, message) for message in stream[begin:end]])
            for bench in (alone, together):
                bench.now_s += 0.05
                bench.intake.tick()
        for bench in (alone, together):
            bench.intake.close()
            bench.ring.close()
        assert together.counters.snapshot() == alone.counters.snapshot()
        assert together.sent == alone.sent and together.behind.gaps == alone.behind.gaps
        assert facts(together.behind.blocks) == facts(alone.behind.blocks)
        assert facts(together.ring.read_blocks(0, 2**62)) == facts(alone.ring.read_blocks(0, 2**62))


def facts(blocks: list[SampleBlock]) -> list[tuple[object, ...]]:
    """All of the blocks that can be compared; starts by their order, for their names are drawn."""
    order = list(dict.fromkeys(block.start_id for block in blocks))
    return [
        (
            order.index(block.start_id),
            *(getattr(block, name) for name in SampleBlock.__slots__ if name not in ("counts", "start_id")),
            block.counts.tobytes(),
        )
        for block in blocks
    ]


GOLDEN = Path(__file__).parents[2] / "proto" / "golden" / "link"


def golden_bytes(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.txt").read_text().rpartition("frame ")[2])


def test_a_boxs_own_losses_are_believed(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    bench.intake.accept_messages(Decoder().feed(golden_bytes("health")))  # all that it says at first
    assert bench.status.lost == {"overruns": 1, "missing_samples": 200, "crc_errors": 3, "tx_dropped": 4}
    assert bench.status.losses is None
    with capture_logs() as log:
        bench.intake.accept_messages(Decoder().feed(golden_bytes("losses")))
        bench.now_s += 60
        bench.intake.accept_messages(Decoder().feed(golden_bytes("losses")))  # a minute later, the same
    told = [line for line in log if line["event"] == "box.lost"]
    assert [(line["link_overruns"], line["pps_dropped"]) for line in told] == [(1, 13)]
    assert "link_noise" not in told[0]  # doubted, not gone
    assert bench.status.lost.items() >= {"missing_samples": 200, "link_noise": 2, "prints": 2**32 - 1}.items()
    bench.intake.accept_messages(Decoder().feed(golden_bytes("losses_more")))  # a newer Box
    assert set(bench.status.lost) == set(LOSS_WORDS)
    bench.intake.accept_message(replace(HELLO, boot_id=6))
    assert bench.status.losses is None


def test_a_boxs_chip_facts_last_until_restart(bench: Bench) -> None:
    bench.intake.accept_message(HELLO)
    assert bench.status.facts == {}  # not said yet
    bench.intake.accept_messages(Decoder().feed(golden_bytes("box_facts")))
    assert bench.status.facts == {
        "brown_out_level": "2.70 V",
        "protected_sectors": "sectors 0, 1",
        "chip_revision": "1",
        "time_label": "UBX",
    }
    bench.intake.accept_messages(Decoder().feed(golden_bytes("box_facts_more")))  # a newer Box
    assert bench.status.facts["brown_out_level"] == "off" and len(bench.status.facts) == 5
    bench.intake.accept_message(replace(HELLO, boot_id=6))
    assert bench.status.facts == {}


def test_a_crash_is_logged_once(bench: Bench) -> None:
    """With its registers and stack."""
    bench.intake.accept_message(HELLO)
    with capture_logs() as log:
        for name in ("crash", "crash", "crash_few"):
            bench.intake.accept_messages(Decoder().feed(golden_bytes(name)))
            bench.now_s += 60
    told = [line for line in log if line["event"] == "box.crash_record"]
    assert [(line["kind"], line["count"]) for line in told] == [
        ("processor fault", 2),
        ("the crystal or TCXO stopped", 1),
    ]
    assert (told[0]["pc"], told[0]["r3"], told[0]["bfar"]) == ("0x08035F0C", "0x00000003", "0x60000000")
    stack = told[0]["stack"].split()
    assert (len(stack), stack[0], stack[-1]) == (64, "0x08020200", "0x0802023F")


@pytest.mark.parametrize("name", ["losses", "box_facts", "crash"])
def test_an_unknown_message_is_skipped(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As from a newer Box: one frame is counted, and nothing else is wrong."""
    for kind in (Losses.TYPE, BoxFacts.TYPE, Crash.TYPE):
        monkeypatch.delitem(link_payloads._READERS, kind)
    decoder = Decoder()
    stream = b"".join(golden_bytes(each) for each in ("command_repl", name, "health"))
    assert [message.TYPE for _, message in decoder.feed(stream)] == [0x08, 0x06]
    assert (decoder.malformed, decoder.crc_errors) == (1, 0)
    follows = Decoder()
    frames = [encode(message, at) for at, message in enumerate((HELLO, Losses((0,)), HELLO))]
    assert len(follows.feed(b"".join(frames))) == 2 and follows.sequence_gaps == 0
