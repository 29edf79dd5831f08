"""`opq-tools service`: installs, shows and removes the systemd units of a gateway and of cloud services."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.command_line import text_table
from opq_proto.kit.ports import PORTS
from opq_proto.kit.shared_options import json_option
from opq_proto.kit.system_record import (
    CLOUD,
    GATEWAY,
    MeantService,
    forget_meant,
    identity_of,
    note_meant,
)
from opq_proto.kit.system_record import FOLDER as RECORD
from opq_proto.kit.whole_file import write_whole_file

UNITS = Path("etc/systemd/system")
USER = "opq"
DATA = Path("var/lib/opq")
GATEWAY_CONFIG = Path("etc/opq/gateway.toml")
CLOUD_CONFIG = Path("etc/opq/cloud.toml")
USERS = Path("etc/sysusers.d/opq.conf")
BOX_RULES = Path("etc/udev/rules.d/60-opq-box.rules")
"""Lets the gateway's user open a Box's port."""
WIFI_RULES = Path("etc/polkit-1/rules.d/50-opq-gateway.rules")
"""Lets the gateway's user set up Wi-Fi."""
GATEWAY_LINK = DATA / "gateway/update/current"
"""What the gateway's unit starts by; an update moves it."""
CLOUD_SERVICES = (
    "all",
    "all-but-brokers",
    "triggering-broker",
    "acquisition-broker",
    "event-service",
    "triggering-service",
    "mauka",
    "view",
    "notifications",
    "health",
    "update",
)
NAMES = ("gateway", "cloud", *CLOUD_SERVICES)
CLOUD_UNITS = ("all-but-brokers", "triggering-broker", "acquisition-broker")
"""What `cloud` is: brokers apart, so that what strangers connect to them takes nothing from the pages."""
HOMES = ("/home/", "/root/", "/run/user/")
"""What ProtectHome= of the units hides."""
SYSTEMCTL_S = 120.0
PROPERTIES = "LoadState,ActiveState,SubState,StatusText,NRestarts"
GATEWAY_SAMPLE = """# The gateway of this machine; `opq-tools config check --sample` prints every key.
# [[box]]
# id = "1"
# port = "/dev/serial/by-id/…"
# [uplink]
# trigger_endpoint = "tcp://makai.example:9880"
# command_endpoint = "tcp://makai.example:8194"
# response_endpoint = "tcp://makai.example:8196"
"""
CLOUD_SAMPLE = """# The cloud of this machine; `opq-tools config check --sample` prints every key.
# [store]
# mongo_uri = "mongodb://127.0.0.1/opq"
# For gateways on other machines; without these the addresses are on loopback.
# [triggering_broker]
# box_endpoint = "tcp://*:9880"
# [acquisition_broker]
# command_endpoint = "tcp://*:8194"
# response_endpoint = "tcp://*:8196"
# [health]
# gateway_endpoint = "gateway.example:8913"  # watched, where health_endpoint of its gateway.toml is that
"""


class ServiceError(OpqError):
    """A unit cannot be installed, shown or removed."""


def unit_of(name: str) -> str:
    """The name of a service's unit."""
    if name == "gateway":
        return "opq-gateway.service"
    return f"opq-cloud@{name}.service"


def file_of(name: str) -> str:
    """The name of the file of a service's unit."""
    return "opq-gateway.service" if name == "gateway" else "opq-cloud@.service"


def packaged(name: str) -> str:
    """A file that comes with the package."""
    return resources.files("opq_tools.system.service").joinpath("units", name).read_text(encoding="utf-8")


def files_for(names: Sequence[str], bin_dir: str, wifi: bool) -> Iterator[tuple[Path, str]]:
    """Yields path below the root and text of what these services need, with the programs in `bin_dir`."""
    yield USERS, packaged(USERS.name)
    for kind in sorted({file_of(name) for name in names}):
        yield UNITS / kind, packaged(kind).replace("/opt/opq/bin/", f"{bin_dir}/")
    if "gateway" in names:
        yield BOX_RULES, packaged(BOX_RULES.name)
    if wifi:
        yield WIFI_RULES, packaged(WIFI_RULES.name)


