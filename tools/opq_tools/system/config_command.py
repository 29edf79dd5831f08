"""`opq-tools config`: checks a configuration file before anything is started with it."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from opq_gateway.config import Config as GatewayConfig
from opq_gateway.setup.setup_surroundings import Found
from opq_proto.config.reading import read_document
from opq_proto.config.sample import sample_toml
from opq_proto.errors import ConfigError, problem_count
from opq_proto.kit import log
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.shared_options import json_option, new_data_dir_option, port_offset_option
from opq_tools.system.config_kinds import Checked, addresses_that_stay, checked_file, kind_of

SAMPLES = ("gateway", "cloud", "rules")


@click.group("config", cls=CommandGroup)
def command() -> None:
    """Configuration files of gateway, cloud and rule engine.

    Example: opq-tools config check gateway.toml
    """


@command.command("check", short_help="Report everything that is wrong with a file; nothing is started.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--kind",
    type=click.Choice(SAMPLES),
    help="Program that the file is for.  [default: recognised by its keys]",
)
@new_data_dir_option
@port_offset_option
@json_option
@click.option(
    "--sample",
    type=click.Choice(SAMPLES),
    is_flag=False,
    flag_value="gateway",
    help="Print a file with every key, its meaning, range and default: gateway, cloud or rules.",
)
def check_command(
    file: Path | None,
    kind: str | None,
    data_dir: Path | None,
    port_offset: int | None,
    as_json: bool,
    sample: str | None,
) -> None:
    """Report everything that is wrong with FILE (TOML or JSON, ours or the original's); nothing is started.

    A file for `opq-tools up --config` has the tables [gateway] and [cloud]; each is checked.

    Checks keys and values, and what the machine must have: key files, ports, a folder to write
    in. With --port-offset it names the addresses in FILE that a start with that offset does not move.

    Exit code 0: correct; 1: correct, but this machine lacks something, or a section or key is without effect;
    2: wrong.

    Example: opq-tools config check gateway.toml; opq-tools config check --sample > gateway.toml
    """
    log.configure("opq-tools")
    if sample is not None:
        click.echo(_sample(sample), nl=False)
        return
    if file is None:
        raise click.UsageError("FILE is missing; an example: opq-tools config check gateway.toml")
    guessed = ""
    try:
        document = read_document(file)
        guessed = kind_of(document)
        checked = checked_file(file, document, kind or guessed, data_dir)
        if port_offset:
            stay = addresses_that_stay(document, checked.kind)
            checked = replace(checked, notes=(*checked.notes, *stay))
    except ConfigError as error:
        _show_error(file, error, as_json)
        if guessed and not (kind or as_json):
            click.echo(f"It was read as a file of {guessed}; --kind names another.", err=True)
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(_document(file, checked.kind, checked.problems, checked.notes)))
    else:
        _show(file, checked)
    sys.exit(1 if checked.problems else 0)


def _sample(which: str) -> str:
    if which == "cloud":
        from opq_cloud.core.settings.config import CloudConfig

        return sample_toml(CloudConfig)
    if which == "rules":
        from opq_rules.api.rules_config import Config as RulesConfig

        return sample_toml(RulesConfig)
    return sample_toml(GatewayConfig)


def _show(file: Path, checked: Checked) -> None:
    if checked.problems:
        click.echo(f"{file}: {problem_count(checked.problems)} ({checked.kind})")
    else:
        click.echo(f"{file}: fine ({checked.kind})")
    found = [*checked.problems, *checked.notes]
    width = max((len(item.key) for item in found), default=0) + 2
    for item in checked.problems:
        click.echo(f"  {item.key.ljust(width)}{item.text}")
    for item in checked.notes:
        click.echo(f"  {item.key.ljust(width)}{item.text}")


def _show_error(file: Path, error: ConfigError, as_json: bool) -> None:
    if not as_json:
        click.echo(f"opq-tools: {error}", err=True)
        return
    head, *lines = str(error).splitlines()
    problems = []
    for line in lines or [head]:
        key, _, text = re.sub(r"\s{2,}", "\t", line.strip()).partition("\t")
        problems.append(Found(key if text else "", text or key, True))
    click.echo(json.dumps(_document(file, None, tuple(problems), ())))


def _document(
    file: Path, kind: str | None, problems: tuple[Found, ...], notes: tuple[Found, ...]
) -> dict[str, Any]:
    def listed(items: tuple[Found, ...]) -> list[dict[str, str]]:
        return [{"key": item.key, "text": item.text} for item in items]

    return {
        "file": str(file),
        "kind": kind,
        "ok": not problems,
        "problems": listed(problems),
        "notes": listed(notes),
    }
