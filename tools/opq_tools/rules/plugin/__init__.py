"""`opq-tools plugin`: writes, tests, packs and installs plug-ins; a command is a file that its call loads."""

import click

from opq_tools.lazy_group import LazyGroup

COMMANDS = {
    "new": ("rules.plugin.new", "A folder with a plug-in that works, to change."),
    "test": ("rules.plugin.trial", "Run a plug-in in the real worker with its samples."),
    "pack": ("rules.plugin.pack", "A folder -> a zip that can be installed, signed if wanted."),
    "install": ("rules.plugin.install", "Install or replace one: a name, a package, a folder or a URL."),
    "show": (
        "rules.plugin.installed:show_plugins",
        "What is installed; version, process, counters of one.",
    ),
    "delete": ("rules.plugin.installed:delete_plugin", "Remove one."),
}
"""Name -> (module (its `command`) or `module:name`, line in the list)."""


@click.group("plugin", cls=LazyGroup, places=COMMANDS)
def command() -> None:
    """Write, test, pack and install plug-ins.

    \b
    Example:
      opq-tools plugin new sink mysql mysql-sink
      opq-tools plugin test mysql-sink
    """
