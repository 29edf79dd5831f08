"""An island of Boxes for the map: places, regions, a day of trends, a sag that crosses the island.

All of it is made up except the coastline. The sag travels at 400 km/s, as slowly as electromechanical waves
in a grid.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.incidents.join_plan import IncidentFacts, JoinPlan, KnownFinding
from opq_cloud.view.pages.visible.fuzz import Place, distance_km
from opq_proto.messages import BoxArrival, Finding, Incident, Measurement, Metric, TimeSource, Trend, Trigger

NOMINAL_V, GRID_HZ = 120.0, 59.983
SPEED_KM_PER_S = 400.0
CLOCK_NS = 500_000
DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class IslandOutlet:
    """A Box, its place, and the voltage at its outlet."""

    box_id: str
    name: str
    region: str
    at: Place
    steady_v: float


ISLAND = (
    IslandOutlet("21", "harbour", "Leeward", (21.338, -158.118), 121.4),
    IslandOutlet("22", "school", "Leeward", (21.442, -158.188), 119.2),
    IslandOutlet("23", "highland", "Central", (21.497, -158.025), 118.1),
    IslandOutlet("24", "farm", "North Shore", (21.578, -158.115), 112.7),
    IslandOutlet("25", "reef", "North Shore", (21.668, -158.050), 116.9),
    IslandOutlet("26", "valley", "Honolulu", (21.330, -157.860), 122.6),
    IslandOutlet("27", "campus", "Honolulu", (21.299, -157.818), 123.0),
    IslandOutlet("28", "bay", "Windward", (21.405, -157.790), 126.9),
    IslandOutlet("29", "cape", "Windward", (21.310, -157.660), 120.3),
)


def island_measurement(outlet: IslandOutlet, t_ms: int, sequence: int) -> Measurement:
    """One second of an outlet; the frequency is the same everywhere."""
    rms_v, f_hz = _volts(outlet, t_ms), _hertz(t_ms)
    return Measurement(
        box_id=outlet.box_id,
        timestamp_ms=t_ms,
        metrics={
            "rms": Metric(rms_v - 0.1, rms_v + 0.1, rms_v),
            "f": Metric(f_hz - 0.003, f_hz + 0.003, f_hz),
            "thd": Metric(0.019, 0.021, 0.02),
        },
        start_ns=(t_ms - 1000) * 1_000_000,
        end_ns=t_ms * 1_000_000,
        uncertainty_ns=CLOCK_NS,
        source=TimeSource.GPS,
        sequence=sequence,
    )


def fill_island(
    store: CloudStore, now_ns: int, minutes: int = DAY_MINUTES, outlets: Sequence[IslandOutlet] = ISLAND
) -> Incident:
    """Stores Boxes, a day of minutes, and the sag, which is ten minutes old."""
    now_ms = now_ns // 1_000_000
    for outlet in outlets:
        place = outlet.name.replace(" ", "-")
        store.put_location(LocationRecord(place, *outlet.at))
        store.put_box(BoxRecord(outlet.box_id, outlet.name, place, region=outlet.region))
        store.put_trends(_minutes(outlet, now_ms, minutes))
    while store.roll_up(now_ms):
        pass
    return put_travelling_sag(store, now_ns - 600 * 10**9, outlets)


def put_travelling_sag(
    store: CloudStore, start_ns: int, outlets: Sequence[IslandOutlet] = ISLAND, scope: str = "wide_area"
) -> Incident:
    """Stores a sag that reached the first outlet first, with its arrivals, as Mauka does."""
    first = outlets[0]
    findings = []
    for outlet in outlets:
        off_km = distance_km(first.at, outlet.at)
        begin_ns = start_ns + round(off_km / SPEED_KM_PER_S * 1e9)
        percent = 62.0 + off_km / 2
        findings.append(
            Finding(
                kind="sag",
                box_id=outlet.box_id,
                start_ns=begin_ns,
                end_ns=begin_ns + 180_000_000,
                uncertainty_ns=CLOCK_NS,
                closed=True,
                residual_v=NOMINAL_V * percent / 100,
                residual_percent=percent,
                duration_cycles=10.8,
            )
        )
    findings.sort(key=lambda each: each.start_ns)
    box_ids = tuple(each.box_id for each in findings)
    end_ns = findings[-1].end_ns
    trigger = Trigger(f"island-{start_ns}", start_ns, end_ns, box_ids, box_ids[0], "made up")
    event_id = store.open_event(trigger, "made up")
    store.finish_event(event_id)
    known = tuple(
        KnownFinding(-number, -1, (event_id,), each, leads=number == 1)
        for number, each in enumerate(findings, start=1)
    )
    facts = IncidentFacts(
        -1,
        "sag",
        findings[0].residual_percent,
        start_ns,
        end_ns,
        True,
        len(findings),
        scope,
        6.0,
        arrivals=tuple(BoxArrival(each.box_id, each.start_ns, each.uncertainty_ns) for each in findings),
        worst=(38.0, 180_000_000, -start_ns, box_ids[0]),
    )
    while True:
        plan = JoinPlan(store.join_revision(), event_id, written=known, facts=(facts,), answer=known)
        done = store.carry_out(plan)
        if done is not None:
            break
    store.mark_analysed(event_id)
    found = store.incident(done.stored[0].incident_id)
    assert found is not None
    return found


def _minutes(outlet: IslandOutlet, now_ms: int, minutes: int) -> Iterator[Trend]:
    """Yields one-minute trends up to now; one Box was silent for two hours."""
    for minute in range(minutes, 0, -1):
        if outlet.box_id == "24" and 500 < minute < 620:
            continue
        t_ms = (now_ms // 60_000 - minute) * 60_000
        rms_v, f_hz = _volts(outlet, t_ms), _hertz(t_ms)
        metrics = {
            "rms": (rms_v - 0.9, rms_v + 0.8, rms_v),
            "f": (f_hz - 0.009, f_hz + 0.009, f_hz),
            "thd": (0.018, 0.022, 0.02),
        }
        yield Trend(outlet.box_id, t_ms, metrics, covered_ms=60_000)


def _volts(outlet: IslandOutlet, t_ms: int) -> float:
    day = 2 * math.pi * t_ms / 86_400_000
    return outlet.steady_v + 1.6 * math.sin(day + len(outlet.name)) + 0.4 * math.sin(t_ms / 700_000)


def _hertz(t_ms: int) -> float:
    return GRID_HZ + 0.012 * math.sin(t_ms / 53_000) + 0.003 * math.sin(t_ms / 3_100)
