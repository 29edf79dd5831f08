"""`opq-tools`: lists the subcommands and loads only the one that is called.

Wrong use ends with exit code 2, a failure with 1; both print one line and no traceback.
"""

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_tools.lazy_group import LazyGroup

HEADINGS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Run": {
        "up": ("up.up_command", "Boxes, gateway, cloud and the web page, on this machine."),
        "service": (
            "system.service.service_command",
            "systemd units of a gateway and of cloud services: install, status, remove.",
        ),
        "doctor": (
            "system.doctor.doctor_command",
            "What is wrong with this machine and the system on it, and what helps.",
        ),
        "config": ("system.config_command", "Check configuration files; all problems at once."),
        "completion": (
            "system.completion",
            "Completion with the tab key for bash, zsh and fish.",
        ),
    },
    "Look": {
        "status": ("system.status", "What runs here, Boxes, last incidents, disk: one screen."),
        "open": (
            "system.opening",
            "Page of the system, Grafana or the documentation, in the browser.",
        ),
        "logs": (
            "system.logs",
            "Log lines of all services in the order of time; --follow for new ones.",
        ),
        "incidents": ("incidents.incidents_command", "Find, show, note, label, split and merge incidents."),
        "events": (
            "events.events_command",
            "Events: which Boxes were asked, why, how long each step took.",
        ),
        "report": (
            "reports.reports_command",
            "What the supply was like in a week, by EN 50160, IEC 61000-2-2 or IEEE 519.",
        ),
        "changes": (
            "changes.changes_command",
            "What changed over weeks: steps, drift and profiles of the supply or a Box.",
        ),
        "reference": (
            "changes.reference",
            "Another meter's values beside a Box's: bias, spread and delay.",
        ),
        "analyze": ("recordings.analyze.analyze_command", "What the measurement core says of a recording."),
        "classify": (
            "recordings.classify",
            "The class of a recording, with confidence and reasons.",
        ),
        "recordings": ("recordings.get", "Fetch public recordings: of a real dip, and of others."),
    },
    "Boxes and keys": {
        "boxes": ("boxes.boxes_command", "Names, places and gains of Boxes, in the store."),
        "box": ("boxes.box", "Request from a Box: info, settings, reset, time, rate, firmware."),
        "limits": (
            "boxes.limits",
            "Limits at which Makai triggers, live: for all Boxes or single ones.",
        ),
        "calibrate": (
            "boxes.calibrate.calibrate_command",
            "Gain, offset and phase of a Box against a reference.",
        ),
        "keygen": ("keys.keygen", "Make CURVE key pairs for the server and for Boxes."),
        "keys": (
            "keys.keys_command",
            "Keys of Boxes and services: list, add, revoke and exchange, live.",
        ),
    },
    "Rules and plug-ins": {
        "rules": ("rules.rule", "Rules, streams and tables: create, watch, try, export, import."),
        "plugin": (
            "rules.plugin",
            "Plug-ins of the rule engine: write, test, pack, install, replace.",
        ),
        "mauka": (
            "mauka.mauka_command",
            "Plug-ins of a running Mauka: list, start, stop, replace, at a prompt.",
        ),
        "inject": ("mauka.inject", "Publish a message or a stored event into Mauka."),
    },
    "Firmware": {
        "firmware": (
            "firmware.firmware_command",
            "Build the Box's firmware: reproducible, checked against budgets.",
        ),
        "flash": (
            "firmware.flash.flash_command",
            "Write firmware to a chip or a Box: by ROM, USB, probe, or in place.",
        ),
        "chip": (
            "firmware.flash.chip_command",
            "Which chip or Box answers, and what is on it.",
        ),
        "release": (
            "firmware.release",
            "Releases for gateways and Boxes: build, sign, publish, roll out.",
        ),
        "hil": (
            "hil.hil_command",
            "The real firmware in an emulator or on a board, scenario by scenario.",
        ),
    },
    "Simulate": {
        "sim": ("sim.sim_command", "Simulated Boxes; disturbances on demand."),
        "bench": ("sim.bench", "Measure speed and memory, beside a baseline."),
    },
    "Keep": {
        "import": (
            "exporting.importing",
            "Recordings of other instruments into the store, as events.",
        ),
        "backup": ("keep.backup", "Copy a system's data into one archive, while it runs."),
        "restore": ("keep.restore", "Put a back-up into an empty data folder."),
        "store": (
            "keep.store_command",
            "Check a store, repair it, copy it into another.",
        ),
        "export": (
            "exporting.export_command",
            "Export events, incidents and Measurements from the store.",
        ),
        "reanalyse": (
            "mauka.reanalyse",
            "Analyse stored events again; show the changes, or make them.",
        ),
    },
}
"""Heading in the list -> command -> (module that has the `command`, its line in the list)."""
COMMANDS = {name: place for places in HEADINGS.values() for name, place in places.items()}


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    headings=HEADINGS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="opq-toolkit", prog_name="opq-tools")
def tools() -> None:
    """The OPQ toolkit: power quality from the wall outlet to the report.

    Start with `opq-tools up`: within a minute a dip in the mains is a classified incident on a web page.
    """


