"""How many commands there are, over all three programs; a name of an earlier version does not count."""

from collections.abc import Iterator

import click

from opq_cloud.__main__ import cloud
from opq_gateway.__main__ import main as gateway
from opq_tools.cli import tools

MOST = 100


def leaves(command: click.Command, path: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None, f"{path} lists {name} and does not have it"
        yield from leaves(inner, f"{path} {name}")


def test_there_are_not_more_commands_than_agreed() -> None:
    programs = {"opq-tools": tools, "opq-cloud": cloud, "opq-gateway": gateway}
    found = [path for name, program in programs.items() for path in leaves(program, name)]
    assert {name for name in programs if any(path.startswith(f"{name} ") for path in found)} == set(programs)
    assert len(found) <= MOST, f"{len(found)} commands:\n" + "\n".join(found)
