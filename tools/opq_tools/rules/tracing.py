"""`opq-tools rule trace`: shows the steps of single records through a rule, as trees."""

import json
import time
from typing import Any

import click

from opq_tools.rules.server import RuleServer, ServerRefusedError, server_command

_POLL_S = 0.2
_SETTLE_S = 1.0
"""Time for a sink to finish before its step is printed unfinished."""


@click.command("trace")
@click.argument("name")
@click.option(
    "--strategy",
    type=click.Choice(["always", "head"]),
    default="always",
    show_default=True,
    help="Trace each record, or the first of each batch.",
)
@click.option(
    "--count", type=click.IntRange(min=1), default=1, show_default=True, help="Number of traces to print."
)
@click.option("--follow", is_flag=True, help="Print traces until Ctrl-C, without a limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@server_command
def command(server: RuleServer, name: str, strategy: str, count: int, follow: bool, as_json: bool) -> None:
    """Follow single records through a rule, as trees.

    It ends after --count traces, or at Ctrl-C.

    \b
    Example:
      opq-tools rule trace deep --count 3
    """
    seen = set(server.request("GET", f"/trace/rule/{name}"))
    server.request("POST", f"/rules/{name}/trace/start", {"strategy": strategy})
    printed = 0
    try:
        while follow or printed < count:
            for trace_id in server.request("GET", f"/trace/rule/{name}"):
                if trace_id in seen or (not follow and printed == count):
                    continue
                seen.add(trace_id)
                tree = _settled(server, trace_id)
                if tree is not None:
                    printed += 1
                    click.echo(json.dumps(tree) if as_json else text(tree))
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return
    finally:
        server.request("POST", f"/rules/{name}/trace/stop")


def text(tree: dict[str, Any]) -> str:
    """The trace as text: a line for it, and one per step with input, output, microseconds, rows or error."""
    head = tree["traceId"]
    if window := tree.get("window"):
        head += (
            f"  window {window['start']}..{window['end']} ms, of {', '.join(tree['records']) or 'no trace'}"
        )
    return "\n".join([head, *_lines(tree["span"], 1)])


def _lines(span: dict[str, Any], depth: int) -> list[str]:
    took = "waits"
    if span["end_ns"] is not None:
        took = f"{(span['end_ns'] - span['start_ns']) / 1000:.0f} us"
    line = f"{'  ' * depth}{span['name']}  {span['in']} in, {span['out']} out, {took}"
    if span["error"]:
        line += f"  {span['error']}"
    elif span["rows"]:
        line += f"  {json.dumps(span['rows'], ensure_ascii=False)[:300]}"
    return [line, *(each for child in span["children"] for each in _lines(child, depth + 1))]


def _settled(server: RuleServer, trace_id: str) -> dict[str, Any] | None:
    """The trace when it is complete or its time is over; None: newer traces have replaced it."""
    until = time.monotonic() + _SETTLE_S
    while True:
        try:
            tree: dict[str, Any] = server.request("GET", f"/trace/{trace_id}")
        except ServerRefusedError:
            return None
        if _has_ended(tree["span"]) or time.monotonic() > until:
            return tree
        time.sleep(_POLL_S / 4)


def _has_ended(span: dict[str, Any]) -> bool:
    return span["end_ns"] is not None and all(_has_ended(child) for child in span["children"])
