"""Reads what the services report about themselves over HTTP, like any client: health and counters.

The whole cloud (`opq-cloud all`, `up`) answers for all services; where it does not, each service is requested
at its own address. A service that does not answer within TIMEOUT_S is shown as silent.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from opq_cloud.view.pages.shown.addresses import WHOLE, ServiceAddresses
from opq_proto.errors import OpqError

TIMEOUT_S = 2.0
MAX_BYTES = 8 * 2**20
DEEPEST = 6


class ServiceSilentError(OpqError):
    """A service does not answer, or not in the expected form."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service, or a part of one."""

    name: str
    ok: bool
    info: str = ""
    depth: int = 0
    answers: bool = True


@dataclass(frozen=True, slots=True)
class ServiceCount:
    """One counter of a service."""

    service: str
    counter: str
    of: str
    """The Box, key or plug-in that is counted; empty for none."""
    value: float


@dataclass(frozen=True, slots=True)
class ServicesFound:
    """The result of one reading."""

    states: tuple[ServiceState, ...]
    urls: tuple[str, ...]
    """The addresses that answered."""

    @property
    def troubles(self) -> tuple[ServiceState, ...]:
        """Only the deepest unhealthy parts: the parts above are unhealthy because of them."""
        found = []
        for place, state in enumerate(self.states):
            below = self.states[place + 1] if place + 1 < len(self.states) else None
            inner = below is not None and below.depth > state.depth
            if not state.ok and not (inner and _any_below(self.states, place)):
                found.append(state)
        return tuple(found)


def _any_below(states: Sequence[ServiceState], place: int) -> bool:
    for state in states[place + 1 :]:
        if state.depth <= states[place].depth:
            return False
        if not state.ok:
            return True
    return False


def read_services(addresses: ServiceAddresses) -> ServicesFound:
    """The health of all services; a silent service has a state of its own."""
    whole = [each for each in addresses.health if each[0] == WHOLE]
    for name, url in whole:
        try:
            found = tuple(_states(read_json(url), name))
        except ServiceSilentError:
            continue
        if found and found[0].name == WHOLE:
            return ServicesFound(found, (url,))
    alone = [each for each in addresses.health if each[0] != WHOLE]
    with ThreadPoolExecutor(max(1, len(alone)), "admin.health") as pool:
        answers = list(pool.map(lambda address: _one(*address), alone))
    urls = tuple(url for (_, url), found in zip(alone, answers, strict=True) if found[0].answers)
    return ServicesFound(tuple(state for found in answers for state in found), urls)


def _one(name: str, url: str) -> tuple[ServiceState, ...]:
    try:
        return tuple(_states(read_json(url), name))
    except ServiceSilentError as error:
        return (ServiceState(name, False, str(error), answers=False),)


def _states(document: object, name: str, depth: int = 0) -> Iterator[ServiceState]:
    if not isinstance(document, Mapping) or depth > DEEPEST:
        raise ServiceSilentError(f"{name} does not answer as a service of ours")
    found = str(document.get("name") or name)
    yield ServiceState(found, document.get("ok") is True, str(document.get("info") or ""), depth)
    for part in document.get("subcomponents") or ():
        yield from _states(part, found, depth + 1)


def read_counts(urls: Sequence[str]) -> list[ServiceCount]:
    """The counters of those services; a silent service has none."""
    found = []
    for url in urls:
        try:
            text = read_bytes(f"{url}/metrics").decode("utf-8", "replace")
            families = list(text_string_to_metric_families(text))
        except (ServiceSilentError, ValueError):
            continue
        for family in families:
            for sample in family.samples:
                if sample.name.startswith("opq_") and "service" in sample.labels:
                    counter = sample.name.removeprefix("opq_").removesuffix("_total")
                    labels = sample.labels
                    found.append(ServiceCount(labels["service"], counter, labels.get("of", ""), sample.value))
    return found


def read_connections(urls: Sequence[str]) -> dict[str, int] | None:
    """Box -> connections with its key, over all brokers that answer; None where no broker does."""
    found: dict[str, int] | None = None
    for url in urls:
        try:
            answer = read_json(f"{url}/connections")
        except ServiceSilentError:
            continue
        if isinstance(answer, Mapping) and all(isinstance(count, int) for count in answer.values()):
            found = {} if found is None else found
            for box_id, count in answer.items():
                found[str(box_id)] = found.get(str(box_id), 0) + count
    return found


def read_json(url: str) -> object:
    """The JSON document at a URL. Raises ServiceSilentError."""
    try:
        found: object = json.loads(read_bytes(url))
    except (ValueError, RecursionError) as error:
        raise ServiceSilentError(f"{url} answers no JSON") from error
    return found


def read_bytes(url: str) -> bytes:
    """The content of a URL. Raises ServiceSilentError."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            found: bytes = answer.read(MAX_BYTES)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceSilentError(f"{url} does not answer: {reason}") from error
    return found
