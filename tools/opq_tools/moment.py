"""A time as people type it: small, for commands with few dependencies read it too."""

from datetime import UTC, datetime

import click


def moment(ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    """A time as ISO 8601, e.g. 2026-11-20 or 2026-11-20T08:30:00; UTC unless it names an offset."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no time; want e.g. 2026-11-20 or 2026-11-20T08:30:00"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
