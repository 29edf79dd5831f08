"""One line of a service's log: read from JSON, chosen by level, service and Box, written for a person."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
HIDDEN_FACTS = {"event", "service", "level", "t", "monotonic_ns", "exception"}
"""Facts that have their own place in the line, or none."""

BOX_KEYS = ("box_id", "box", "box_ids", "boxes")
"""Facts that name one Box or several."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line; one that is not ours, such as a piece of a traceback, has only the fact `text`.

    `t`: UTC in ISO 8601; of a plain line that of the line before it. `source`: its file or unit.
    """

    t: str
    source: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are wanted; empty fields want all. A plain line has no level and is always wanted."""

    services: Sequence[str] = ()
    box_id: str = ""
    level: str = "debug"
    since: str = ""

    def wants(self, line: LogLine) -> bool:
        facts = line.facts
        if self.services and not {line.source, str(facts.get("service"))} & set(self.services):
            return False
        if self.box_id and self.box_id not in boxes_of(line):
            return False
        level = str(facts.get("level", "critical"))
        return LEVELS.index(self.level) <= _rank(level) and line.t >= self.since


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def boxes_of(line: LogLine) -> set[str]:
    """The Boxes that a line names."""
    found = [line.facts[key] for key in BOX_KEYS if key in line.facts]
    return {str(one) for each in found for one in (each if isinstance(each, list) else [each])}


def read_line(raw: bytes, source: str, before: str) -> LogLine:
    """Reads a line; `before`: the time of the line before it."""
    text = raw.decode("utf-8", "replace").rstrip()
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or "event" not in facts:
        return LogLine(before, source, {"text": text})
    return LogLine(str(facts.get("t", before)), source, facts)


def line_words(line: LogLine) -> str:
    """The line for a person: time, service, level, event, facts; a traceback below it."""
    facts = line.facts
    if "text" in facts and "event" not in facts:
        return f"{'':23}  {line.source:<18}  {'':7}  {facts['text']}"
    when = line.t[:23].replace("T", " ")
    service = str(facts.get("service") or line.source)
    rest = " ".join(f"{key}={_word(value)}" for key, value in facts.items() if key not in HIDDEN_FACTS)
    first = f"{when:23}  {service:<18}  {facts.get('level', ''):<7}  {facts['event']}  {rest}".rstrip()
    below = str(facts.get("exception") or "").rstrip().splitlines()
    return "\n".join([first, *(f"    {each}" for each in below)])


def _word(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if isinstance(value, str) and (not text or " " in text) else text
