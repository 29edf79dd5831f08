"""StoreReader: what the commands and the health of a cloud say of its store, whatever store it is."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from opq_proto.kit.http_client import fetch
from opq_sim.faults.parts.played_commands import Commands
from opq_sim.faults.parts.played_service import ServiceError

MOST_EVENTS: Final = 10_000
HEALTH_S: Final = 20.0
NO_STORE: Final = ("there is no store in", "there is no folder")
STORED: Final = "measurements_stored"
COUNTED: Final = ("events", "findings", "incidents", "ids_given")
"""In names of counters."""


class StoreReader:
    """Each question is a command in another process; nothing of the cloud is imported here.

    What a store that does not exist yet has is empty. Every question raises ServiceError where its command
    fails.
    """

    def __init__(self, commands: Commands, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings`: the section `[store]` of its cloud."""
        self._commands = commands
        uri = (settings or {}).get("mongo_uri")
        self._where = ["--data-dir", str(data_dir), *(["--mongo-uri", uri] if uri else [])]

    def measurements(self) -> list[dict[str, Any]]:
        """Every Measurement, with the means of its gaps and of clocks that were set."""
        return self._json("export", "measurements", "--format", "json")

    def intervals(self, kind: str) -> list[dict[str, Any]]:
        """Every interval of a length, such as 10min."""
        return self._lines("export", "intervals", "--length", kind, "--format", "jsonl")

    def disturbances(self) -> list[dict[str, Any]]:
        return self._lines("export", "disturbances", "--format", "jsonl")

    def events(self) -> list[dict[str, Any]]:
        """Every event, without samples."""
        found = self._json("events", "show", "--limit", str(MOST_EVENTS), "--json")
        return sorted(found, key=lambda event: int(event["event_id"]))

    def findings(self) -> list[dict[str, Any]]:
        return self._json("export", "incidents", "--findings", "--format", "json")

    def waveforms(self, event_id: int) -> list[dict[str, Any]]:
        """The waveforms of an event; empty where no Box answered."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "event.json"
            try:
                self._text("export", "events", str(event_id), "--format", "json", "--out", str(out))
            except ServiceError as error:
                if "with waveforms" in str(error):
                    return []
                raise
            found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["waveforms"]
        return found

    def _json(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._text(*words) or "[]")
        return found

    def _lines(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._text(*words).splitlines()]

    def _text(self, *words: str) -> str:
        answer = self._commands.run(*words, *self._where)
        if answer.code and any(each in answer.error for each in NO_STORE):
            return ""
        if answer.code:
            raise ServiceError(f"opq-tools {' '.join(words)}: {answer.error.strip()}")
        return answer.out


def received_s(port: int) -> dict[str, int] | None:
    """By Box, when its newest Measurement came to the triggering service, by what its health says.

    None where that does not answer, or has stored nothing yet.
    """
    try:
        lines = _metrics(port)
        parts = json.loads(fetch(f"http://127.0.0.1:{port}/", HEALTH_S))["subcomponents"] or ()
    except (OSError, ValueError):
        return None
    stored = sum(float(line.rpartition(" ")[2]) for line in lines if STORED in line)
    received = {str(part["name"]): int(part["received"]) for part in parts if "received" in part}
    return received if stored else None


def event_counts(ports: Sequence[int]) -> tuple[str, ...] | None:
    """What these services have counted of events, findings and incidents; None where one does not answer."""
    try:
        lines = [line for port in ports for line in _metrics(port)]
    except OSError:
        return None
    return tuple(line for line in lines if any(name in line for name in COUNTED))


def _metrics(port: int) -> list[str]:
    text = fetch(f"http://127.0.0.1:{port}/metrics", HEALTH_S).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]
