"""What of a long re-analysis is done already, in a file beside the store, so that it can be resumed.

A line for each group of events that was replaced, with what that changed: so the report of a run that went on
is that of the whole. The file belongs to one choice of analyses, versions and settings, and goes when the run
is over, or when one of another choice begins, which replaces what this one did.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_cloud.mauka.provenance import Provenance, settings_hash

FOLDER = "reanalysis"
Said = Mapping[str, Any]


class BulkProgress:
    """The file of one run; one process at a time writes it."""

    def __init__(self, data_dir: Path, sources: Sequence[Provenance]) -> None:
        """
        Raises:
            OSError: the folder cannot be made, or the file not be read.
        """
        named = {one.analysis: f"{one.version} {one.settings_hash}" for one in sources}
        self.path = data_dir / "mauka" / FOLDER / f"{settings_hash(named)}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for other in {*self.path.parent.glob("*.jsonl")} - {self.path}:
            other.unlink(missing_ok=True)
        self._done: set[int] = set()
        self._said: list[tuple[list[int], Said]] = []
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # else the process ended while it wrote it
                self._note(json.loads(line))
        if text and not text.endswith("\n"):
            self.path.write_text(text[: text.rfind("\n") + 1])

    def is_done(self, event_ids: Sequence[int]) -> bool:
        """Whether all of these were replaced by an earlier run that did not end."""
        return self._done.issuperset(event_ids)

    def said_of(self, event_ids: Collection[int]) -> list[Said]:
        """What the replacing of these events changed, as `note_done` got it."""
        wanted = frozenset(event_ids)
        return [said for numbers, said in self._said if wanted.issuperset(numbers)]

    def note_done(self, event_ids: Sequence[int], said: Said) -> None:
        """These were replaced, and the store has it; `said` is what that changed, as JSON."""
        line = {"events": list(event_ids), "said": dict(said)}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._done.update(event_ids)

    def _note(self, line: Any) -> None:
        if isinstance(line, list):  # of an older version
            self._done.update(line)
            return
        self._done.update(line["events"])
        self._said.append((line["events"], line["said"]))

    def finish(self) -> None:
        """All is done: the next run looks at everything again."""
        self.path.unlink(missing_ok=True)
