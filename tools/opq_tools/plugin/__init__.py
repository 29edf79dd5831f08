"""`opq-tools plugin`: write, test and pack plug-ins; each command is a file, loaded when it is called."""

import importlib

import click

COMMANDS = {
    "new": ("opq_tools.plugin.new", "A folder with a plug-in that works, to change."),
    "test": ("opq_tools.plugin.trial", "Run a plug-in in the real worker with its samples."),
    "pack": ("opq_tools.plugin.pack", "A folder -> a zip that can be installed, signed if wanted."),
    "create": ("opq_tools.rules.plugins:create", "Install one in a running rule engine."),
    "update": ("opq_tools.rules.plugins:update", "Replace one while rules run."),
    "list": ("opq_tools.rules.plugins:names", "What is installed."),
    "show": ("opq_tools.rules.plugins:show", "Its name and version."),
    "status": ("opq_tools.rules.plugins:status", "Its process, protections and counters."),
    "register": ("opq_tools.rules.plugins:register", "Say which functions one has."),
    "rollback": ("opq_tools.rules.plugins:rollback", "Back to the version before."),
    "delete": ("opq_tools.rules.plugins:delete", "Remove one."),
}
"""Name -> the module (whose `command` it is, or `:name`), and its line in the list."""


class LazyGroup(click.Group):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = [(name, line) for name, (_, line) in COMMANDS.items()]
        others = [(name, self.commands[name].get_short_help_str()) for name in super().list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(lines + others)


@click.group("plugin", cls=LazyGroup)
def command() -> None:
    """Write, test and pack plug-ins of the rule engine.

    \b
    Example:
      opq-tools plugin new sink mysql mysql-sink
      opq-tools plugin test mysql-sink
    """
