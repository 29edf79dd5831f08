"""A hook of mkdocs (../mkdocs.yml): each command's man page, by click-man, into tools/man for the wheel."""

import copy
import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from click_man.core import write_man_pages

FOLDER = Path(__file__).parent / "man"
SCRIPTS = {
    "opq-tools": "opq_tools.cli:tools",
    "opq-gateway": "opq_gateway.__main__:main",
    "opq-cloud": "opq_cloud.__main__:cloud",
}


def whole(command: click.Command) -> click.Command:
    """A copy with all its commands, which a group of ours loads when they are called, and uncut lines."""
    made = copy.copy(command)
    made.short_help = command.get_short_help_str(200)
    if isinstance(command, click.Group) and isinstance(made, click.Group):
        context = click.Context(command)
        below = {name: command.get_command(context, name) for name in command.list_commands(context)}
        made.commands = {name: whole(each) for name, each in below.items() if each is not None}
    return made


def write(script: str, folder: Path) -> None:
    """The pages of a script and of all commands below it, such as `opq-tools-box-info.1`."""
    module, _, name = SCRIPTS[script].partition(":")
    command = whole(getattr(importlib.import_module(module), name))
    folder.mkdir(parents=True, exist_ok=True)
    write_man_pages(script, command, version=version("opq-toolkit"), target_dir=str(folder))


def on_post_build(**_: Any) -> None:
    """Writes them all after the pages of the site."""
    for old in FOLDER.glob("*.1"):
        old.unlink()
    for script in SCRIPTS:
        write(script, FOLDER)
