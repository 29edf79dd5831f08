"""`opq-tools calibrate PORT --reference-v V`: gain, offset and phase of a Box against a reference reading.

The command uses the serial link itself, so no gateway may hold the port. It measures, shows changes, asks,
writes the settings and measures again; if the second reading is off the reference, it restores the old ones.
"""

import json
import math
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict

import click

from opq_proto.errors import OpqError
from opq_proto.kit.shared_options import json_option
from opq_proto.link.messages import LINK_BAUD, Hello, Operation, Samples, Settings, Status
from opq_tools.boxes.calibrate.calibration import (
    CalibrationError,
    CalibrationReading,
    Correction,
    correct,
    read,
)
from opq_tools.firmware.flash.box_link import BoxLink
from opq_tools.firmware.flash.chip import FlashError, LineError
from opq_tools.firmware.flash.serial_line import SerialLine

ANSWERED_S = 6.0
SPANS = 3
"""Spans of the measurement's length after which samples without a hole are given up."""
CHECK_SHARE = 0.001
"""Share by which the second reading may be off the reference, in addition to the source's own spread."""
KEYS = ("gain", "offset_lsb", "phase_ns")


class CalibrateUsageError(OpqError):
    """An option is not valid; nothing was done."""

    exit_code = 2


class CalibrationLink:
    """What a calibration asks of the Box at a port."""

    def __init__(self, port: str) -> None:
        try:
            self._line = SerialLine(port, LINK_BAUD)
        except FlashError as error:
            raise CalibrationError(str(error)) from error
        self._box = BoxLink(self._line)

    def close(self) -> None:
        self._line.close()

    def hello(self) -> Hello:
        """Requests the Box's present hello message."""
        try:
            return self._box.hello()
        except LineError as error:
            raise CalibrationError(str(error)) from error

    def settings(self) -> dict[str, str]:
        try:
            found = self._box.ask(Operation.GET_SETTINGS, Settings, ANSWERED_S)
        except LineError as error:
            raise CalibrationError(str(error)) from error
        if found is None:
            raise CalibrationError("the Box does not report its settings")
        return dict(found.values)

    def write_setting(self, key: str, value: str) -> None:
        """Writes a setting; raises CalibrationError when the Box refuses or does not answer."""
        try:
            answer = self._box.command(Operation.PUT_SETTING, f"{key}={value}", within_s=ANSWERED_S)
        except LineError as error:
            raise CalibrationError(f"the Box does not answer to {key}={value} ({error})") from error
        if answer.status is not Status.DONE:
            raise CalibrationError(
                f"the Box refuses {key}={value}: {answer.status.name.lower()} {answer.detail}"
            )

    def samples(self, seconds: float, progress: Callable[[float], None]) -> list[Samples]:
        """Returns consecutive blocks that span `seconds`; starts again after a gap.

        Raises:
            CalibrationError: too many gaps, or no samples arrive.
        """
        try:
            return self._samples(seconds, progress)
        except LineError as error:
            raise CalibrationError(str(error)) from error

    def _samples(self, seconds: float, progress: Callable[[float], None]) -> list[Samples]:
        blocks: list[Samples] = []
        got_s = 0.0
        self._box.skip_waiting()
        for message in self._box.messages(SPANS * seconds + ANSWERED_S):
            if not isinstance(message, Samples) or not message.rate_millihz or not len(message.counts):
                continue
            if blocks and message.first_sample != blocks[-1].first_sample + len(blocks[-1].counts):
                blocks.clear()
                got_s = 0.0
            blocks.append(message)
            got_s += len(message.counts) * 1000 / message.rate_millihz
            progress(got_s)
            if got_s >= seconds:
                return blocks
        raise CalibrationError(
            f"no {seconds:g} s of samples without a hole ({got_s:.1f} s at the end): check the line"
        )


