"""The robot suites in hil/renode/robot, by `renode-test`: `python -m opq_hil.backends.renode_robot [SUITE…]`.

Exit codes are renode-test's own: 0 all passed, 1 a test failed, 2 Renode crashed; 3: there is no renode-test.
Results are in --out, or in a folder with the date in its name, as those of `opq-tools hil run`.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from opq_hil.backends.backend import dated_folder
from opq_hil.backends.our_sources import our_source

ROBOT = our_source("hil/renode/robot")
SUITES = ("boot", "timing", "clock", "faults", "update", "prompt", "soak")
NO_RENODE = 3
TEST_LIMIT = "30 min"
"""Limit of real time for one test; timeouts inside are virtual and stop when Renode does."""


def find_renode_test() -> Path | None:
    """`renode-test`: in the folder of the program that RENODE names, else on PATH."""
    value = os.environ.get("RENODE")
    beside = Path(value).parent / "renode-test" if value else None
    if beside is not None and beside.exists():
        return beside
    found = shutil.which("renode-test")
    return Path(found) if found else None


def command(
    program: Path, firmware: Path, out: Path, suites: Sequence[str], include: Sequence[str] = ()
) -> list[str]:
    """The command to run; soaks are left out unless their tag is requested."""
    wanted = [part for tag in include for part in ("--include", tag)]
    return [
        str(program),
        *(str(ROBOT / f"{suite}.robot") for suite in suites),
        "-r",
        str(out),
        *(wanted or ["--exclude", "soak"]),
        "--variable",
        f"OPQ_FIRMWARE_DIR:{firmware}",
        "--variable",
        "CREATE_SNAPSHOT_ON_FAIL:False",  # it would serialise our models and may hide the message
        "--save-logs",
        "onfail",
        "--test-timeout",
        TEST_LIMIT,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suites; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m opq_hil.backends.renode_robot", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all but soak")
    parser.add_argument(
        "--firmware", type=Path, default=os.environ.get("OPQ_FIRMWARE_DIR"), help="folder of the build"
    )
    parser.add_argument("--out", type=Path, help="folder for the results [./hil-DATE]")
    parser.add_argument("--include", action="append", default=[], metavar="TAG")
    options = parser.parse_args(arguments)
    program = find_renode_test()
    if program is None:
        print(
            "no renode-test here (RENODE, or PATH): to install it see hil/renode/README.md", file=sys.stderr
        )
        return NO_RENODE
    if options.firmware is None or not (options.firmware / "opqbox" / "flash.bin").exists():
        parser.error("--firmware: want the folder that `opq-tools firmware build` makes")
    suites = options.suites or (SUITES if "soak" in options.include else SUITES[:-1])
    out = (options.out or dated_folder()).absolute()
    line = command(program, options.firmware.absolute(), out, suites, options.include)
    code = subprocess.run(line, env=dict(os.environ), check=False).returncode
    print(f"the results are in {out}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
