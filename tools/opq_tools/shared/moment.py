"""Parses times as people type them; few imports, because light commands use it too."""

import time
from collections.abc import Callable
from typing import TypeVar

import click

from opq_proto.kit.typed_time import typed_ns

Decorated = TypeVar("Decorated", bound=Callable[..., object])
LATEST_NS = 7_258_118_400_000_000_000
"""The year 2200; stores hold ns since 1970 in 64 bits, which end in 2262."""


def moment_ns(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Parses ISO 8601, e.g. 2026-11-20 or 2026-11-20T08:30:00 (UTC without an offset), `now-24h`, `now/d`.

    Returns ns since 1970, in whole microseconds.
    """
    if text is None:
        return None
    try:
        moment = typed_ns(text, time.time_ns() // 1000 * 1000, param.name == "end_ns")
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not a time; want e.g. 2026-11-20, 2026-11-20T08:30:00, now-24h (s, m, h, d, w, y) "
            "or now/d"
        ) from error
    if not 0 <= moment <= LATEST_NS:
        raise click.BadParameter(f"{text!r} is not between 1970 and 2200")
    other = ctx.params.get("end_ns" if param.name == "start_ns" else "start_ns")
    if param.name in ("start_ns", "end_ns") and other is not None:
        start_ns, end_ns = (moment, other) if param.name == "start_ns" else (other, moment)
        if start_ns > end_ns:
            raise click.BadParameter(
                f"{text!r} makes a span that ends before it begins; exchange --from and --to"
            )
    return moment


def from_option(text: str, required: bool = False) -> Callable[[Decorated], Decorated]:
    """The option `--from TIME`, passed as `start_ns`; `text` is its help."""
    return click.option(
        "--from", "start_ns", callback=moment_ns, metavar="TIME", required=required, help=text
    )


def to_option(text: str, required: bool = False) -> Callable[[Decorated], Decorated]:
    """The option `--to TIME`, passed as `end_ns`; `text` is its help."""
    return click.option("--to", "end_ns", callback=moment_ns, metavar="TIME", required=required, help=text)
