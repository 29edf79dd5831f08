"""`opq-tools calibrate` against simulated Boxes on ptys, and its arithmetic against signals by formula."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from failing_line import FailingLine, LineFault

from opq_proto.link.messages import FLAG_CLIPPED, Hello, Samples
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_tools.boxes.calibrate import calibration
from opq_tools.boxes.calibrate.calibrate_command import CalibrationLink, _calibrate, command
from opq_tools.boxes.calibrate.calibration import CalibrationError, Correction

T0_NS = 1_700_000_000_000_000_000
HELLO = Hello(1, 7, 5, 12_000_000, 0.01, 120.0, 60.0, 15.0, 200, 38_400, "test", "1")


def blocks(
    rms_v: float = 120.0,
    *,
    hz: float = 60.0,
    offset_lsb: float = 0.0,
    delay_s: float = 0.0,
    start_ns: int = T0_NS + 123_456_789,
    source: TimeSource = TimeSource.GPS,
    swing: float = 0.0,
    seconds: float = 2.0,
) -> list[Samples]:
    """cos(2 pi f t) of UTC, as seen `delay_s` late; `swing` modulates it at 1 Hz."""
    t_s = (start_ns % 10**9) / 1e9 + np.arange(round(seconds * 12_000)) / 12_000 - delay_s
    size = rms_v * np.sqrt(2) / 0.01 * (1 + swing * np.sin(2 * np.pi * t_s))
    counts = np.round(size * np.cos(2 * np.pi * hz * t_s) + offset_lsb).astype(np.int16)
    return [
        Samples(
            first,
            start_ns + first * 10**12 // 12_000_000,
            200,
            source,
            12_000_000,
            0,
            counts[first : first + 200],
        )
        for first in range(0, len(counts), 200)
    ]


def test_a_cosine_reads_as_its_parameters() -> None:
    reading = calibration.read(blocks(118.5, offset_lsb=37.25), HELLO)
    assert reading.rms_v == pytest.approx(118.5, rel=2e-5)
    assert reading.offset_lsb == pytest.approx(37.25, abs=0.5)
    assert reading.f_hz == pytest.approx(60.0, abs=1e-3)
    assert reading.angle_deg == pytest.approx(0.0, abs=0.02)
    assert reading.spread_v < 0.02


def test_the_correction_is_what_closed_form_says() -> None:
    """A front end 30 us late turns a cosine by -0.648 degrees at 60 Hz."""
    reading = calibration.read(blocks(118.5, offset_lsb=-12.0, delay_s=30e-6), HELLO)
    assert reading.angle_deg == pytest.approx(-0.648, abs=0.02)
    new = calibration.correct(Correction(1.1, 5.0, 2000.0), reading, 120.0, 0.0)
    assert new.gain == pytest.approx(1.1 * 120.0 / 118.5, rel=2e-5)
    assert new.offset_lsb == pytest.approx(-7.0, abs=0.5)
    assert new.phase_ns == pytest.approx(32_000, abs=900)


def test_an_angle_near_180_degrees_wraps() -> None:
    late = replace(calibration.read(blocks(), HELLO), angle_deg=-179.9)
    new = calibration.correct(Correction(1.0, 0.0, 0.0), late, 120.0, 179.9)
    assert new.phase_ns == pytest.approx(-0.2 / 360 / 60 * 1e9, rel=1e-3)


@pytest.mark.parametrize("facts", [{"source": TimeSource.NTP}, {"hz": 59.98}])
def test_phase_needs_gps_time_and_a_reference_generator(facts: dict[str, object]) -> None:
    reading = calibration.read(blocks(**facts), HELLO)  # type: ignore[arg-type]
    assert reading.angle_deg is None
    with pytest.raises(CalibrationError, match="the phase cannot"):
        calibration.correct(Correction(1.0, 0.0, 0.0), reading, 120.0, 0.0)
    assert calibration.correct(Correction(1.0, 0.0, 7.0), reading, 120.0, None).phase_ns == 7.0


def test_an_unsteady_source_is_refused() -> None:
    with pytest.raises(CalibrationError, match="not steady"):
        calibration.read(blocks(swing=0.002), HELLO)


def test_a_clipped_block_is_refused() -> None:
    taken = blocks()
    taken[50] = replace(taken[50], flags=FLAG_CLIPPED)
    with pytest.raises(CalibrationError, match="1 of 120 blocks are clipped"):
        calibration.read(taken, HELLO)


@pytest.mark.parametrize(("reference_v", "why"), [(2000.0, "terminals"), (300.0, "gain would be 2.5")])
def test_a_far_reading_is_not_calibrated(reference_v: float, why: str) -> None:
    reading = calibration.read(blocks(), HELLO)
    with pytest.raises(CalibrationError, match=why):
        calibration.correct(Correction(1.0, 0.0, 0.0), reading, reference_v, None)


@contextlib.contextmanager
def box_on_a_pty(box: Box) -> Iterator[str]:
    with BoxHost([box]) as host:
        yield host.ports[box.box_id]


def run(*arguments: str, answers: str = "") -> Result:
    return CliRunner().invoke(command, list(arguments), input=answers)


def steady_box() -> Box:
    return Box("7")


def test_a_box_on_a_pty_reads_its_reference() -> None:
    box = steady_box()
    box.settings.assign("offset_lsb=-25")
    with box_on_a_pty(box) as port:
        done = run(port, "--reference-v", "118.7", "--seconds", "2", "--yes", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["box_id"] == 7
    assert facts["after"]["rms_v"] == pytest.approx(118.7, rel=1e-3)
    assert facts["new"]["offset_lsb"] == pytest.approx(0.0, abs=1.5)
    assert box.settings.number("gain") == pytest.approx(facts["new"]["gain"], rel=1e-6)


def test_without_a_yes_nothing_is_changed() -> None:
    box = steady_box()
    with box_on_a_pty(box) as port:
        done = run(port, "--reference-v", "118.7", "--seconds", "1", answers="n\n")
    assert isinstance(done.exception, CalibrationError)
    assert "gain         1.000000     -> 0.98" in done.output
    assert (box.settings.sequence, box.settings["gain"]) == (0, "1")


class DeafBox(Box):
    """Takes the setting and does not use it."""

    @property
    def v_per_lsb(self) -> float:
        return self.source.v_per_lsb


def test_a_box_that_stays_off_is_restored() -> None:
    box = DeafBox("7")
    with box_on_a_pty(box) as port:
        done = run(port, "--reference-v", "118.7", "--seconds", "1", "--yes")
    assert isinstance(done.exception, CalibrationError)
    assert "The old settings are back" in str(done.exception)
    assert box.settings.number("gain") == 1.0
    assert box.settings.number("offset_lsb") == 0.0


def test_an_interrupt_restores_the_old_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = steady_box()
    measured, taken = CalibrationLink.samples, []

    def samples(*arguments: Any) -> list[Samples]:
        if taken:
            raise KeyboardInterrupt
        taken.append(arguments)
        return measured(*arguments)

    monkeypatch.setattr(CalibrationLink, "samples", samples)
    with box_on_a_pty(box) as port:
        done = run(port, "--reference-v", "118.7", "--seconds", "1", "--yes")
    assert str(done.exception).startswith("interrupted. The old settings are back")
    assert box.settings.number("gain") == 1.0


def test_a_refused_setting_restores_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    box = steady_box()
    box.settings.assign("offset_lsb=-25")
    assign = box.settings.assign

    def stubborn(assignment: str) -> None:
        if assignment.startswith("offset_lsb=") and assignment != "offset_lsb=-25":
            raise ValueError("not today")
        assign(assignment)

    monkeypatch.setattr(box.settings, "assign", stubborn)
    with box_on_a_pty(box) as port:
        done = run(port, "--reference-v", "118.7", "--seconds", "1", "--yes")
    assert "the Box refuses offset_lsb" in str(done.exception)
    assert "The old settings are back" in str(done.exception)
    assert (box.settings.number("gain"), box.settings.number("offset_lsb")) == (1.0, -25.0)


def test_nobody_on_the_port_is_one_clear_error() -> None:
    master, slave = os.openpty()
    try:
        done = run(os.ttyname(slave), "--reference-v", "120")
    finally:
        os.close(master)
        os.close(slave)
    assert isinstance(done.exception, CalibrationError)
    assert "no Box sends Hello" in str(done.exception)


def test_json_wants_yes_and_a_reference_is_positive() -> None:
    assert getattr(run("nowhere", "--reference-v", "120", "--json").exception, "exit_code", None) == 2
    assert getattr(run("nowhere", "--reference-v", "-1").exception, "exit_code", None) == 2


def test_an_absent_port_has_its_document() -> None:
    done = run("/nowhere/tty", "--reference-v", "120", "--yes", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["done"] is False
    assert document["error"].startswith("cannot open /nowhere/tty: ")


def failed(fault: LineFault, at_byte: int) -> str:
    """The error of a calibration over a line that fails, or what is wrong with it."""
    box, began, error = steady_box(), time.monotonic(), ""
    with box_on_a_pty(box) as port, FailingLine(port, fault, at_byte) as line:
        try:
            with contextlib.closing(CalibrationLink(line.path)) as link:
                _calibrate(link, 118.7, None, 1.0, True, True)
        except CalibrationError as told:
            error = str(told)
    where = f"{fault} at byte {at_byte}: {error}"
    if "Errno" in error or time.monotonic() - began > 180:  # 15 s on an idle machine
        return where
    is_told, is_changed = "the Box had gain=1," in error, box.settings.sequence > 0
    # the line failed before the command, within it, or before its answer
    may_be_changed = "does not answer to gain=" in error or "accepts no bytes" in error
    return "" if is_told is is_changed or (is_told and may_be_changed) else where


def test_a_calibrations_line_fails_in_a_sentence() -> None:
    """Before the first answer, while it measures, and while it measures again: settings are changed then."""
    with box_on_a_pty(steady_box()) as port, FailingLine(port, LineFault.SILENT, 1 << 30) as line:
        link = CalibrationLink(line.path)
        _calibrate(link, 118.7, None, 1.0, True, True)
        link.close()
        carried = line.carried
    cases = [(fault, round(carried * share)) for fault in LineFault for share in (0.0, 0.25, 0.75)]
    with ThreadPoolExecutor(len(cases)) as pool:
        found = [each for each in pool.map(lambda case: failed(*case), cases) if each]
    assert not found, "\n".join(found)
    with box_on_a_pty(steady_box()) as port, FailingLine(port, LineFault.UNPLUGGED, carried // 2) as line:
        done = run(line.path, "--reference-v", "118.7", "--seconds", "1", "--yes", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["done"] is False and document["error"]
