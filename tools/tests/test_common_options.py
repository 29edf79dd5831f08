"""`--config`, `--data-dir`, `--port-offset` and `--json` are the same in each command."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from contract_snapshot import SCRIPTS

from opq_proto.kit.shared_options import SharedOption

NAMES = {"--config": 14, "--data-dir": 20, "--port-offset": 20, "--json": 20}
"""Option -> the least number of commands that have it."""
SERVICES = {
    "opq-cloud acquisition-broker",
    "opq-cloud all",
    "opq-cloud all-but-brokers",
    "opq-cloud event-service",
    "opq-cloud health",
    "opq-cloud mauka",
    "opq-cloud notifications",
    "opq-cloud triggering-broker",
    "opq-cloud triggering-service",
    "opq-cloud update",
    "opq-cloud view",
    "opq-gateway rules",
    "opq-gateway run",
    "opq-tools hil debug",
    "opq-tools sim run",
}
"""They run until they are ended."""
DATA = {
    "opq-tools export changes",
    "opq-tools export disturbances",
    "opq-tools export events",
    "opq-tools export incidents",
    "opq-tools export intervals",
    "opq-tools export measurements",
    "opq-tools export trends",
    "opq-tools rules export",
    "opq-tools rules query",
    "opq-tools rules try",
    "opq-tools sim dataset",
    "opq-tools completion",
    "opq-tools report",
}
"""Their output is a file, or JSON whatever is given."""
DONE = {
    "opq-tools boxes delete",
    "opq-tools inject",
    "opq-tools keygen",
    "opq-tools mauka",
    "opq-tools plugin install",
    "opq-tools plugin delete",
    "opq-tools plugin new",
    "opq-tools plugin pack",
    "opq-tools recordings get",
    "opq-tools release build",
    "opq-tools rules create",
    "opq-tools rules delete",
    "opq-tools rules import",
    "opq-tools rules push",
    "opq-tools rules start",
    "opq-tools rules stop",
    "opq-tools rules stream create",
    "opq-tools rules stream delete",
    "opq-tools sim event",
    "opq-tools sim stop",
}
"""They print that something is done, what the other program answered, or the names of written files."""
MAKE_OR_JUDGE = {
    *(SERVICES - {"opq-tools hil debug"}),
    "opq-gateway",
    "opq-tools boxes import",
    "opq-tools boxes place",
    "opq-tools boxes set",
    "opq-tools config check",
    "opq-tools doctor",
    "opq-tools import event",
    "opq-tools keys add",
    "opq-tools restore",
    "opq-tools status",
    "opq-tools up",
}
"""Their folder may be missing: they make it, or report what is there and what will start."""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")
    part = getattr(command, "_part", None)  # `opq-cloud mauka graph`
    if isinstance(part, click.Command):
        yield f"{path} {part.name}", part


def everything() -> Iterator[tuple[str, click.Command]]:
    for script, place in SCRIPTS.items():
        module, _, name = place.partition(":")
        for path, command in commands(getattr(importlib.import_module(module), name), script):
            if path != "opq-gateway rules" or command.params[0].name != "arguments":  # its own is in SCRIPTS
                yield path, command


@pytest.mark.parametrize("name", NAMES)
def test_an_option_has_one_type_default_and_help(name: str) -> None:
    found: dict[tuple[object, ...], list[str]] = {}
    for path, command in everything():
        for option in command.params:
            if isinstance(option, click.Option) and name in option.opts:
                facts = option.to_info_dict()
                kind = sorted(facts["type"].items(), key=str)
                found.setdefault((str(kind), option.is_flag, option.help, facts["default"]), []).append(path)
    assert len(found) == 1 and sum(map(len, found.values())) > NAMES[name], found


def test_shared_options_come_last_and_in_one_order() -> None:
    order = ["--config", "--data-dir", "--mongo-uri", "--port-offset", "--json"]
    for path, command in everything():
        if len(path.split()) == 1:  # a program itself: no group hands it out
            continue
        shared = [isinstance(each, SharedOption) for each in command.params]
        assert shared == sorted(shared), path
        names = [each.opts[0] for each in command.params if isinstance(each, SharedOption)]
        assert names == [name for name in order if name in names], path


def test_a_command_with_facts_has_json() -> None:
    leaves = {path: command for path, command in everything() if not isinstance(command, click.Group)}
    without = {
        path
        for path, command in leaves.items()
        if not any("--json" in option.opts for option in command.params)
    }
    exempt = SERVICES | DATA | DONE | {"opq-cloud mauka graph"}  # a drawing
    assert without == exempt, without ^ exempt


def test_a_mistyped_folder_is_refused(tmp_path: Path) -> None:
    """Its addresses would be those of another system."""
    accepted, missing = set(), str(tmp_path / "x")
    for path, command in everything():
        option = next((each for each in command.params if "--data-dir" in each.opts), None)
        if option is None:
            continue
        try:
            option.process_value(click.Context(command), missing)
        except click.BadParameter as error:
            assert f"there is no folder {missing}" in str(error), path
        else:
            accepted.add(path)
    assert accepted == MAKE_OR_JUDGE, accepted ^ MAKE_OR_JUDGE
