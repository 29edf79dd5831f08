"""LazyGroup: a click group that imports a command when it is called."""

import importlib
from collections.abc import Collection, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from opq_proto.kit.command_line import CommandGroup


class LazyGroup(CommandGroup):
    """A group with the commands of `places` first, then those that are added in code."""

    def __init__(
        self,
        *args: Any,
        places: Mapping[str, tuple[str, str]],
        headings: Mapping[str, Collection[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            places: name -> (module within opq_tools (its `command`) or `module:name`, line in the list).
            headings: heading in the list -> names below it; without them there is one list.
        """
        super().__init__(*args, **kwargs)
        self._places = places
        self._headings = headings or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._places, *super().list_commands(ctx)]

    def find_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return super().find_command(ctx, cmd_name)
        module, _, name = self._places[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"opq_tools.{module}"), name or "command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{name or 'command'} is not a click command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click's, without an import of every command for its line."""
        lines = {name: line for name, (_, line) in self._places.items()}
        lines |= {name: each.get_short_help_str() for name, each in self.commands.items()}
        offered = [CompletionItem(name, help=lines[name]) for name in lines if name.startswith(incomplete)]
        return offered + click.Command.shell_complete(self, ctx, incomplete)  # those are its options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = {name: line for name, (_, line) in self._places.items()}
        own = super().list_commands(ctx)
        width = max(map(len, [*lines, *own]))
        room = formatter.width - width - 6
        lines |= {name: self.commands[name].get_short_help_str(room) for name in own}
        for heading, names in (self._headings or {"Commands": lines}).items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), lines[name]) for name in names])
