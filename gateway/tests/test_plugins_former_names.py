"""A plug-in that was written before `opq_plugins` runs as it is: its imports name `opq_rules`."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import opq_plugins.sdk as own
import opq_rules.plugins
import opq_rules.sdk
from opq_rules import sdk

assert sdk is own and opq_rules.sdk is own
print(opq_rules.plugins.__path__[0])
"""


def test_the_sdks_former_names_are_the_same() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (Path(told.stdout.strip()) / "opq_plugin.h").is_file()
