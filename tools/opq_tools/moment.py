"""Parses times as people type them; few imports, because light commands use it too."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., object])
RELATIVE = re.compile(r"now(?:-([0-9]{1,6})([smhdwy]))?")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
"""Seconds per unit, as on View's pages and in its API."""
LATEST_NS = 7_258_118_400_000_000_000
"""The year 2200; stores hold ns since 1970 in 64 bits, which end in 2262."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_ns(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Parses ISO 8601, e.g. 2026-11-20 or 2026-11-20T08:30:00 (UTC without an offset), or `now-24h`.

    Returns ns since 1970, in whole microseconds.
    """
    found = _read(text)
    if found is None:
        return None
    moment = (found - _EPOCH) // timedelta(microseconds=1) * 1000
    if not 0 <= moment <= LATEST_NS:
        raise click.BadParameter(f"{text!r} is not between 1970 and 2200")
    return moment


def _read(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if relative := RELATIVE.fullmatch(text):
            number, unit = relative.groups("0")
            return datetime.now(UTC) - timedelta(seconds=int(number) * UNITS_S.get(unit, 1))
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is no time; want e.g. 2026-11-20, 2026-11-20T08:30:00 or now-24h (s, m, h, d, w, y)"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def from_option(text: str, required: bool = False) -> Callable[[Decorated], Decorated]:
    """The option `--from TIME`, passed as `start_ns`; `text` is its help."""
    return click.option(
        "--from", "start_ns", callback=moment_ns, metavar="TIME", required=required, help=text
    )


def to_option(text: str, required: bool = False) -> Callable[[Decorated], Decorated]:
    """The option `--to TIME`, passed as `end_ns`; `text` is its help."""
    return click.option("--to", "end_ns", callback=moment_ns, metavar="TIME", required=required, help=text)
