"""Libraries that only some formats need: reported by name where they are not installed.

A separate file, because the readers of sound and of HDF5 are on one floor.
"""

import importlib
from pathlib import Path
from typing import Any

from opq_proto.errors import RecordingError


def library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecordingError(
            f"{path}: {name.split('.')[0]} reads such files and is not installed: "
            "pip install 'opq-toolkit[recordings]'"
        ) from error
