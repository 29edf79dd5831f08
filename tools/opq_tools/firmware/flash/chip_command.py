"""`opq-tools chip`: which chip or Box answers, and what is on it."""

from typing import Any

import click

from opq_proto.kit.shared_options import json_option
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.connection import Connection, connection_options, flash_chip, print_result


@click.command("chip")
@connection_options
@json_option
def command(as_json: bool, **connection: Any) -> None:
    """Print which chip or Box answers, and its firmware; nothing is written.

    \b
    Examples: opq-tools chip --probe
              opq-tools chip --link /dev/ttyUSB0
    """
    at = Connection(**connection)
    print_result(lambda steps: flash_chip(at, None, Allowed(), False, None, steps), as_json)
