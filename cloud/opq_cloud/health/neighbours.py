"""Asks services in other processes for their health.

All are asked at once, so that a slow one does not delay the others. A component with an old time stamp counts
as down. The original does neither (docs/reference/opq-interop.md H.38), and waits for only 2 s (A.11), which
a busy machine may exceed.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from opq_cloud.core.service import STALE_S, HealthReport, ServiceCounters
from opq_cloud.health.readings import Answer
from opq_proto.kit.system_answers import read_answer
from opq_proto.kit.system_record import MeantService, RecordReader, SystemIdentity
from opq_proto.kit.system_verdict import VERDICT_NAMES, ServiceState, service_verdict

TIMEOUT_S = 4.0
MOST_AT_ONCE = 32


class Neighbours:
    """Reads the health of services in other processes: those in the record of the data folder, and those that
    the configuration names on other machines.

    Counters: `asked`, `not_answered`, by name.
    """

    def __init__(
        self,
        own_name: str,
        own: SystemIdentity,
        elsewhere: Sequence[MeantService],
        counters: ServiceCounters,
    ) -> None:
        """`own_name`: the service that asks, as the record names it."""
        self.counters = counters
        self._own_name, self._own, self._elsewhere = own_name, own, elsewhere
        self._record = RecordReader(Path(own.data_dir))
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, "neighbours")

    def read(self) -> list[Answer]:
        """Asks all at once; takes at most TIMEOUT_S or a little longer."""
        return list(self._pool.map(self._read, self._services()))

    def _services(self) -> list[MeantService]:
        here = self._record.read().services
        found = {each.health: each for each in self._elsewhere}
        found |= {each.health: each for each in here if each.name != self._own_name}
        return list(found.values())

    def _read(self, service: MeantService) -> Answer:
        name = VERDICT_NAMES.get(service.name, service.name)
        self.counters.add("asked", label=name)
        answer = read_answer(service.health, self._own, TIMEOUT_S)
        verdict, document = service_verdict(service, answer), answer.document
        problem = answer.problem if document is None else verdict.text
        try:
            if document is not None:
                health_from_json(document)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            document, problem = None, f"{service.health}: {error}"
        if document is None or verdict.state is not ServiceState.RUNS:
            self.counters.add("not_answered", label=name)
            return Answer(name, None, problem, is_late=answer.is_late)
        is_gateway = document["name"] == "gateway"
        return Answer(name, document, "", answer.asked_s, answer.answered_s, is_gateway)


def report_of(answer: Answer) -> HealthReport:
    """The answer as a part of our own health."""
    if answer.document is None:
        return HealthReport(answer.name, False, info=answer.problem)
    return health_from_json(answer.document, answer.name)


def health_from_json(
    document: Mapping[str, Any], name: str | None = None, now_s: float | None = None
) -> HealthReport:
    """Returns the HealthReport in a document of the original's form.

    A report older than STALE_S is not ok. The age of a Box counts from `received` where the document has it,
    because a Box whose data arrive late is not silent, else from `timestamp`. A time in the future is new.

    Raises:
        KeyError, TypeError, ValueError: the document has another form.
    """
    now_s = time.time() if now_s is None else now_s
    timestamp_s = int(document["timestamp"])
    received_s = None if document.get("received") is None else int(document["received"])
    age_s = int(now_s) - (timestamp_s if received_s is None else received_s)
    ok = document["ok"] is True and age_s < STALE_S
    info = document.get("info")
    if document["ok"] is True and not ok:
        info = f"last heard {age_s} s ago"
    parts = tuple(health_from_json(part, None, now_s) for part in document.get("subcomponents") or ())
    return HealthReport(name or str(document["name"]), ok, timestamp_s, info, parts, received_s)
