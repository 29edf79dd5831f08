"""The runner's notes on its services: which run, which were started again and why.

Health reads it; only the runner writes.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from opq_cloud.service import CountingService, Health, HealthyService, Service, StatusService


@dataclass(slots=True)
class Entry:
    """One service and what became of it."""

    service: Service
    started_s: float = field(default_factory=time.time)
    up: bool = False
    restarts: int = 0
    last_error: str | None = None

    def health(self) -> Health:
        info = None
        if self.restarts or not self.up:
            info = f"restarts: {self.restarts}" + (f"; last: {self.last_error}" if self.last_error else "")
        return Health(self.service.name, self.up, info=info)

    def parts(self) -> tuple[Health, ...]:
        """What the service says of its own parts."""
        return tuple(self.service.health()) if isinstance(self.service, HealthyService) else ()


class Board:
    """Entries in the order of their start."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, service: Service) -> Entry:
        entry = Entry(service)
        self.entries.append(entry)
        return entry

    def health(self, name: str) -> Health:
        """The whole: ok when every service runs; one subcomponent per service and per part (Box)."""
        parts = {part.name: part for entry in self.entries for part in entry.parts()}
        services = [_worse(entry.health(), parts.pop(entry.service.name, None)) for entry in self.entries]
        down = [service.name for service in services if not service.ok]
        info = f"not ok: {', '.join(down)}" if down else None
        return Health(name, not down, info=info, subcomponents=(*services, *parts.values()))

    def plugin_status(self) -> list[dict[str, object]]:
        """Rows of the original Mauka's `/status`."""
        return [
            dict(row)
            for entry in self.entries
            if isinstance(entry.service, StatusService)
            for row in entry.service.plugin_status()
        ]

    def counts(self) -> Iterator[tuple[str, str, str, float]]:
        """(service, counter, label, value) of everything that is counted."""
        for entry in self.entries:
            name = entry.service.name
            yield name, "service_up_now", "", float(entry.up)
            yield name, "service_restarts", "", entry.restarts
            if isinstance(entry.service, CountingService):
                for counter, row in entry.service.counters.snapshot().items():
                    for label, value in row.items():
                        yield name, counter, label, value


def _worse(thread: Health, own: Health | None) -> Health:
    """What the runner knows of a service and what it says of itself, in one: a trouble before a note."""
    if own is None or not thread.ok or (own.ok and thread.info):
        return thread
    return own
