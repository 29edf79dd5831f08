"""Description and progress of a history: `history.json` in its data folder, so that it can resume later."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from opq_proto.errors import ConfigError, OpqError
from opq_proto.kit.whole_file import write_whole_file

FILE_NAME = "history.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class HistoryProgress:
    """A history and its progress."""

    scenario: str | None
    """The scenario as given; None: undisturbed Boxes."""
    digest: str
    """SHA-256 of the scenario's file; empty without one."""
    boxes: int
    days: float
    seed: int
    start_ns: int
    """UTC of its beginning."""
    outage_every_s: float = 0.0
    outage_s: float = 60.0
    """Mean time between network outages of each Box (`outage_every_s`, 0: none), and their mean length."""
    done_s: float = 0.0
    """Seconds after the beginning up to which everything is in the store."""
    intervals: str = "none"
    """Class A: `beside` the Measurements, `alone`, or `none`."""

    @property
    def length_s(self) -> float:
        return self.days * 86_400.0

    @property
    def finished(self) -> bool:
        return self.done_s >= self.length_s

    def done_to(self, done_s: float) -> "HistoryProgress":
        """The same history with progress `done_s`."""
        return replace(self, done_s=done_s)


def read_progress(folder: Path) -> HistoryProgress | None:
    """Reads the progress in a folder; None: no history has begun there.

    Raises:
        OpqError: the file cannot be read, or is not a progress file.
    """
    path = folder / FILE_NAME
    try:
        document = json.loads(path.read_text())
        if document.pop("version", None) != VERSION:
            raise ValueError(f"want version {VERSION}")
        return HistoryProgress(**document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OpqError(f"{path}: no progress of a history: {error}; move it away to begin again") from error


def write_progress(folder: Path, progress: HistoryProgress) -> None:
    """Replaces the file atomically.

    Raises:
        FileNotWrittenError: writing failed.
    """
    document = {"version": VERSION, **asdict(progress)}
    write_whole_file(folder / FILE_NAME, [json.dumps(document, indent=1).encode()])


def resumed(known: HistoryProgress, wanted: HistoryProgress, end_given: bool) -> HistoryProgress:
    """Returns the progress to resume from, after a check that the same history is wanted.

    Args:
        end_given: `wanted` has an end that the user gave, not the time of the call.
    Raises:
        ConfigError: another history has begun there; the text names the differences.
    """
    differ = [
        f"{name} {getattr(known, name)!r}, not {getattr(wanted, name)!r}"
        for name in ("scenario", "boxes", "days", "seed", "outage_every_s", "outage_s", "intervals")
        if getattr(known, name) != getattr(wanted, name)
    ]
    if not differ and known.digest != wanted.digest:
        differ = ["a scenario file with other contents"]
    if end_given and known.start_ns != wanted.start_ns:
        differ.append("another end")
    if differ:
        raise ConfigError(f"--into holds a history of {'; '.join(differ)}; give the same, or another folder")
    return known