def _positive(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise CalibrateUsageError(f"{option.opts[0]} is {value:g}, want a positive number")
    return value


@click.command()
@click.argument("port")
@click.option(
    "--reference-v",
    type=float,
    required=True,
    callback=_positive,
    help="Reading of the reference voltmeter, V rms.",
)
@click.option(
    "--reference-angle-deg",
    type=float,
    help="Also the phase: angle of the fundamental, as a cosine, at each whole second of UTC "
    "(a source locked to GPS at a whole number of Hz, e.g. exactly 60).",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=10.0,
    show_default=True,
    help="Length of the measurement, s.",
)
@click.option("--yes", is_flag=True, help="Write the settings without a question.")
@json_option
def command(
    port: str, reference_v: float, reference_angle_deg: float | None, seconds: float, yes: bool, as_json: bool
) -> None:
    """Calibrate a Box: gain and offset against a reference voltmeter, phase against a reference source.

    Connect the reference to the Box's own terminals, wait until both are warm (20 minutes), and stop the
    gateway that uses PORT. The voltage has to be steady: a change of more than 0.2 % while it measures is
    an error.

    \b
    Example:
      opq-tools calibrate /dev/serial/by-id/usb-OPQ_Box --reference-v 120.02
      opq-tools calibrate /dev/ttyUSB0 --reference-v 120.00 --reference-angle-deg -90 --yes --json
    """
    if as_json and not yes:
        raise CalibrateUsageError("--json does not ask, so it needs --yes")
    try:
        with closing(CalibrationLink(port)) as talk:
            result = _calibrate(talk, reference_v, reference_angle_deg, seconds, yes, as_json)
    except CalibrationError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"done": False, "error": str(error)}))
        raise SystemExit(error.exit_code) from error
    if as_json:
        click.echo(json.dumps(result))


def _calibrate(
    talk: CalibrationLink,
    reference_v: float,
    reference_angle_deg: float | None,
    seconds: float,
    yes: bool,
    quiet: bool,
) -> dict[str, object]:
    show = (lambda _: None) if quiet else click.echo
    hello = talk.hello()
    values = talk.settings()
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise CalibrationError(f"this Box ({hello.firmware}) has no setting {', '.join(missing)}")
    old = Correction(float(values["gain"]), float(values["offset_lsb"]), float(values["phase_ns"]))
    show(f"Box {hello.box_id}, {hello.hardware}, firmware {hello.firmware}: measuring {seconds:g} s")
    before = read(_measured(talk, seconds, quiet), hello)
    new = correct(old, before, reference_v, reference_angle_deg)
    show(_table(old, new, before, reference_v))
    if not yes and not click.confirm("Put these settings into the Box?"):
        raise CalibrationError("nothing was changed")
    try:
        _put(talk, new, old)
        show(f"measuring {seconds:g} s again")
        after = read(_measured(talk, seconds, quiet), talk.hello())
        off_v = after.rms_v - reference_v
        allowed_v = CHECK_SHARE * reference_v + before.spread_v + after.spread_v
        if abs(off_v) > allowed_v:
            raise CalibrationError(f"the Box now reads {after.rms_v:.3f} V, {off_v:+.3f} V off the reference")
    except (CalibrationError, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        try:
            _put(talk, old, new)
        except CalibrationError as again:
            settings = ", ".join(f"{key}={getattr(old, key):.7g}" for key in KEYS)
            raise CalibrationError(f"{why}. Not put back ({again}): the Box had {settings}") from error
        raise CalibrationError(f"{why}. The old settings are back; try again with a steady source") from error
    show(f"done: the Box reads {after.rms_v:.3f} V, {off_v:+.3f} V off the reference")
    return {
        "box_id": hello.box_id,
        "reference_v": reference_v,
        "reference_angle_deg": reference_angle_deg,
        "old": asdict(old),
        "new": asdict(new),
        "before": asdict(before),
        "after": asdict(after),
    }


def _measured(talk: CalibrationLink, seconds: float, quiet: bool) -> list[Samples]:
    if quiet or not sys.stderr.isatty():
        return talk.samples(seconds, lambda _: None)
    from rich.console import Console  # imported here: needed on a terminal only
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("samples", total=seconds)
        return talk.samples(seconds, lambda got_s: progress.update(task, completed=got_s))


def _put(talk: CalibrationLink, new: Correction, old: Correction) -> None:
    """Writes the settings that differ; the Box rounds the offset to whole counts."""
    for key in KEYS:
        value, before = getattr(new, key), getattr(old, key)
        if value != before:
            talk.write_setting(key, f"{value:.7g}")


def _table(old: Correction, new: Correction, reading: CalibrationReading, reference_v: float) -> str:
    angle = "" if reading.angle_deg is None else f", {reading.angle_deg:+.2f} deg at the second"
    source = f"reference {reference_v:.3f} V, {reading.f_hz:.3f} Hz{angle}"
    return "\n".join(
        (
            f"  reads      {reading.rms_v:10.3f} V   {source}",
            f"  spread     {reading.spread_v:10.3f} V   over {reading.seconds:.0f} s",
            f"  gain       {old.gain:10.6f}     -> {new.gain:.6f}",
            f"  offset     {old.offset_lsb:10.2f} LSB -> {new.offset_lsb:.2f} LSB",
            f"  phase      {old.phase_ns:10.0f} ns  -> {new.phase_ns:.0f} ns",
        )
    )
