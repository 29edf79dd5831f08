"""For the tests of `opq-tools analyze`: signals of known figures, and the command as a user calls it."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from opq_proto.errors import OpqError
from opq_tools.recordings.analyze.analyze_command import command

RATE_HZ = 12_000.0
FLAGS = ["--rate-hz", "12000", "--volts-per-lsb", "0.0068"]
Floats = NDArray[np.float64]


def mains(length_s: float = 2.0, hz: float = 60.0, rms_v: float = 120.0, phase: float = 0.0) -> Floats:
    turn = 2 * np.pi * hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + phase
    wave: Floats = (
        rms_v * math.sqrt(2) * (np.sin(turn) + 0.03 * np.sin(3 * turn + 1) + 0.04 * np.sin(5 * turn))
    )
    return wave


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def told(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    answer: dict[str, Any] = json.loads(result.stdout, parse_constant=pytest.fail)
    return answer


def as_i16(folder: Path, volts: Floats, **facts: object) -> Path:
    path = folder / "mains.i16"
    path.write_bytes(np.rint(volts / 0.0068).astype("<i2").tobytes())
    known = {"rate_hz": RATE_HZ, "volts_per_lsb": 0.0068, "nominal_volts": 120.0, "nominal_hz": 60.0}
    path.with_suffix(".json").write_text(json.dumps({**known, **facts}))
    return path


def assert_refused(*arguments: object) -> str:
    result = run(*arguments, "--json")
    if isinstance(result.exception, OpqError):  # what cli.main turns into one line
        text = str(result.exception)
        assert result.exception.exit_code in (1, 2)
    else:
        assert result.exit_code == 2, (result.output, result.exception)
        text = result.output.strip().splitlines()[-1]
    assert text and "\n" not in text
    assert result.stdout == "" or result.exit_code == 2
    return text


def shell(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "opq_tools.cli", "analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )
