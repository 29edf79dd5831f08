"""Plug-ins that come with the toolkit, and the libraries that a plug-in brings with it."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from opq_plugins.package.manifest import MANIFEST, parse_manifest
from opq_proto.errors import PluginError
from opq_tools.shared.input_file import read_input

CHECKOUT = Path(__file__).resolve().parents[4] / "cloud" / "plugins"
"""Where a clone has them; the wheel has them below `opq_tools`."""
PIP_S = 900.0
"""Longest run of pip."""
LEFT_OUT = ("tests", "__pycache__")
"""Folders of a library that a plug-in does not use, and that are half of its files."""


def shipped_plugins() -> dict[str, Path]:
    """Name -> folder of each plug-in that comes with the toolkit."""
    installed = Path(str(resources.files("opq_tools"))) / "plugins"
    folders = sorted((installed if installed.is_dir() else CHECKOUT).glob(f"*/{MANIFEST}"))
    return {each.parent.name: each.parent for each in folders}


def shipped_or_own(source: Path) -> Path:
    """Returns `source`, or the folder of the toolkit's plug-in of that name if nothing here has it."""
    return source if source.exists() else shipped_plugins().get(str(source), source)


def with_libraries(folder: Path, into: Path, wheels: Path | None) -> Path:
    """Returns a copy of a plug-in's folder in `into`, with wheels of the libraries that this Python lacks.

    Returns `folder` itself where it lacks none. pip finds the wheels in `wheels`, else at the package index.

    Raises:
        PluginError: the manifest is wrong, a lacking one is given by an address, from which pip would build
            and run code, or pip does not find them.
    """
    lacking = lacking_requirements(parse_manifest(read_input(folder / MANIFEST)).requires)
    if not lacking or (folder / "wheels").is_dir():
        return folder
    if at_address := [each for each in lacking if Requirement(each).url]:
        raise PluginError(
            f"{MANIFEST}: {at_address[0]!r} names an address; want a name, or its wheel in wheels/"
        )
    copy = into / folder.name
    # links stay links, which are not packed: a stranger's folder could name a private file
    shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*", "tests"))
    where = ["--no-index", "--find-links", str(wheels.resolve())] if wheels is not None else []
    options = ["--quiet", "--only-binary", ":all:", *where]
    report = json.loads(_pip("install", "--dry-run", "--report", "-", *options, *lacking))
    pinned = [f"{each['metadata']['name']}=={each['metadata']['version']}" for each in report["install"]]
    _pip("download", "--no-deps", "--dest", str(copy / "wheels"), *options, *pinned)
    for each in sorted((copy / "wheels").glob("*.whl")):
        _leave_out_tests(each)
    return copy


def lacking_requirements(requires: Sequence[str]) -> list[str]:
    """Returns the requirements that no library of this Python meets.

    Raises PluginError: one is unreadable.
    """
    lacking = []
    for text in requires:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            raise PluginError(
                f"{MANIFEST}: {text!r} is not a requirement; want a name, or name>=1.0"
            ) from None
        try:
            met = wanted.specifier.contains(version(wanted.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met and (wanted.marker is None or wanted.marker.evaluate()):
            lacking.append(text)
    return lacking


def _pip(*words: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False)
    except subprocess.TimeoutExpired:
        raise PluginError(f"pip did not end within {PIP_S:g} s; give its wheels by --wheels DIR") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
        raise PluginError(
            f"pip does not find the plug-in's libraries: {why}; give their wheels by --wheels DIR"
        )
    return done.stdout


def _leave_out_tests(wheel: Path) -> None:
    """Writes a wheel again, without the tests of its library."""
    smaller = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as part:
        for each in whole.infolist():
            if not each.is_dir() and not set(LEFT_OUT) & set(each.filename.split("/")):
                part.writestr(each, whole.read(each), zipfile.ZIP_DEFLATED)
    smaller.replace(wheel)
