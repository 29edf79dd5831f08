"""The firmware's version: the project's own, from pyproject.toml."""

import re
import tomllib
from pathlib import Path

from opq_tools.firmware.errors import FirmwareBuildError

ROOT = Path(__file__).resolve().parents[3]


def tree_version() -> str:
    """E.g. `0.1.0`.

    Raises:
        BuildError: this is no checkout (an installed package has no firmware's source).
    """
    path = ROOT / "pyproject.toml"
    if not path.exists() or not (ROOT / "device").is_dir():
        raise FirmwareBuildError("the firmware's source is not here: run from a checkout of the project")
    version = tomllib.loads(path.read_text())["project"]["version"]
    match = re.match(r"\d+\.\d+\.\d+", version)
    if match is None:
        raise FirmwareBuildError(
            f"pyproject.toml: version {version!r}; firmware wants three numbers such as 1.2.3"
        )
    return match[0]
