"""The app in the binary that one would flash, on our QEMU: what it answers, keeps, and does when let down."""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from opq_hil.backends.firmware import NO_FIRMWARE, Firmware
from opq_hil.gps.oscillator import Oscillator
from opq_hil.gps.receiver import Gps
from opq_hil.gps.second_messages import ubx_message
from opq_hil.suites.scenario import Bench
from opq_hil.world.world import NS_PER_S, PowerScript, RomStart, Sine, World
from opq_proto.errors import OpqError
from opq_proto.link import frames as link
from opq_proto.link import log_codes
from opq_proto.link.box_facts import box_facts
from opq_proto.link.box_losses import box_losses
from opq_proto.link.crash_record import crash_record
from opq_proto.link.messages import (
    FLAG_CLIPPED,
    FLAG_OVERRUN_BEFORE,
    FLAG_RESENT,
    Acknowledgement,
    BoxFacts,
    Command,
    Crash,
    Crossing,
    Health,
    Hello,
    LinkMessage,
    Log,
    Losses,
    Operation,
    Resend,
    Samples,
    Settings,
    Status,
    UpdateData,
)
from opq_tools.firmware.where import code_places, kept_builds

pytestmark = pytest.mark.timeout(900)
MAINS_LSB = 7891
"""120 V at the opqbox's 21.505 mV per LSB."""
LINE_BYTES = 92_160
"""A second of 921,600 baud."""
SUPPLY, BATTERY = 11, 12
"""Channels of ADC1 (device/port/boards/opqbox/board.toml), each behind a divider by two."""


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Firmware built from this tree (cached) unless --hil-firmware or OPQ_FIRMWARE_DIR names some."""
    from opq_tools.hil.built_firmware import firmware_for

    try:
        option = request.config.getoption
        return firmware_for(option("--hil-firmware"), board_dir=option("--hil-board-dir"))
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


def at(second: float) -> int:
    return round(second * NS_PER_S)


def count(volts: float) -> int:
    return round(volts / 2 / 3.3 * 4095)


def events(run) -> list[str]:
    return [log_codes.CODES[entry.code].event for entry in run.capture.of(Log)]


@pytest.mark.slow  # the boot loader after it always runs, test_boot_binary.py
def test_after_the_roms_go_it_samples(hil_bench: Bench) -> None:
    plain, by_go = (
        hil_bench.run(World(at(2), gps=None, rom_start=rom_start)) for rom_start in (None, RomStart())
    )
    later_ns = [run.capture.timed(Samples)[0][0] for run in (plain, by_go)]
    assert 0 <= later_ns[1] - later_ns[0] < at(0.01)
    assert by_go.report["violations"] == plain.report["violations"] == []
    assert by_go.report["resets"] == []


@dataclass(frozen=True)
class Answering(Gps):
    """A receiver that says only this, and has no pulse."""

    said: tuple[tuple[int, bytes], ...] = ()

    def pulses(self, oscillator: Oscillator, end_ns: int) -> list[int]:
        return []

    def text(self, oscillator: Oscillator, end_ns: int) -> list[tuple[int, bytes]]:
        return list(self.said)


@pytest.mark.slow  # test_clock_receiver.py always has both requests, of the same C on the PC
@pytest.mark.parametrize(("answer", "sent"), [(1, 32), (0, 32 + 3 * 11), (None, 32 + 3 * 11)])
def test_a_ublox_falls_back_to_cfg_msg(hil_bench: Bench, answer: int | None, sent: int) -> None:
    """A ublox is asked by valset and where it refuses or is silent by cfg msg."""
    said = () if answer is None else ((at(1.6), ubx_message((0x05, answer), bytes((0x06, 0x8A)))),)
    world = World(at(6), gps=Answering(said=said))
    run = hil_bench.run(world, flash=hil_bench.prepared(gps="ubx"))
    assert run.report["usart2"]["tx_bytes"] == sent


@pytest.mark.slow
@pytest.mark.parametrize(("form", "label"), [("nmea", "NMEA"), ("ubx", "UBX that confirms UTC")])
def test_the_box_says_what_names_its_seconds(hil_bench: Bench, form: str, label: str) -> None:
    run = hil_bench.run(World(at(12), gps=Gps(1_800_000_000 * NS_PER_S, form=form)))
    labels = [box_facts(found)["time_label"] for found in run.capture.of(BoxFacts)]
    assert labels[0] == "nothing yet" and labels[-1] == label


def test_commands_are_answered_and_survive_a_reset(
    hil_bench: Bench,
) -> None:
    """Commands are answered done and kept over a reset and the prompt gets the line."""
    messages = (
        (at(2.0), Command(1, Operation.HELLO)),
        (at(2.2), Command(2, Operation.PUT_SETTING, "gain=1.05")),
        (at(2.8), Command(3, Operation.PUT_SETTING, "no_such=1")),
        (at(2.9), Command(4, Operation.PUT_SETTING, "gain=20")),
        (at(3.0), Command(5, Operation.CROSSING_LIMITS, "dip=0.99")),
        (at(3.2), Resend(12_000, 4000)),
        (at(4.0), Command(6, Operation.PUT_SETTING, "offset_lsb=100")),
        (at(5.0), Command(7, Operation.RESET)),
        (at(6.5), Command(8, Operation.GET_SETTINGS)),
        (at(7.0), Command(9, Operation.REPL)),
        (at(7.3), b"from opq import pipeline\r\nprint('total', pipeline.stage('total')[0] > 100)\r\n"),
    )
    dips = ((at(3.5), at(3.7), 0.5), (at(3.8), at(3.82), 3.75))  # 636 V peak: beyond the linear range
    run = hil_bench.run(
        World(at(9), gps=None, messages=messages, mains=Sine(amplitude_lsb=MAINS_LSB, dips=dips))
    )
    capture = run.capture

    assert {a.command_id: (a.status, a.detail) for a in capture.of(Acknowledgement)} == {
        1: (Status.DONE, ""),
        2: (Status.DONE, ""),
        3: (Status.BAD_ARGUMENT, "no setting no_such"),
        4: (Status.BAD_ARGUMENT, "gain: value refused"),
        5: (Status.DONE, ""),
        6: (Status.DONE, ""),
        7: (Status.DONE, ""),
        8: (Status.DONE, ""),
        9: (Status.DONE, ""),
    }
    hellos = capture.of(Hello)
    assert len({hello.boot_id for hello in hellos}) == 3  # start, new offset, reset
    assert hellos[-1].v_per_lsb == pytest.approx(hellos[0].v_per_lsb * 1.05, rel=1e-6)
    [kept] = capture.of(Settings)
    assert {"gain": "1.05", "offset_lsb": "100"}.items() <= dict(kept.values).items()
    again = [block for block in capture.of(Samples) if block.flags & FLAG_RESENT]
    reported = {block.first_sample: block for t_ns, block in capture.timed(Samples) if t_ns < at(3.2)}
    assert [block.first_sample for block in again] == list(range(12_000, 16_000, 200))
    for block in again:
        assert block.t_ns == reported[block.first_sample].t_ns
        assert np.array_equal(block.counts, reported[block.first_sample].counts)
    entering, leaving = capture.timed(Crossing)[:2]
    assert entering[1].entering and not leaving[1].entering
    assert 0 < entering[0] - at(3.5) < at(0.045)
    assert 0 < leaving[0] - at(3.7) < at(0.045)
    means = [float(np.mean(b.counts)) for b in capture.of(Samples, after_ns=at(6))]
    assert np.allclose(means, -100, atol=1)
    clipped_ns = [block.t_ns for t_ns, block in capture.timed(Samples) if block.flags & FLAG_CLIPPED]
    assert 1 <= len(clipped_ns) <= 3 and max(clipped_ns) - min(clipped_ns) < at(0.04)
    assert b"total True" in capture.data
    assert not any(block.flags & FLAG_OVERRUN_BEFORE for block in capture.of(Samples))


@pytest.mark.slow  # test_app.py always plays its decisions
def test_an_empty_battery_stops_in_order(hil_bench: Bench) -> None:
    """An empty battery stops in order a falling vdd at once and both start again."""
    adc = (
        (SUPPLY, 0, count(5.0)),
        (BATTERY, 0, count(3.9)),
        (SUPPLY, at(3), count(0.2)),
        (SUPPLY, at(5), count(5.0)),
        (SUPPLY, at(7), count(0.2)),
        (BATTERY, at(9), count(3.2)),
        (SUPPLY, at(14), count(5.0)),
        (BATTERY, at(14), count(3.7)),
    )
    power = PowerScript(adc=adc, pvd=((at(19), True), (at(20), False)))
    run = hil_bench.run(World(at(22), gps=None, power=power))
    log = events(run)
    wanted = ["on_battery", "supply_back", "on_battery", "battery_low", "stopped", "converter_started"]
    wanted += ["stopped", "converter_started"]
    power_log = [
        event for event in log if event.removeprefix("box.") in wanted and event != "box.converter_started"
    ]
    assert power_log == [f"box.{name}" for name in wanted if name != "converter_started"]
    assert log.count("box.converter_started") == 3
    assert not run.capture.of(Samples, after_ns=at(10))[0].first_sample  # silent until the supply is back
    quiet = [t_ns for t_ns, _ in run.capture.timed(Samples) if at(10) < t_ns < at(14)]
    assert quiet == []
    assert run.report["resets"] == []
    healths = run.capture.of(Health)
    assert len(healths) >= 20
    marks = [health.heap_free_bytes for health in healths[2:]]
    # The low-water mark is flat, but for one block that something which looks like its address may keep; the
    # keys in this cache's flash decide whether and when.
    assert max(marks) - min(marks) <= 16
    assert healths[6].supply_v == pytest.approx(5.0, abs=0.05)
    assert healths[4].supply_v == pytest.approx(0.2, abs=0.05)
    assert healths[4].battery_v == pytest.approx(3.9, abs=0.05)


def test_watchdog_and_fault_resets_name_their_place(hil_bench: Bench) -> None:
    """At the prompt the SysTick interrupt feeds the watchdog: stopping it hangs all but the acquisition.

    The boot loader counts that reset as one in a row until the app has been well for ten seconds.
    """
    stop_systick = b"import machine\r\nmachine.mem32[0xE000E010] = 0\r\n"
    count_resets = b"from opq import update\r\nprint('in a row', update.boot()[2])\r\n"
    read_nothing = b"import machine\r\nmachine.mem32[0x60000000]\r\n"  # no such memory: a bus fault
    messages = (
        (at(13.0), Command(1, Operation.REPL)),  # the image is confirmed by then
        (at(13.5), stop_systick),
        (at(34.0), Command(2, Operation.REPL)),
        (at(35.0), count_resets),
        (at(36.0), read_nothing),
    )
    run = hil_bench.run(World(at(39), gps=None, messages=messages))
    resets = [(why, at_ns / NS_PER_S) for at_ns, why in run.report["resets"]]
    assert [why for why, _ in resets] == ["iwdg", "software"]
    assert 5.5 < resets[0][1] - 13.5 < 15.5  # 8.2 s at 32 kHz, LSI 17..47 kHz (DS8626 table 42)
    assert resets[1][1] - 36.0 < 0.2
    assert re.findall(rb"in a row (\d)", run.capture.data) == [b"0"]
    log = [log_codes.words(entry) for entry in run.capture.of(Log)]
    causes = [facts["reset_cause"] for event, _, facts in log if event == "box.started"]
    assert causes == ["power", "watchdog", "software"]
    [crash] = [facts for event, _, facts in log if event == "box.crashed"]
    assert 0x08020200 <= int(crash["pc"]) & 0xFFFFFFFF < 0x08080000
    record = crash_record(run.capture.of(Crash)[-1])
    assert (record["kind"], record["count"]) == ("processor fault", 1)
    assert int(str(record["pc"]), 16) == int(crash["pc"]) & 0xFFFFFFFF
    assert record["bfar"] == "0x60000000" and int(str(record["cfsr"]), 16) & 0x8200 == 0x8200  # PM0214 4.4.10
    assert "0x60000000" in (record["r0"], record["r1"], record["r2"], record["r3"])
    elfs = kept_builds("opqbox", [hil_bench.firmware("opqbox").image.flash.parent])
    words = [int(str(record[name]), 16) for name in ("pc", "lr")]
    words += [int(word, 16) for word in str(record["stack"]).split()]
    functions = [place.function for place in code_places(elfs[0], words)]
    assert functions[0] == "machine_mem_subscr" and "mp_execute_bytecode" in functions, functions
    assert run.capture.of(Samples, after_ns=at(38))


def test_protection_outlives_a_reset(hil_bench: Bench) -> None:
    messages = (
        (at(2.0), Command(1, Operation.PROTECT)),
        (at(3.0), Command(2, Operation.PROTECT, "3 3")),
        (at(4.0), Command(3, Operation.PROTECT, "3 32")),  # a slot's sector: never
        (at(5.0), Command(4, Operation.RESET)),
        (at(7.0), Command(5, Operation.PROTECT)),
    )
    run = hil_bench.run(World(at(9), gps=None, messages=messages))
    answers = [(answer.status, answer.detail) for answer in run.capture.of(Acknowledgement)]
    assert answers == [
        (Status.DONE, "0 0"),
        (Status.DONE, "3 3"),
        (Status.FAILED, "not set"),
        (Status.DONE, ""),
        (Status.DONE, "3 3"),
    ]
    assert run.report["flash"]["option_writes"] == 1 and run.report["violations"] == []
    facts = [box_facts(found) for found in run.capture.of(BoxFacts)]
    assert [found["brown_out_level"] for found in facts] == ["off", "2.70 V", "2.70 V"]
    assert facts[-1]["protected_sectors"] == "sectors 0, 1" and facts[-1]["chip_revision"] == "1"
    assert not [block for block in run.capture.of(Samples) if block.flags & FLAG_OVERRUN_BEFORE]


@pytest.mark.parametrize("count", [300, pytest.param(900, marks=pytest.mark.slow)])
def test_nonsense_costs_no_sample(hil_bench: Bench, count: int) -> None:
    """Commands with any argument, update pieces out of nowhere and noise, 100 a second."""
    dice = random.Random(4)
    words = [
        "",
        "=",
        "gain",
        "gain=",
        "gain=nan",
        "gain=1e999",
        "dip=",
        "dip=0.9,",
        ",,,",
        "é" * 100,
        "1,2",
        "-1,-1",
    ]
    words += [
        "9" * 200,
        "phase_ns=1e6",
        "0x10",
        "swell=1.1,dip=0",
        "box_id=4294967296",
        "\0",
        "=" * 255,
        "18446744073709551616,1",
    ]
    operations = [op for op in Operation if op not in (Operation.RESET, Operation.REPL, Operation.UPDATE_END)]
    messages: list[tuple[int, LinkMessage | bytes]] = []
    messages.append((at(2), Command(1000, Operation.PUT_SETTING, "gain=1.01")))  # erases; no flood meanwhile
    for number in range(count):
        at_ns = at(3) + number * at(0.01)
        kind = dice.random()
        if kind < 0.7:
            messages.append((at_ns, Command(number, dice.choice(operations), dice.choice(words))))
        elif kind < 0.9:
            messages.append(
                (at_ns, UpdateData(number, dice.randrange(2**32), dice.randbytes(dice.randrange(1025))))
            )
        else:
            messages.append((at_ns, b"\0" + dice.randbytes(100) + b"\0"))
    run = hil_bench.run(World(at(5 + count / 100), gps=None, messages=tuple(messages)))
    answered = {answer.command_id for answer in run.capture.of(Acknowledgement)}
    sent = {message.command_id for _, message in messages if not isinstance(message, bytes)}
    assert sent - answered == set()
    assert "box.exception" not in events(run)
    assert run.report["resets"] == []
    last = run.capture.of(Health)[-1]
    assert (last.missing_samples, last.overruns, last.tx_dropped) == (0, 0, 0)
    assert last.crc_errors >= count / 10 * 0.7
    assert last.heap_free_bytes > 16_000


@pytest.mark.slow
def test_floods_cost_no_sample(
    hil_bench: Bench,
) -> None:
    """2 s of random bytes, 1 s of zeros, 1.5 s of commands each of which wants Settings, without a pause."""
    asking = b"".join(link.encode(Command(n, Operation.GET_SETTINGS), n) for n in range(10_000))
    noise = random.Random(6).randbytes(2 * LINE_BYTES) + bytes(LINE_BYTES) + asking
    pieces = [(at(2), noise[begin : begin + 4096]) for begin in range(0, len(noise), 4096)]
    end_s = 2 + len(noise) / LINE_BYTES
    last = (
        at(end_s + 1),
        Command(60_000, Operation.PUT_SETTING, "oversampling=3"),
    )  # 7000 / 3: no whole ticks
    run = hil_bench.run(World(at(end_s + 8), gps=None, messages=(*pieces, last)))
    capture = run.capture
    answers = [a for a in capture.of(Acknowledgement) if a.command_id == 60_000]
    assert [answer.status for answer in answers] == [Status.BAD_ARGUMENT]
    kept = len(capture.of(Acknowledgement)) - 1
    assert kept == len(capture.of(Settings)) > 300  # none was done of which the answer was lost
    reported = [
        facts for event, _, facts in map(log_codes.words, capture.of(Log)) if event == "box.commands_lost"
    ]
    assert kept + int(reported[-1]["in_all"]) == pytest.approx(
        10_000, abs=20
    )  # the noise costs those beside it
    blocks = capture.of(Samples)
    starts = [block.first_sample for block in blocks].index(0, 1)  # the refused setting began sampling again
    for part in (blocks[:starts], blocks[starts:]):
        assert [block.first_sample for block in part] == [200 * n for n in range(len(part))]
    assert run.report["resets"] == []
    health = capture.of(Health)[-1]
    assert (health.missing_samples, health.overruns, health.tx_dropped) == (0, 0, 0)
    assert health.crc_errors > 500


class Ringing(World):
    """A world whose pulse line rings at 6.7 MHz for 0.1 s: more edges than the processor could take."""

    def lines(self, folder: Path) -> Iterator[str]:
        *lines, end = super().lines(folder)
        yield from (*lines, f"pps_train {at(2)} 150 1 {at(0.1) // 150}", end)


def test_a_ringing_pulse_costs_no_sample(hil_bench: Bench) -> None:
    messages = ((at(2.05), Command(1, Operation.HELLO)),)
    run = hil_bench.run(Ringing(at(4), gps=None, messages=messages))
    blocks = run.capture.of(Samples)
    assert [block.first_sample for block in blocks] == [200 * n for n in range(len(blocks))]
    assert [answer.status for answer in run.capture.of(Acknowledgement)] == [Status.DONE]
    assert run.report["usart1"]["overruns"] == 0
    lost = box_losses(None, run.capture.of(Losses)[-1])
    assert lost["pps_overtaken"] > 100 and lost["pps_dropped"] > 100  # eight a millisecond are read, 16 kept
    assert run.report["tim5"]["overcaptures1"] >= lost["pps_overtaken"]


def test_a_jumper_gives_the_prompt(hil_bench: Bench) -> None:
    world = World(at(2), gps=None, pins=(("C9", 0, False),), messages=((at(1), b"print(6 * 7)\r\n"),))
    run = hil_bench.run(world)
    assert b"MicroPython" in run.capture.data and b"42\r\n" in run.capture.data
    assert run.capture.received == ()
    assert run.report["resets"] == []
