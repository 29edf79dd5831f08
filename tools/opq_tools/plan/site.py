"""The machines that a number of Boxes needs: pure arithmetic on the measured `figures.py`.

One Makai is a system of its own: brokers, triggering service, event service, Mauka, View, and a store. Its
busiest process limits the number of Boxes, because each process is one thread of Python. Several Makais
share no Boxes and no store; `docs/plan.md` describes the consequences.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from opq_tools.plan import figures
from opq_tools.plan.figures import Figure

DAY_S = 86_400
MAX_MAKAIS = 1_000_000
NR_OPEN = 1_048_576
"""Linux' default of fs.nr_open: the most descriptors of one process."""
OWN_DESCRIPTORS = 100
"""Descriptors not used for Boxes: libraries, store, log, sockets of threads. Counted: 60 to 75."""
SPARE = 1.25
"""Factor on descriptors and the kernel's tables, for ended connections that are not yet released."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The demand to plan for."""

    boxes: int
    rate_hz: float = 1.0
    """Measurements per second of each Box."""
    core_share: float = 0.5
    """The share of one core that the busiest process may use on average."""
    boxes_per_gateway: int = 64
    events_per_month: float = 3.0
    """Events per month in which one Box is the first to see the disturbance."""
    boxes_per_event: int = 50
    measurements_days: float = 1.0
    trend_days: float = 90.0
    event_days: float = 30.0


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One need; `figures`: the figures that it was computed from."""

    part: str
    what: str
    value: float
    unit: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The needs of one Makai and of all together."""

    demand: Demand
    makais: int
    boxes_each: int
    rows: tuple[PlanRow, ...]
    settings: tuple[tuple[str, int], ...]
    """Smallest settings of the kernel and of a service's unit, on a machine with one Makai."""

    def row(self, part: str, what: str) -> PlanRow:
        return next(row for row in self.rows if (row.part, row.what) == (part, what))


@dataclass(frozen=True, slots=True)
class ServiceCost:
    """CPU of one service: cores = fixed + per_box * Boxes + per_measurement * Measurements a second."""

    fixed: float
    per_box: float
    per_measurement: float

    def cores(self, boxes: float, rate_hz: float) -> float:
        return self.fixed + boxes * (self.per_box + rate_hz * self.per_measurement)


@cache
def service_cost(service: str) -> ServiceCost:
    """Fits the cost by least squares of the relative error over all measured points; no part is negative."""
    points = np.array(figures.COST_US[service])
    boxes, rates = points[:, 0], points[:, 1]
    measured = boxes * rates * points[:, 2] * 1e-6
    parts = np.stack((np.ones_like(boxes), boxes, boxes * rates), axis=1) / measured[:, None]
    wanted, used = np.ones_like(measured), [0, 1, 2]
    while True:
        found = np.linalg.lstsq(parts[:, used], wanted, rcond=None)[0]
        if np.all(found >= 0):
            break
        used.pop(int(np.argmin(found)))  # the most negative part is left out
    each = np.zeros(3)
    each[used] = found
    return ServiceCost(*map(float, each))


def cores(service: str, boxes: float, rate_hz: float) -> float:
    return service_cost(service).cores(boxes, rate_hz)


def makais_for(demand: Demand) -> int:
    """The fewest Makais such that no process exceeds `core_share` or the limit of descriptors."""
    low, high = 1, MAX_MAKAIS
    while low < high:
        middle = (low + high) // 2
        if _fits(demand, math.ceil(demand.boxes / middle)):
            high = middle
        else:
            low = middle + 1
    return low


def _fits(demand: Demand, boxes: int) -> bool:
    busiest = max(cores(service, boxes, demand.rate_hz) for service in figures.COST_US)
    return busiest <= demand.core_share and _descriptors(2 * boxes, 2) <= NR_OPEN


def _descriptors(connections: int, backend_addresses: int) -> int:
    return connections + backend_addresses * figures.BACKEND_CONNECTIONS + OWN_DESCRIPTORS


def plan_site(demand: Demand, makais: int | None = None) -> SitePlan:
    """Plans a site; `makais` None: as few as possible."""
    count = makais_for(demand) if makais is None else makais
    boxes = math.ceil(demand.boxes / count)
    per_s = boxes * demand.rate_hz
    rows = [
        PlanRow("Makai", "systems of their own", count, ""),
        PlanRow("Makai", "Boxes of one", boxes, ""),
        PlanRow("Makai", "processes of one, `opq-cloud NAME`", figures.PROCESSES, ""),
    ]
    rows += [
        PlanRow(service, "CPU", cores(service, boxes, demand.rate_hz), "cores", (figures.MAKAI,))
        for service in figures.COST_US
    ]
    rows += _analysis(demand, boxes)
    rows += _descriptors_and_memory(boxes)
    rows += _disk(demand, boxes, per_s)
    rows += _network(demand, boxes, per_s)
    rows += _gateways(demand)
    rows += _whole(rows, count)
    return SitePlan(demand, count, boxes, tuple(rows), _settings(boxes))


