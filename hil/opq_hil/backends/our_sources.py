"""Where the toolkit's own sources are: the firmware, QEMU's machine, Renode's models and worlds, the digests.

In a clone they are in its folders. The wheel has a copy of these folders in its data (pyproject.toml,
`force-include`), so that every command works from an empty folder. Nothing is written beside them.
"""

from pathlib import Path

CLONE = Path(__file__).resolve().parents[3]
WHEEL_DATA = Path(__file__).resolve().parents[1] / "sources"
BUILT = Path("build/firmware")


def clone() -> Path | None:
    """The clone that this code runs from; None: the code is installed from a wheel."""
    return CLONE if (CLONE / "device" / "port").is_dir() else None


def our_source(name: str) -> Path:
    """The file or folder that a clone has as `name`, for example `device` or `hil/renode`."""
    return (clone() or WHEEL_DATA) / name


def built_folder() -> Path:
    """Where `opq-tools firmware build` writes without --out: in the clone, else in the working folder."""
    return (clone() or Path.cwd()) / BUILT
