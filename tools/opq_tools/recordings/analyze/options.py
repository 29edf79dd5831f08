"""The options that state what a recording does not say itself, for every command that takes one."""

import functools
import math
from collections.abc import Callable
from typing import Any

import click

from opq_proto.errors import OpqError
from opq_recordings.facts import RecordingFacts
from opq_recordings.units import known_units, unit_scale
from opq_recordings.written_times import written_time


class AnalyzeUsageError(OpqError):
    """An option is not valid; nothing was analysed."""

    exit_code = 2


def positive_number(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Returns an option's value; raises AnalyzeUsageError where it is not positive."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise AnalyzeUsageError(f"{option.opts[0]} is {value:g}, want a positive number")
    return value


def _utc(_context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = written_time(value)
    if found is None or found.t_ns is None:
        why = f" ({found.problem})" if found is not None and found.problem else ""
        raise AnalyzeUsageError(
            f"{option.opts[0]} is {value!r:.60}{why}, want ISO 8601 in UTC, such as 2026-11-20T16:09:40.25Z"
        )
    return found.t_ns


def _unit(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and ((found := unit_scale(value)) is None or found[0] != "voltage"):
        raise AnalyzeUsageError(f"{option.opts[0]} is {value!r:.40}, want {known_units()}")
    return value


def recording_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that state what a recording does not say itself, and passes them as one `given`."""
    numbers = (
        ("--rate-hz", "Sampling rate of the recording, samples per second."),
        ("--volts-per-lsb", "Gain of the recording: volts per count."),
        ("--nominal-volts", "Nominal voltage, V rms.  [default: estimated from the samples]"),
        ("--nominal-hz", "Nominal frequency, Hz.  [default: estimated from the samples]"),
    )

    @functools.wraps(command)
    def with_facts(
        *arguments: Any,
        rate_hz: float | None,
        volts_per_lsb: float | None,
        nominal_volts: float | None,
        nominal_hz: float | None,
        first_sample_ns: int | None,
        unit: str | None,
        side: str | None,
        channel: str | None,
        decimal_mark: str | None,
        **others: Any,
    ) -> None:
        given = RecordingFacts(
            rate_hz,
            volts_per_lsb,
            nominal_volts,
            nominal_hz,
            start_ns=first_sample_ns,
            unit=unit,
            side=side,
            channel=channel,
            decimal_mark=decimal_mark,
        )
        command(*arguments, given=given, **others)

    decorated: Callable[..., None] = with_facts
    for option in (
        click.option(
            "--channel",
            help="Name or number of the channel; of an export, the Box.  [default: the first voltage]",
        ),
        click.option(
            "--side",
            type=click.Choice(["primary", "secondary"]),
            help="Side of the transformer to convert to, by the ratio in the file.  [default: as recorded]",
        ),
        click.option(
            "--decimal-mark",
            type=click.Choice([".", ","]),
            help="Decimal mark of a CSV that can be read in two ways.  [default: by the file]",
        ),
        click.option("--unit", callback=_unit, help="Unit of the channel's values, e.g. kV."),
        click.option(
            "--start",
            "first_sample_ns",
            callback=_utc,
            help="Time of the first sample (UTC, ISO 8601), e.g. 2026-11-20T10:00:00.",
        ),
        *(
            click.option(name, type=float, callback=positive_number, help=help_text)
            for name, help_text in reversed(numbers)
        ),
    ):
        decorated = option(decorated)
    return decorated