def _analysis(demand: Demand, boxes: int) -> list[PlanRow]:
    waves_per_s = boxes * demand.events_per_month / 30 / DAY_S * min(demand.boxes_per_event, boxes)
    used = waves_per_s * figures.ANALYSIS_S.value
    return [PlanRow("mauka", "CPU", used, "cores", (figures.ANALYSIS_S,))]


def _descriptors_and_memory(boxes: int) -> list[PlanRow]:
    rows = []
    for service, connections, addresses in (
        ("triggering-broker", boxes, 1),
        ("acquisition-broker", 2 * boxes, 2),
    ):
        used = _descriptors(connections, addresses)
        rows.append(PlanRow(service, "descriptors", used, ""))
        base = figures.BASE_MB.value
        kb = figures.SENDING_KB if addresses == 1 else figures.CONNECTION_KB
        rows.append(
            PlanRow(service, "memory", base + connections * kb.value / 1000, "MB", (kb, figures.BASE_MB))
        )
        seconds = connections / figures.HANDSHAKES_PER_S.value
        rows.append(PlanRow(service, "all connected again", seconds, "s", (figures.HANDSHAKES_PER_S,)))
    each = figures.SERVICE_KB
    total = figures.SERVICE_MB.value + boxes * each.value / 1000
    rows.append(PlanRow("triggering-service", "memory", total, "MB", (each, figures.SERVICE_MB)))
    return rows


def _disk(demand: Demand, boxes: int, per_s: float) -> list[PlanRow]:
    minutes = boxes * DAY_S / 60
    written = per_s * DAY_S * figures.MEASUREMENT_WRITTEN.value + minutes * figures.TREND_WRITTEN.value
    waves = boxes * demand.events_per_month / 30 * min(demand.boxes_per_event, boxes)
    samples = waves * figures.EVENT_BYTES.value
    kept = {
        "Measurements": per_s * DAY_S * demand.measurements_days * figures.MEASUREMENT_ON_DISK.value,
        "trends": minutes * demand.trend_days * figures.TREND_ON_DISK.value,
        "events": samples * demand.event_days,
    }
    of = {
        "Measurements": figures.MEASUREMENT_ON_DISK,
        "trends": figures.TREND_ON_DISK,
        "events": figures.EVENT_BYTES,
    }
    by = (figures.MEASUREMENT_WRITTEN, figures.TREND_WRITTEN, figures.EVENT_BYTES)
    rows = [PlanRow("store", "written a day", (written + samples) / 1e9, "GB", by)]
    rows += [PlanRow("store", f"{name}, kept", size / 1e9, "GB", (of[name],)) for name, size in kept.items()]
    return [*rows, PlanRow("store", "kept in all", sum(kept.values()) / 1e9, "GB", tuple(of.values()))]


def _network(demand: Demand, boxes: int, per_s: float) -> list[PlanRow]:
    uplink, idle = figures.UPLINK_BYTES, figures.UPLINK_IDLE_BYTES
    bytes_per_s = boxes * idle.value + per_s * (uplink.value - idle.value)
    return [
        PlanRow("network", "Boxes, both ways", bytes_per_s * 8 / 1e6, "Mbit/s", (uplink, idle)),
        PlanRow("network", "samples, at most", figures.BUDGET_BYTES_PER_MIN / 60 * 8 / 1e6, "Mbit/s", ()),
    ]


def _gateways(demand: Demand) -> list[PlanRow]:
    count = math.ceil(demand.boxes / demand.boxes_per_gateway)
    here = min(demand.boxes, demand.boxes_per_gateway)
    return [
        PlanRow("gateways", "in all", count, ""),
        PlanRow(
            "gateways", "CPU of one",
            here * figures.GATEWAY_CORES.value, "cores", (figures.GATEWAY_CORES,),
        ),
        PlanRow(
            "gateways", "raw samples of a day on its disk",
            here * figures.RING_GB.value, "GB", (figures.RING_GB,),
        ),
    ]  # fmt: skip


def _whole(rows: list[PlanRow], makais: int) -> list[PlanRow]:
    """Rows for all Makais together, without gateways."""
    used = sum(row.value for row in rows if row.what == "CPU")
    kept = next(row.value for row in rows if row.what == "kept in all")
    memory = sum(row.value for row in rows if row.what == "memory")
    return [
        PlanRow("all Makais", "CPU of these services", makais * used, "cores"),
        PlanRow("all Makais", "memory of brokers and triggering services", makais * memory / 1000, "GB"),
        PlanRow("all Makais", "kept in all", makais * kept / 1000, "TB"),
    ]


def _settings(boxes: int) -> tuple[tuple[str, int], ...]:
    """Settings for one machine with one whole Makai."""
    nofile = _rounded(SPARE * _descriptors(2 * boxes, 2))
    connections = SPARE * 3 * boxes
    return (
        ("LimitNOFILE (ulimit -n)", nofile),
        ("fs.nr_open", max(NR_OPEN, nofile)),
        ("fs.file-max", _rounded(connections + 65_536)),
        ("net.netfilter.nf_conntrack_max", _rounded(connections + 65_536)),
    )


def _rounded(value: float) -> int:
    """Rounds up to a power of two, at least 1024."""
    return int(1 << max(10, math.ceil(math.log2(value))))
