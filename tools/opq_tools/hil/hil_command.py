"""`opq-tools hil`: the real firmware in an emulator or on a board, outside of pytest."""

import click

from opq_tools.lazy_group import LazyGroup

PLACES = {
    "run": ("hil.scenarios:run", "Play scenarios of the firmware, in an emulator or on a board."),
    "list": ("hil.scenarios:list_all", "List every scenario and every suite of faults, and what it shows."),
    "faults": ("hil.faults", "Play schedules of faults by seed at a real gateway or cloud."),
    "digests": ("hil.digests", "Play the short worlds, and keep or compare the digests of their runs."),
    "compare": ("hil.digests:compare_runs", "Show how two kept runs of one world differ."),
    "renode": ("hil.renode", "Show or fetch the Renode that hil/renode.lock names."),
    "debug": ("hil.debug", "Run GDB at the firmware in QEMU, in Renode or at a probe."),
}


@click.group("hil", cls=LazyGroup, places=PLACES, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Hardware in the loop: test the real firmware on an emulator or a board.

    Example: opq-tools hil run boots cold_start
    """
