"""RetainedTopics: the topics that this gateway has published as retained, on disk, so that they can be
deleted.

A broker keeps a retained message for ever. A Box or group that is removed from the configuration, or a former
name, would stay "online" in Home Assistant. A topic is noted before it is first published, so that a kill in
between does not lose it.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from opq_proto.kit import log
from opq_proto.kit.whole_file import write_whole_file

MOST_TOPICS = 10_000
"""Most topics that are read from a file."""


class RetainedTopics:
    """The topics of one broker; topics of other brokers stay in the file, for a return to them."""

    def __init__(self, path: Path | None, broker: str) -> None:
        """`path` None: nothing is kept. `broker`: host and port."""
        self._path, self._broker = path, broker
        self._of_brokers = {} if path is None else _read(path)
        self._topics = dict.fromkeys(self._of_brokers.get(broker, ()))

    def note(self, topics: Iterable[str]) -> None:
        """Notes topics that are about to be published."""
        if new := [topic for topic in topics if topic not in self._topics]:
            self._topics |= dict.fromkeys(new)
            self._write()

    def gone(self, is_current: Callable[[str], bool]) -> list[str]:
        """The noted topics that are not published any more."""
        return [topic for topic in self._topics if not is_current(topic)]

    def forget(self, topics: Iterable[str]) -> None:
        """Forgets topics whose retained message the broker has deleted."""
        for topic in topics:
            self._topics.pop(topic, None)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._of_brokers[self._broker] = list(self._topics)
        try:
            write_whole_file(self._path, [json.dumps(self._of_brokers, indent=1).encode()], mode=0o600)
        except OSError as error:  # values are published all the same; the next new topic tries again
            log.get(service="gateway").warning("mqtt.topics_not_noted", reason=str(error))


def _read(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(broker): [str(each) for each in topics][:MOST_TOPICS] for broker, topics in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        log.get(service="gateway").warning("mqtt.topics_not_read", file=str(path), reason=str(error))
        return {}
