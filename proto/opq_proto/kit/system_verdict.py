"""Whether a system is well: what its folder's record and the answers of health addresses say together. Pure.

Where Health runs (in `opq-cloud all`, or alone) its verdicts say what is ill, and leave out what follows from
it; where none runs, each service's own answer counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opq_proto.kit.system_record import CLOUD, GATEWAY, HEALTH, RULES, MeantService, SystemRecord

Document = Mapping[str, Any]
JUDGES = (CLOUD, HEALTH)
"""Services whose /alerts has verdicts."""
WHOLE_SYSTEM = "opq"
"""As these two answer."""
VERDICT_NAMES = {CLOUD: WHOLE_SYSTEM, HEALTH: WHOLE_SYSTEM, "triggering-service": "makai"}
"""Service -> its name in answers and verdicts, where that is another."""
UPLINK = {CLOUD, "triggering-broker", "acquisition-broker"}
"""Without these a gateway here has no uplink, which it reports of each Box that samples."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What an address answered about health, or why it gave no answer."""

    document: Document | None
    problem: str = ""
    is_late: bool = False
    """Whether it may still answer: somebody is there, and its time ran out."""
    ours: bool = False
    """Whether it is of the judged data folder."""
    alerts: Document | None = None
    """The verdicts at the same address."""
    asked_s: float = 0.0
    answered_s: float = 0.0
    """Wall time before and after the request."""


class ServiceState(StrEnum):
    """What is known of a service."""

    RUNS = "runs"
    STOPPED = "does not run"
    HANGS = "does not answer"
    OTHER = "does not run here"


@dataclass(frozen=True, slots=True)
class ServiceVerdict:
    """A service that is meant to run, or runs."""

    name: str
    url: str
    state: ServiceState
    info: str = ""
    other: str = ""
    """The data folder of the system that answers in its place."""
    meant: bool = True

    @property
    def text(self) -> str:
        return f"{self.state}: {self.info}" if self.info else str(self.state)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not well."""

    name: str
    """A Box's id, a service, its part, or what a condition is about."""
    info: str
    helps: str = ""
    """What to do; empty: what `info` says."""

    @property
    def thing(self) -> str:
        """The name; a Box's as words."""
        return f"Box {self.name}" if self.name.isdigit() else self.name


@dataclass(frozen=True, slots=True)
class SystemVerdict:
    """The verdict of one data folder."""

    services: tuple[ServiceVerdict, ...]
    troubles: tuple[Trouble, ...]
    """What is wrong, services that do not run first; nothing that follows from another of them."""
    notes: tuple[Trouble, ...] = ()
    """What somebody should know though it is well."""
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Data folder of another system -> its addresses at this one's ports."""

    @property
    def ok(self) -> bool:
        """Whether something is meant to run, and all of it is well."""
        return any(each.meant for each in self.services) and not self.troubles

    @property
    def runs(self) -> bool:
        return any(each.state is ServiceState.RUNS for each in self.services)


def service_verdict(service: MeantService, answer: ServiceAnswer | None) -> ServiceVerdict:
    """The verdict of one service by the answer of its address."""
    name, url = service.name, service.health
    if answer is None or answer.document is None:
        late = answer is not None and answer.is_late
        info = f"no answer in time at {url}" if late else f"no service of ours answers at {url}"
        state = ServiceState.HANGS if late else ServiceState.STOPPED
        return ServiceVerdict(name, url, state, info)
    if service.here and not answer.ours:
        other = _folder(answer.document)
        whose = (
            f"the system of {other} answers" if other else "a program that does not name its system answers"
        )
        return ServiceVerdict(name, url, ServiceState.OTHER, f"{whose} at {url}", other)
    return ServiceVerdict(name, url, ServiceState.RUNS)


