"""`opq-tools rules export`, `import` and `push`: streams, tables, rules and named properties, and a file."""

import json
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click

from opq_proto.errors import OpqError
from opq_proto.kit.ports import PORTS
from opq_tools.shared.rule_server import RuleServer, ServerRefusedError, server_command, text_of

_MAX_IN_BODY = 1 << 20
"""Characters; longer rule sets are uploaded, because a request's body has at most 4 MiB."""

ENGINES_AT_ONCE = 16
"""Engines to which `push` sends at the same time."""
NAMED_DEFINITIONS = 5
"""Definitions of a kind that `push` names for each engine; it counts the others."""


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@server_command
def export(server: RuleServer, file: Path) -> None:
    """Export into FILE (- for stdout). It contains the passwords of rules: protect it as you protect them.

    \b
    Example:
      opq-tools rules export rules.json
    """
    found = server.request("POST", "/ruleset/export")
    text = json.dumps(found, indent=2) + "\n"
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    part = file.with_name(file.name + ".part")
    try:
        part.touch(mode=0o600)
        part.write_text(text)
        part.replace(file)
    except OSError as error:
        raise ServerRefusedError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{sum(len(each) for each in found.values())} definitions in {file}")


@click.command("import")
@click.option("-f", "--file", required=True, help="File that `export` wrote; - for stdin.")
@click.option("--dry", is_flag=True, help="Only check whether everything would be accepted.")
@server_command
def take(server: RuleServer, file: str, dry: bool) -> None:
    """Import from a file, all or nothing.

    A definition that exists is replaced, and started, unless its version in the file is older.

    Example: opq-tools rules import -f rules.json
    """
    for line in _lines(_imported(server, _checked(file), dry)):
        click.echo(line)


@click.command("push", short_help="Import FILE into many engines; each is all or nothing.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--to",
    "hosts",
    required=True,
    multiple=True,
    metavar="HOST",
    help="A gateway: its name or address, with :PORT if that is not 9081, or a URL; repeatable.",
)
@click.option(
    "--token-file",
    envvar="OPQ_RULES_TOKEN_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="File with the access token of all of them.  [default: of an engine of this machine, its own]",
)
@click.option("--dry", is_flag=True, help="Only check whether everything would be accepted.")
def push(file: Path, hosts: tuple[str, ...], token_file: Path | None, dry: bool) -> None:
    """Import FILE into many engines, as `import` does into one; each is all or nothing.

    \b
    Example:
      opq-tools rules push rules.json --to gw1 --to gw2:9181
    """
    text, failed = _checked(str(file)), 0

    def pushed(host: str) -> tuple[str, bool]:
        try:
            lines = _lines(
                _imported(RuleServer(partial(_url, host), token_file), text, dry), NAMED_DEFINITIONS
            )
        except OpqError as error:
            return f"{host}: {error}", False
        return f"{host}: {'; '.join(lines)}", True

    with ThreadPoolExecutor(ENGINES_AT_ONCE) as pool:
        for said, done in pool.map(pushed, dict.fromkeys(hosts)):
            click.echo(said)
            failed += not done
    if failed:
        raise ServerRefusedError(f"{failed} of {len(set(hosts))} engines did not take {file}")


def _url(host: str) -> str:
    if "://" in host:
        return host
    return f"http://{host}" if ":" in host else f"http://{host}:{PORTS['rules']}"


def _checked(file: str) -> str:
    text = text_of(None, file, "the rule set")
    try:
        json.loads(text)
    except ValueError as error:
        raise ServerRefusedError(f"{file} is not JSON: {error}") from error
    return text


def _imported(server: RuleServer, text: str, dry: bool) -> dict[str, dict[str, Any]]:
    path = f"/ruleset/import?dry={dry}"
    found: dict[str, dict[str, Any]]
    if len(text) <= _MAX_IN_BODY:
        found = server.request("POST", path, {"content": text})
        return found
    name = f"ruleset_{uuid.uuid4().hex}"
    place = server.upload_bytes(text.encode(), name)
    try:
        found = server.request("POST", path, {"file": f"file://{place}"})
    finally:
        server.request("DELETE", f"/config/uploads/{name}")
    return found


def _lines(answer: dict[str, dict[str, Any]], most: int = sys.maxsize) -> list[str]:
    """What was made, replaced and left, such as `replaced: rules sag, thd`; `most` names of each kind."""
    found = []
    for did in ("made", "replaced"):
        parts = [f"{what} {_named(names, most)}" for what, names in answer[did].items() if names]
        if parts:
            found.append(f"{did}: {'; '.join(parts)}")
    left: dict[str, list[str]] = {}
    for each in answer["left"].values():
        for name, why in each.items():
            left.setdefault(why, []).append(name)
    found += [f"left, {why}: {_named(names, most)}" for why, names in left.items()]
    return found or ["nothing to import"]


def _named(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
