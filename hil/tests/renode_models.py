"""The Renode models compiled by Mono's C# compiler against small stubs, and run without a CPU."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HIL = Path(__file__).resolve().parents[1]
MODELS = HIL / "renode" / "models"
STUBS = HIL / "tests" / "renode_stubs"


def compiler() -> str:
    """Mono's mcs; skips where it is absent."""
    found = shutil.which("mcs")
    if found is None:
        pytest.skip("no C# compiler here: apt install mono-mcs mono-runtime")
    return found


def compiled(out: Path, *options: str | Path) -> Path:
    """A program or library of the C# that Renode 1.16.1 compiles."""
    line = [compiler(), "-langversion:6", "-warnaserror", f"-out:{out}", *map(str, options)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@cache
def driver(folder: Path) -> Path:
    """The models, the stubs and Drive.cs as one program."""
    return compiled(
        folder / "drive.exe", *sorted(MODELS.glob("*.cs")), STUBS / "Renode.cs", STUBS / "Drive.cs"
    )


def members_of_renode(folder: Path, models: list[Path]) -> list[str]:
    """What the models name, override or implement of Renode, as the stubs declare it."""
    stubs = compiled(folder / "stubs.dll", "-target:library", "-nowarn:67,169,414,649", STUBS / "Renode.cs")
    library = compiled(folder / "models.dll", "-target:library", f"-r:{stubs}", *models)
    return run(compiled(folder / "members.exe", STUBS / "Members.cs"), str(library)).splitlines()


def run(program: Path, *arguments: str) -> str:
    mono = shutil.which("mono")
    if mono is None:
        pytest.skip("no mono here: apt install mono-runtime")
    line = [mono, str(program), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def drive(program: Path, *arguments: str) -> dict[str, Any]:
    """What a scenario of Drive.cs printed: numbers, texts, and `report` as JSON."""
    found: dict[str, Any] = {}
    for entry in run(program, *arguments).splitlines():
        name, _, value = entry.partition(" ")
        found[name] = json.loads(value) if name == "report" else int(value) if value.isdecimal() else value
    return found