def _samples(names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    if "gateway" in names:
        yield GATEWAY_CONFIG, GATEWAY_SAMPLE
    if set(names) - {"gateway"}:
        yield CLOUD_CONFIG, CLOUD_SAMPLE


def _run(*words: str) -> str:
    """Runs a program of the system. Raises ServiceError with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SYSTEMCTL_S)
    except FileNotFoundError as error:
        raise ServiceError(f"{words[0]} is not on this machine; the units need systemd") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{' '.join(words)}: no end after {SYSTEMCTL_S:.0f} s") from error
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole_file(path, [text.encode()], 0o644)


def _own(root: Path, *paths: Path) -> None:
    """Gives files and folders to the services' user."""
    line = next(
        (each for each in (root / "etc/passwd").read_text().splitlines() if each.startswith(f"{USER}:")), None
    )
    if line is None:
        raise ServiceError(f"systemd-sysusers made no user {USER}")
    user, group = (int(each) for each in line.split(":")[2:4])
    for path in paths:
        os.chown(path, user, group, follow_symlinks=False)


def _make_keys(root: Path) -> None:
    """The server's keys, where there are none, owned by the services' user."""
    folder = root / DATA / "curve"
    if not KeyFolder(folder).server_secret.exists():
        KeyFolder(folder).create(server=True, box_ids=())
    _own(root, root / DATA, folder, *folder.rglob("*"))


def _point_link(root: Path, bin_dir: str) -> None:
    """Lets the gateway's unit start this installation."""
    link = root / GATEWAY_LINK
    link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(Path(bin_dir).parent)
    _own(root, root / DATA, link.parent.parent, link.parent, link)


def meant(names: Sequence[str], root: Path) -> list[MeantService]:
    """The services as the record of their data folder names them, by the configurations in /etc/opq.

    Where a configuration cannot be read, an address is the default; the service corrects it at its start.
    """
    from opq_proto.config.reading import read_document
    from opq_proto.kit.http_server import url_of

    found = []
    for name in names:
        if name == GATEWAY:
            endpoint = None
            with suppress(OpqError, OSError):
                endpoint = read_document(root / GATEWAY_CONFIG).get("health_endpoint")
            at = endpoint if isinstance(endpoint, str) else f"127.0.0.1:{PORTS['gateway_health']}"
            found.append(MeantService(GATEWAY, url_of(at)))
            continue
        from opq_cloud.core.meant_service import meant_service  # a gateway may be without this room's extra
        from opq_cloud.core.original.original_settings import read_config
        from opq_cloud.core.settings.config import CloudConfig

        try:
            config = read_config([root / CLOUD_CONFIG], {}, notify=lambda _: None)
        except OpqError:
            config = CloudConfig()
        found.append(meant_service(name, config))
    return found


def _note(names: Sequence[str], root: Path) -> None:
    """Notes that these services are meant to run, in the data folder of the units."""
    folder = root / DATA
    identity_of(folder)
    note_meant(folder, meant(names, root))
    _own(root, folder, folder / RECORD, *(folder / RECORD).iterdir())


def install(names: Sequence[str], root: Path, wifi: bool) -> list[Path]:
    """Writes units, user, rules, and a configuration to fill in; enables and starts them on this machine.

    A gateway whose configuration was written just now is not started: it has no Box yet.

    Args:
        root: `/`; another folder is a system that does not run, such as an image.
    Raises:
        ServiceError, OSError: it cannot be done; what was written stays.
    """
    bin_dir = os.path.abspath(os.path.dirname(sys.executable))  # noqa: PTH100, PTH120 - a venv's link stays
    if root == Path("/") and bin_dir.startswith(HOMES):
        raise ServiceError(
            f"this installation is in {bin_dir}, a home folder that services cannot read; install it with "
            "`python3 -m venv /opt/opq && /opt/opq/bin/pip install 'opq-toolkit[all]'`"
        )
    written = []
    for path, text in files_for(names, bin_dir, wifi):
        _write(root / path, text)
        written.append(root / path)
    for path, text in _samples(names):
        if not (root / path).exists():
            _write(root / path, text)
            written.append(root / path)
    _run("systemd-sysusers", f"--root={root}", "opq.conf")
    if set(names) - {"gateway"}:
        (root / DATA).mkdir(mode=0o750, parents=True, exist_ok=True)
        _make_keys(root)
    if "gateway" in names:
        (root / DATA).mkdir(mode=0o750, parents=True, exist_ok=True)
        _point_link(root, bin_dir)
    _note(names, root)
    units = [unit_of(name) for name in names]
    if root == Path("/"):
        _run("systemctl", "daemon-reload")
        _run("systemctl", "enable", *units)
        waits = root / GATEWAY_CONFIG in written  # it has no Box yet
        begin = [unit for unit in units if not (waits and unit == unit_of("gateway"))]
        if begin:
            _run("systemctl", "restart", *begin)
        if "gateway" in names and shutil.which("udevadm"):
            _run("udevadm", "control", "--reload")
            _run("udevadm", "trigger", "--subsystem-match=tty")
    else:
        _run("systemctl", f"--root={root}", "enable", *units)
    return written


def remove(names: Sequence[str], root: Path) -> list[Path]:
    """Ends services, removes their units and rules; data, keys, configuration and their user stay."""
    units = [unit_of(name) for name in names]
    if root == Path("/"):
        _run("systemctl", "disable", "--now", *units)
    else:
        _run("systemctl", f"--root={root}", "disable", *units)
    files = []
    for kind in sorted({file_of(name) for name in names}):
        if not list((root / UNITS).glob(f"*.wants/{kind.replace('@', '@*')}")):  # else other services use it
            files.append(UNITS / kind)
    if "gateway" in names:
        files += [BOX_RULES, WIFI_RULES]
    gone = [root / path for path in files if (root / path).exists()]
    for path in gone:
        path.unlink()
    forget_meant(root / DATA, [each.name for each in meant(names, root)])
    if (root / USERS).exists() and not list((root / UNITS).glob("opq-*.service")):
        (root / USERS).unlink()
        gone.append(root / USERS)
    if root == Path("/"):
        _run("systemctl", "daemon-reload")
    return gone


def states(names: Sequence[str]) -> list[dict[str, str]]:
    """The state of each service's unit, as systemd has it."""
    found = []
    for name in names:
        shown = _run("systemctl", "show", unit_of(name), f"--property={PROPERTIES}")
        facts = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if facts.get("LoadState") == "loaded":
            found.append(
                {
                    "unit": unit_of(name),
                    "state": f"{facts.get('ActiveState', '')} ({facts.get('SubState', '')})",
                    "restarts": facts.get("NRestarts", ""),
                    "status": facts.get("StatusText", ""),
                }
            )
    return found


@click.command(short_help="systemd units of a gateway and of cloud services: install, status, remove.")
@click.argument("action", type=click.Choice(["install", "status", "remove"]))
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option(
    "--wifi", is_flag=True, help="Also let a gateway set Wi-Fi and switch the machine off (polkit)."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    help="Folder of a system that does not run, such as an image; nothing is started.  [default: /]",
)
@json_option
def command(action: str, names: tuple[str, ...], wifi: bool, root: Path, as_json: bool) -> None:
    """Install, show or remove the systemd units of a gateway and of cloud services.

    NAME is gateway, cloud (the two brokers, and every other cloud service in one process), or one service of
    `opq-cloud`, to run it apart. `install` makes the user opq, units, rules for the Boxes' adapters, the
    server's keys and a configuration in /etc/opq to fill in; it needs root. `remove` leaves data, keys and
    configuration.

    Example: sudo /opt/opq/bin/opq-tools service install cloud
    """
    names = tuple(each for name in names for each in (CLOUD_UNITS if name == CLOUD else (name,)))
    if action == "status":
        rows = states(names or ("gateway", *CLOUD_SERVICES))
        cells = [(row["unit"], row["state"], row["status"]) for row in rows]
        words = text_table(("unit", "state", "what it says"), cells) if rows else "no unit of OPQ is here"
        click.echo(json.dumps(rows) if as_json else words)
        return
    if not names:
        raise click.UsageError(f"which? want one or more of {', '.join(NAMES)}")
    if root == Path("/") and os.geteuid() != 0:
        raise ServiceError(
            f"`service {action}` needs root: sudo {shutil.which('opq-tools') or 'opq-tools'} …"
        )
    try:
        paths = install(names, root, wifi) if action == "install" else remove(names, root)
    except OSError as error:
        raise ServiceError(f"{error.filename or root}: {error.strerror or error}") from error
    if as_json:
        click.echo(
            json.dumps({"units": [unit_of(name) for name in names], "files": [str(path) for path in paths]})
        )
        return
    for path in paths:
        click.echo(f"{'written' if action == 'install' else 'removed'}: {path}")
    click.echo(f"{', '.join(unit_of(name) for name in names)}: {action} done")
