"""`opq-tools plugin`: writes, tests and packs plug-ins; each command is a file, loaded when it is called."""

import click

from opq_tools.lazy_group import LazyGroup

COMMANDS = {
    "new": ("opq_tools.plugin.new", "A folder with a plug-in that works, to change."),
    "test": ("opq_tools.plugin.trial", "Run a plug-in in the real worker with its samples."),
    "pack": ("opq_tools.plugin.pack", "A folder -> a zip that can be installed, signed if wanted."),
    "push": ("opq_tools.plugin.push", "Plug-ins of the original Mauka into a running system, on each save."),
    "create": ("opq_tools.rules.plugins:create_plugin", "Install one in a running rule engine."),
    "update": (
        "opq_tools.rules.plugins:update_plugin",
        "Replace one while rules run, or return to the version before.",
    ),
    "list": ("opq_tools.rules.plugins:list_plugins", "What is installed."),
    "show": ("opq_tools.rules.plugins:show_plugin", "Its version, process, protections and counters."),
    "delete": ("opq_tools.rules.plugins:delete_plugin", "Remove one."),
}
"""Name -> (module (its `command`) or `module:name`, line in the list)."""

REMOVED = {
    "status": "opq-tools plugin show has it",
    "register": "opq-tools plugin create registers the functions of the plug-in",
    "rollback": "give opq-tools plugin update KIND NAME --rollback",
}
"""Name of a command of an earlier version -> what to do instead."""


@click.group("plugin", cls=LazyGroup, places=COMMANDS, removed=REMOVED)
def command() -> None:
    """Write, test and pack plug-ins of the rule engine.

    \b
    Example:
      opq-tools plugin new sink mysql mysql-sink
      opq-tools plugin test mysql-sink
    """
