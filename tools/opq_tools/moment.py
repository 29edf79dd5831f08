"""A time as people type it: small, for commands with few dependencies read it too."""

import re
from datetime import UTC, datetime, timedelta

import click

RELATIVE = re.compile(r"now(?:-([0-9]{1,6})([smhdwy]))?")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
"""As on View's pages and in its API."""


def moment(ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    """ISO 8601, e.g. 2026-11-20 or 2026-11-20T08:30:00, UTC unless it names an offset; or `now-24h`."""
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
