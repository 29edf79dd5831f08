"""SeedLog: the verdicts of seeds that were played, a JSON line each: a long run goes on where it ended.

A line is written as its seed ends. One that a kill left half is no verdict: its seed is played again.
"""

import json
from collections.abc import Callable
from pathlib import Path

from opq_hil.gateway_faults.runner import Document
from opq_proto.errors import ConfigError, OpqError


class SeedLog:
    """One file; one thread writes at a time.

    Attributes:
        played: seed -> its verdict.
    """

    def __init__(self, path: Path, drawn: Callable[[int], Document]) -> None:
        """`drawn`: the schedule of a seed, as its verdict has it.

        Raises:
            ConfigError: a line is no verdict, or its seed has another schedule now.
            OpqError: the file cannot be read or written.
        """
        self.played: dict[int, Document] = {}
        self._path = path
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole, encoding="utf-8")
        except OSError as error:
            raise OpqError(f"{path} cannot be used: {error.strerror}") from error
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                document = json.loads(line)
                seed, faults, _ = int(document["seed"]), document["faults"], document["ok"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{path}, line {number}: this is no verdict of a seed") from error
            if faults != json.loads(json.dumps(drawn(seed)["faults"])):
                raise ConfigError(
                    f"{path}, line {number}: seed {seed} has other faults now; use another file"
                )
            self.played[seed] = document

    def add(self, document: Document) -> None:
        """Note a seed that has ended.

        Raises:
            OpqError: the disk does not take it.
        """
        self.played[int(document["seed"])] = document
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(document) + "\n")
        except OSError as error:
            raise OpqError(f"{self._path} cannot be written: {error.strerror}") from error