def main() -> None:
    """Runs the command; an error that a user can act on becomes one line on stderr."""
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere  # the caller closed it: >&-
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without Braille shows ?, not a traceback
        sys.stdout.reconfigure(errors="replace")
    try:
        tools(prog_name="opq-tools")
    except OpqError as error:
        click.echo(f"opq-tools: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # system errors that no command handles, e.g. a full disk under `> file`
        where = f"{error.filename}: " if error.filename else ""
        rights = (
            "; run this as the user whose it is, or with sudo" if isinstance(error, PermissionError) else ""
        )
        click.echo(f"opq-tools: {where}{error.strerror or error}{rights}", err=True)
        sys.exit(1)
    except UnicodeEncodeError as error:  # an argument that is not UTF-8, where it is not a file's name
        if not any("\udc80" <= letter <= "\udcff" for letter in str(error.object)):
            raise
        click.echo(f"opq-tools: {error.object[:60]!r} is not UTF-8 text", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        command = next((word for word in sys.argv[1:] if word in COMMANDS), "")
        extras = ",".join(extras_for(command, (error.name or "").partition(".")[0]))
        if not extras:
            raise
        install = f"pip install 'opq-toolkit[{extras}]'"
        click.echo(f"opq-tools: this needs {error.name}, which is not installed: {install}", err=True)
        sys.exit(1)


def extras_for(command: str, module: str) -> tuple[str, ...]:
    """Extras that `command` needs when `module` is missing; empty: no extra of ours brings the module."""
    if module not in EXTRA_OF_MODULE:
        return ()
    wanted = EXTRAS_OF_COMMAND.get(command, ())
    own = EXTRA_OF_MODULE[module]
    return wanted if own in wanted or (wanted and module in SHARED) else (*wanted, own)


EXTRAS_OF_COMMAND = {
    "up": ("cloud", "hil"),
    "sim": ("hil",),
    "boxes": ("cloud",),
    "limits": ("cloud",),
    "events": ("cloud",),
    "keys": ("cloud",),
    "incidents": ("cloud",),
    "reanalyse": ("cloud",),
    "release": ("update",),
    "inject": ("cloud",),
    "mauka": ("cloud",),
    "export": ("cloud",),
    "report": ("cloud", "report"),
    "changes": ("cloud",),
    "reference": ("cloud", "rules"),
    "import": ("cloud",),
    "store": ("cloud",),
    "firmware": ("firmware",),
    "calibrate": ("flash",),
    "chip": ("flash",),
    "flash": ("flash",),
    "hil": ("hil", "firmware"),
    "bench": ("cloud", "hil"),
    "config": ("cloud", "gateway", "rules"),
    "doctor": ("cloud", "gateway", "rules"),
    "status": ("cloud", "gateway"),
    "plugin": ("rules",),
    "rules": ("rules", "cloud"),
}
"""All extras that a command needs, so that they are installed at once; `hil` includes `gateway`."""
SHARED = frozenset(
    {"cobs", "cryptography", "msgspec", "prometheus_client", "pydantic", "serial", "structlog"}
)
"""Modules that belong to several extras."""


EXTRA_OF_MODULE = {
    "argon2": "cloud",
    "bcrypt": "cloud",
    "cobs": "hil",
    "comtrade": "analyze",
    "cronsim": "rules",
    "cryptography": "signing",
    "distributed": "bulk",
    "elftools": "firmware",
    "fastapi": "cloud",
    "httpx": "rules",
    "jsonpath": "rules",
    "lupa": "rules",
    "matplotlib": "analyze",
    "msgspec": "makai",
    "prometheus_client": "makai",
    "paho": "gateway",
    "psutil": "hil",
    "pyarrow": "parquet",
    "pydantic": "gateway",
    "pymongo": "mongodb",
    "pymysql": "rules",
    "pyotp": "cloud",
    "regex": "rules",
    "segno": "cloud",
    "serial": "gateway",
    "sqlalchemy": "rules",
    "stm32loader": "flash",
    "structlog": "gateway",
    "securesystemslib": "update",
    "tuf": "update",
    "tomli_w": "hil",
    "uvicorn": "cloud",
    "weasyprint": "report",
    "scipy": "original",
    "yaml": "rules",
}
"""Module that an optional part imports -> the extra that brings it."""


if __name__ == "__main__":
    main()