def system_verdict(record: SystemRecord, answers: Mapping[str, ServiceAnswer]) -> SystemVerdict:
    """Judges a data folder.

    Args:
        answers: by address: those of the record's services, and others at which something may answer.
    """
    services = [service_verdict(each, answers.get(each.health)) for each in record.services]
    is_whole = any(each.name == CLOUD and each.state is ServiceState.RUNS for each in services)
    known = {each.health for each in record.services}
    others: dict[str, tuple[str, ...]] = {}
    for each in services:
        if each.other:
            others[each.other] = (*others.get(each.other, ()), each.url)
    for url, answer in answers.items():
        if url in known or answer.document is None:
            continue
        name = str(answer.document.get("name"))
        if answer.ours and (name == RULES or (is_whole and name != GATEWAY)):
            continue  # a part of another: rules that run alone are in the record
        if answer.ours:
            services.append(ServiceVerdict(name, url, ServiceState.RUNS, meant=False))
        elif other := _folder(answer.document):
            others[other] = (*others.get(other, ()), url)
    troubles = [Trouble("record", record.problem)] if record.problem else []
    troubles += [Trouble(each.name, each.text) for each in services if each.state is not ServiceState.RUNS]
    troubles += _troubles(services, answers)
    return SystemVerdict(tuple(services), tuple(troubles), tuple(_notes(services, answers)), others)


def _troubles(services: list[ServiceVerdict], answers: Mapping[str, ServiceAnswer]) -> Iterator[Trouble]:
    """Yields what is wrong in services that run, and what Health reports of others."""
    running = [each for each in services if each.meant and each.state is ServiceState.RUNS]
    down = {each.name for each in services if each.state is not ServiceState.RUNS}
    named = set(map(_verdict_name, down))
    judges = (answers[each.url].alerts for each in running if each.name in JUDGES)
    alerts = next((each for each in judges if each is not None), None)
    judged = {} if alerts is None else {str(each["name"]): each for each in _parts(alerts)}
    service_names = {_verdict_name(each.name): each.name for each in running}
    for name, part in judged.items():
        if part.get("ok") is not True and name not in named:
            info = str(part.get("info") or "was not well until just now")
            yield Trouble(service_names.get(name, name), info, str(part.get("helps") or ""))
    for service in running:
        if service.name == HEALTH and alerts is not None:
            continue  # its parts are the others, whose answers are here
        document, own_name = answers[service.url].document, _verdict_name(service.name)
        listed = alerts is not None and (own_name in judged or own_name == WHOLE_SYSTEM)
        for part in () if document is None else _deepest(document):
            name = str(part["name"])
            name = own_name if part is document or name == service.name else name
            place = name if own_name == WHOLE_SYSTEM else part_name(own_name, name)
            if name.isdigit() and own_name == GATEWAY:
                is_known = name in judged or f"Box {name} at {GATEWAY}" in judged
            else:
                is_known = name.isdigit() or place in judged or name == own_name
            follows = bool(down & UPLINK) and part.get("sampling") and not part.get("connected")
            if not (listed and is_known) and not follows:
                yield Trouble(service.name if name == own_name else name, _info(part))


def _notes(services: list[ServiceVerdict], answers: Mapping[str, ServiceAnswer]) -> Iterator[Trouble]:
    """Yields each note of services that run and of Health's verdicts once."""
    found: dict[str, None] = {}
    for service in services:
        answer = answers.get(service.url)
        if answer is None or service.state is not ServiceState.RUNS:
            continue
        for document in (answer.alerts, answer.document):
            for part in () if document is None else _parts(document):
                if note := str(part.get("note") or ""):
                    found.setdefault(note)
    for note in found:
        yield Trouble("note", note)


def _deepest(document: Document) -> Iterator[Document]:
    """Yields the parts that are not ok; a whole whose part is not ok is so because of the part."""
    if document.get("ok") is True:
        return
    inner = [found for part in _parts(document) for found in _deepest(part)]
    yield from inner or [document]


def part_name(service: str, name: str) -> str:
    """The name of a service's part beside other services' parts."""
    return name if name == service or name.startswith(f"{service}.") else f"{name} of {service}"


def _verdict_name(service: str) -> str:
    return VERDICT_NAMES.get(service, service)


def _parts(document: Document) -> list[Document]:
    return [each for each in document.get("subcomponents") or () if isinstance(each, Mapping)]


def _info(part: Document) -> str:
    return str(part.get("info") or "is not well")


def _folder(document: Document) -> str:
    system = document.get("system")
    return str(system.get("data_dir") or "") if isinstance(system, Mapping) else ""
