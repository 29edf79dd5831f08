"""`opq-tools rules`: manages rules of a running engine; `try` and `backtest` need no engine."""

import json
from collections.abc import Callable
from typing import Any

import click

from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import json_option
from opq_tools.lazy_group import LazyGroup
from opq_tools.shared import values
from opq_tools.shared.rule_server import RuleServer, ServerRefusedError, server_command, text_of

PLACES = {
    "stream": (
        "rules.definitions:stream_command",
        "Streams and tables: create, show, delete.",
    ),
    "try": ("rules.trying", "What a rule makes of given records; needs no engine."),
    "backtest": ("rules.backtest", "What a rule makes of recordings; needs no engine."),
    "query": ("rules.query", "Rows of a SELECT, as they come."),
    "export": ("rules.ruleset:export", "All streams, tables and rules into a file."),
    "import": ("rules.ruleset:take", "All streams, tables and rules from a file."),
    "push": ("rules.ruleset:push", "Import a file into many engines."),
}
"""Commands that have their own files."""


@click.group("rules", cls=LazyGroup, places=PLACES)
def command() -> None:
    """Streams, tables and rules of a running engine: create, watch, try, export and import.

    \b
    Example:
      opq-tools rules create deep "SELECT box, rms FROM boxes WHERE rms < 100"
    """


@command.command("create", short_help="Create, replace or check a rule.")
@click.argument("name", shell_complete=values.rules)
@click.argument("rule", required=False)
@click.option("-f", "--file", default=None, help="File with the rule; - for stdin.")
@click.option(
    "--action",
    "actions",
    multiple=True,
    help="Where the rows of a SELECT go, as JSON.  [default: '{\"log\":{}}']",
)
@click.option(
    "--qos", type=click.IntRange(0, 2), default=None, help="Quality of service of a SELECT: 0, 1 or 2."
)
@click.option(
    "--replace", is_flag=True, help="Replace the rule NAME; if the new one is refused, the old one goes on."
)
@click.option("--dry-run", is_flag=True, help="Check whether the rule would be accepted; change nothing.")
@server_command
def create_rule(
    server: RuleServer,
    name: str,
    rule: str | None,
    file: str | None,
    actions: tuple[str, ...],
    qos: int | None,
    replace: bool,
    dry_run: bool,
) -> None:
    """Create a rule from its JSON, or from a SELECT.

    The shell removes single quotes of SQL inside a word in single quotes: write
    "SELECT * FROM demo WHERE box = '4'", or -f - and the rule on stdin.

    \b
    Example:
      opq-tools rules create deep "SELECT box, rms FROM boxes WHERE rms < 100"
      opq-tools rules create ruleTest '{"sql":"SELECT * FROM demo","actions":[{"log":{}}]}'
      opq-tools rules create deep "SELECT box, rms FROM boxes WHERE rms < 96" --replace
    """
    body = _body(name, text_of(rule, file, "the rule"), actions, qos)
    sql = body.get("sql")
    if replace:
        server.request("GET", f"/rules/{name}")  # PUT, as in eKuiper, would create a misspelt rule
    if dry_run:
        answer = server.request("POST", "/rules/validate", body, sql)
        click.echo(f"The rule is valid; it reads {', '.join(answer['sources'])}.")
    elif replace:
        click.echo(server.request("PUT", f"/rules/{name}", body, sql))
    else:
        click.echo(server.request("POST", "/rules", body, sql))


@command.command("show", short_help="List all rules, or show one: its JSON, state or plan.")
@click.argument("name", required=False, shell_complete=values.rules)
@click.option("--status", "wants_status", is_flag=True, help="Show the rule's state and counters instead.")
@click.option("--plan", "wants_plan", is_flag=True, help="Show its plan, and what it shares with others.")
@json_option
@server_command
def show_rules(
    server: RuleServer, name: str | None, wants_status: bool, wants_plan: bool, as_json: bool
) -> None:
    """List all rules with their state; with NAME, show its JSON; passwords and tokens are ******.

    With --plan --json its nodes and what flows between them.

    \b
    Examples: opq-tools rules show
              opq-tools rules show deep --status
    """
    if wants_status and wants_plan:
        raise click.UsageError("give --status or --plan, not both")
    if name is None:
        if wants_status or wants_plan:
            raise click.UsageError("--status and --plan need the NAME of a rule")
        _list(server, as_json)
    elif wants_status:
        _show_status(server.request("GET", f"/rules/{name}/status"), as_json)
    elif wants_plan and as_json:
        click.echo(json.dumps(server.request("GET", f"/rules/{name}/topo"), indent=2))
    elif wants_plan:
        click.echo(server.request("GET", f"/rules/{name}/explain"))
    else:
        click.echo(json.dumps(server.request("GET", f"/rules/{name}"), indent=None if as_json else 2))


def _list(server: RuleServer, as_json: bool) -> None:
    found = server.request("GET", "/rules")
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [(each["id"], each["status"]) for each in found]
    click.echo(text_table(("rule", "state"), rows) if rows else "no rules")


def _show_status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    shown = {key: value for key, value in found.items() if value not in (0, "", None)}
    click.echo("\n".join(f"{key}: {value}" for key, value in shown.items()))


@command.command("start")
@click.argument("name", shell_complete=values.rules)
@click.option("--again", is_flag=True, help="If it runs, stop it first.")
@server_command
def start_rule(server: RuleServer, name: str, again: bool) -> None:
    """Start a rule.

    Example: opq-tools rules start deep
    """
    click.echo(server.request("POST", f"/rules/{name}/{'restart' if again else 'start'}"))


def _simple(verb: str, line: str, method: str, path: str) -> None:
    @command.command(verb, help=f"{line}\n\nExample: opq-tools rules {verb} deep")
    @click.argument("name", shell_complete=values.rules)
    @server_command
    def run(server: RuleServer, name: str) -> None:
        click.echo(server.request(method, path.format(name=name)))


_simple("stop", "Stop a rule; its schedule does not start it again.", "POST", "/rules/{name}/stop")
_simple("delete", "Delete a rule with its state and its unsent results.", "DELETE", "/rules/{name}")


def _body(name: str, text: str, actions: tuple[str, ...], qos: int | None) -> dict[str, Any]:
    text = text.strip()
    if not text.startswith("{"):
        given = [_object(each, "--action") for each in actions] or [{"log": {}}]
        options = {"options": {"qos": qos}} if qos is not None else {}
        return {"id": name, "sql": text, "actions": given, **options}
    if actions or qos is not None:
        raise click.UsageError("--action and --qos go with a SELECT; the JSON has its own")
    body = _object(text, "the rule")
    if body.get("id", name) != name:
        raise click.UsageError(f"the rule's id is {body['id']!r}, the name {name!r}")
    return {**body, "id": name}


def _object(text: str, what: str) -> dict[str, Any]:
    read: Callable[[str], Any] = json.loads
    try:
        found = read(text)
    except ValueError as error:
        raise ServerRefusedError(f"{what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ServerRefusedError(f"{what} is {type(found).__name__}; want an object")
    return found
