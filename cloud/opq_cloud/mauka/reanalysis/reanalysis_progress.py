"""The file of a re-analysis: which part is done, and what it changed."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_cloud.mauka.running.known.provenance import Provenance, settings_hash
from opq_proto.kit.whole_file import open_private, private_folder

FOLDER = "reanalysis"
DRY_RUN = "dry-run-"
"""Prefix of the file of a dry run."""
Changes = Mapping[str, Any]


class ReanalysisProgress:
    """The finished part of a long run, in a file next to the store, so that the run can be resumed.

    It has a line for each group of events that was replaced, with the changes: so the report of a resumed run
    is that of the whole. The file belongs to one choice of analyses, versions and settings. It is deleted
    when the run is over, or when a run of another choice begins, which replaces the results of this one. A
    dry run has a file of its own; a run that writes deletes it. One process at a time writes a file.
    """

    def __init__(
        self,
        data_dir: Path,
        sources: Sequence[Provenance],
        dry_run: bool = False,
        present_nominal: bool = False,
    ) -> None:
        """Opens the file of these analyses and deletes those of others.

        Raises:
            OSError: the folder cannot be made, or the file cannot be read.
        """
        named = {one.analysis: f"{one.version} {one.settings_hash}" for one in sources}
        if present_nominal:
            named["nominal"] = "present"
        kind = DRY_RUN if dry_run else ""
        self.path = data_dir / "mauka" / FOLDER / f"{kind}{settings_hash(named)}.jsonl"
        private_folder(self.path.parent)
        for other in {*self.path.parent.glob(f"{kind}*.jsonl")} - {self.path}:
            other.unlink(missing_ok=True)
        self._done: set[int] = set()
        self._results: list[tuple[list[int], Changes]] = []
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # otherwise the process ended while it wrote the line
                self._note(json.loads(line))
        if text and not text.endswith("\n"):
            self.path.write_text(text[: text.rfind("\n") + 1])

    def is_done(self, event_ids: Sequence[int]) -> bool:
        """Returns True if all of these were done by an earlier run that did not end."""
        return self._done.issuperset(event_ids)

    def results_of(self, event_ids: Collection[int]) -> list[Changes]:
        """Returns the changes of these events, as `note_done` got them."""
        wanted = frozenset(event_ids)
        return [result for numbers, result in self._results if wanted.issuperset(numbers)]

    def note_done(self, event_ids: Sequence[int], result: Changes) -> None:
        """Notes that these were replaced and stored; `result` are the changes, as JSON."""
        line = {"events": list(event_ids), "said": dict(result)}
        with os.fdopen(open_private(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
            file.write(json.dumps(line) + "\n")
        self._done.update(event_ids)

    def _note(self, line: Any) -> None:
        self._done.update(line["events"])
        self._results.append((line["events"], line["said"]))

    def finish(self) -> None:
        """Removes the file: all is done, and the next run analyses everything again."""
        self.path.unlink(missing_ok=True)
