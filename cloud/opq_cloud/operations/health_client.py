"""Reads what the services report about themselves over HTTP, like any client: health and counters.

The data folder's record says which services are meant to run, and the configuration which others are watched.
What is wrong is judged as by `opq-tools status`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_proto.errors import OpqError
from opq_proto.kit.http_client import HttpClientError, fetch
from opq_proto.kit.system_answers import read_answers
from opq_proto.kit.system_record import MeantService, SystemIdentity, SystemRecord, read_record
from opq_proto.kit.system_verdict import ServiceState as State
from opq_proto.kit.system_verdict import system_verdict

TIMEOUT_S = 2.0
MAX_BYTES = 8 * 2**20
MAX_DEPTH = 6


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
    """The addresses that answered, without the path of health."""
    troubles: tuple[ServiceState, ...] = ()
    """The problems, without those that follow from another one."""


def read_services(addresses: ServiceAddresses) -> ServicesFound:
    """The health of all services; a service that does not answer has a state of its own."""
    own = addresses.system
    record = SystemRecord(SystemIdentity("", "")) if own is None else read_record(Path(own.data_dir))
    known = {each.health for each in record.services}
    watched = [MeantService(name, url, here=False) for name, url in addresses.health if url not in known]
    record = replace(record, services=(*record.services, *watched))
    answers = read_answers((each.health for each in record.services), record.identity, TIMEOUT_S)
    verdict = system_verdict(record, answers)
    states: list[ServiceState] = []
    urls = []
    for service in verdict.services:
        document = answers[service.url].document
        try:
            if document is None or service.state is not State.RUNS:
                raise ServiceSilentError(service.text)
            states += _states(document, service.name)
            urls.append(service.url.removesuffix("/health").rstrip("/"))
        except ServiceSilentError as error:
            states.append(ServiceState(service.name, False, str(error), answers=False))
    silent = {each.name for each in states if not each.answers}
    troubles = (
        ServiceState(each.name, False, each.info, answers=each.name not in silent)
        for each in verdict.troubles
    )
    return ServicesFound(tuple(states), tuple(urls), tuple(troubles))


def _states(document: object, name: str, depth: int = 0) -> Iterator[ServiceState]:
    if not isinstance(document, Mapping) or depth > MAX_DEPTH:
        raise ServiceSilentError(f"{name} is not a service of OPQ")
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
        raise ServiceSilentError(f"{url} does not answer with JSON") from error
    return found


def read_bytes(url: str) -> bytes:
    """The content of a URL. Raises ServiceSilentError."""
    try:
        return fetch(url, TIMEOUT_S, MAX_BYTES)
    except HttpClientError as error:
        raise ServiceSilentError(f"{url} does not answer: {error}") from error
