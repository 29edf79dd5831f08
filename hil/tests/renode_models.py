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


@cache
def driver(folder: Path) -> Path:
    """The models, the stubs and Drive.cs as one program, in the C# that Renode 1.16.1 compiles."""
    out = folder / "drive.exe"
    sources = [str(path) for path in (*sorted(MODELS.glob("*.cs")), *sorted(STUBS.glob("*.cs")))]
    line = [compiler(), "-langversion:6", "-warnaserror", f"-out:{out}", *sources]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def drive(program: Path, *arguments: str) -> dict[str, Any]:
    """What a scenario of Drive.cs printed: numbers, texts, and `report` as JSON."""
    mono = shutil.which("mono")
    if mono is None:
        pytest.skip("no mono here: apt install mono-runtime")
    line = [mono, str(program), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = {}
    for entry in done.stdout.splitlines():
        name, _, value = entry.partition(" ")
        found[name] = json.loads(value) if name == "report" else int(value) if value.isdecimal() else value
    return found
