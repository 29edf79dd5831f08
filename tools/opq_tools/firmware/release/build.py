"""`opq-tools release build`: all wheels that a gateway needs, and pip, in one zip."""

import json
import platform
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import click

from opq_proto.kit.whole_file import whole_file
from opq_proto.release.plan import ReleaseError, target_name, version_key

LEVELS = ("2_17", "2_28")
"""Of glibc: Debian 10 and later have both."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of each member, so that equal wheels make equal bundles."""


@click.command("build", short_help="A bundle of a gateway's wheels, to be installed without internet.")
@click.argument("wheel", type=click.Path(path_type=Path, exists=True))
@click.option("--extras", default="gateway,update", show_default=True, help="Extras of opq-toolkit in it.")
@click.option("--python", "python", metavar="3.11", help="The gateways' Python.  [default: this one]")
@click.option("--machine", help="The gateways' processor, such as aarch64.  [default: this one]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Folder for it."
)
def command(wheel: Path, extras: str, python: str | None, machine: str | None, out: Path) -> None:
    """Make the bundle of WHEEL, or of the source in a folder, with the wheels that it depends on.

    Wheels come from the package index that pip is configured for, on this machine and never on a gateway. For
    gateways of another kind, name --python and --machine; each kind needs its own bundle.

    Example: opq-tools release build . --python 3.11 --machine aarch64
    """
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder)
        if wheel.is_dir():
            if not (wheel / "tools" / "opq_tools" / "site").is_dir():
                click.echo(f"without the documentation: `mkdocs build` in {wheel} makes it first", err=True)
            _pip("wheel", "--no-deps", "--wheel-dir", str(house), str(wheel))
            wheel = next(house.glob("opq_toolkit-*.whl"))
        version = version_of(wheel)
        name = python or f"{sys.version_info.major}.{sys.version_info.minor}"
        processor = machine or platform.machine()
        choice = (
            []
            if python is None and machine is None
            else [
                "--python-version",
                name,
                "--implementation",
                "cp",
                *(word for level in LEVELS for word in ("--platform", f"manylinux_{level}_{processor}")),
            ]
        )
        _pip("download", "--only-binary", ":all:", "--dest", str(house), *choice, "pip", f"{wheel}[{extras}]")
        facts = {
            "version": version,
            "require": f"opq-toolkit[{extras}]=={version}",
            "tag": f"cp{name.replace('.', '')}-{processor}",
        }
        bundle = out / target_name("gateway", version, facts["tag"])
        write_bundle(bundle, sorted(house.glob("*.whl")), facts)
    click.echo(bundle)


def write_bundle(bundle: Path, wheels: list[Path], facts: dict[str, str]) -> None:
    """A zip of wheels, which are compressed already, and `bundle.json`."""
    with whole_file(bundle) as out, zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("bundle.json", EPOCH), json.dumps(facts, sort_keys=True))
        for wheel in wheels:
            file.writestr(zipfile.ZipInfo(wheel.name, EPOCH), wheel.read_bytes())


def read_facts(bundle: Path) -> dict[str, Any]:
    """`bundle.json` of a bundle. Raises ReleaseError."""
    try:
        with zipfile.ZipFile(bundle) as file:
            facts = json.loads(file.read("bundle.json"))
        return {name: str(facts[name]) for name in ("version", "require", "tag")}
    except (OSError, zipfile.BadZipFile, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(f"{bundle} is not a bundle of `opq-tools release build`: {error}") from error


def version_of(wheel: Path) -> str:
    """The version in a wheel's metadata. Raises ReleaseError."""
    try:
        with zipfile.ZipFile(wheel) as file:
            place = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
            version = str(Parser().parsestr(file.read(place).decode())["Version"])
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError) as error:
        why = "it has no METADATA" if isinstance(error, StopIteration) else error
        raise ReleaseError(f"{wheel} is not a wheel: {why}") from error
    version_key(version)
    return version


def _pip(*words: str) -> None:
    try:
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"pip {words[0]} failed with {error.returncode}; it said why above") from error
