"""The cell of a Box, from full to empty and charged again, in a lapse of time, at a real gateway.

The figures of the cell and of the Box's load are those of device/analogue, whose tests compare them. The
course of the voltage over the charge is typical of a cell with cobalt oxide, and of no data sheet.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from opq_hil.suites.gateway_process import GatewayProcess
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, require
from opq_hil.world.world import (
    BATTERY_CHANNEL,
    NS_PER_S,
    SUPPLY_CHANNEL,
    PowerScript,
    World,
    voltage_readings,
)
from opq_proto.kit.http_client import send_request

CELL_AH, CELL_OHMS = 2.55, 0.35
"""ICR18650-26C; the resistance with that of its protection and of the charger's switch."""
SAMPLING_A, WAITING_A, CHARGE_A = 0.319, 0.277, 0.5
"""From the cell while the Box samples and while it waits for its supply; into it from the charger."""
COURSE = (
    (0.0, 2.80),
    (0.05, 3.35),
    (0.1, 3.55),
    (0.2, 3.65),
    (0.4, 3.74),
    (0.6, 3.84),
    (0.8, 3.98),
    (1.0, 4.20),
)
"""Share of the charge that is left, and volts without a load."""
CHARGED_V = 4.2
LOW_V = 3.4
"""The setting battery_low_v, at which the Box stops sampling."""
LAPSE = 1200
"""Seconds of the cell's life in one second of the world."""
LOST_S, BACK_S, SAG_S, END_S = 14, 38, 56, 62
"""The supply is lost, is back, and sinks below the detector's threshold for half a second."""
STEP_S = 0.25


def open_v(share: float) -> float:
    """Volts of the cell without a load."""
    shares, volts = zip(*COURSE, strict=True)
    return float(np.interp(share, shares, volts))


def course() -> Iterator[tuple[float, float, float]]:
    """Second of the world, volts at the cell, amperes out of it: full, discharged, charged again."""
    share, stopped = 1.0, False
    for step in range(round(END_S / STEP_S)):
        at_s = step * STEP_S
        amps = 0.0 if at_s < LOST_S else SAMPLING_A
        if LOST_S <= at_s < BACK_S:
            stopped = stopped or open_v(share) - SAMPLING_A * CELL_OHMS < LOW_V
            amps = WAITING_A if stopped else SAMPLING_A
        elif at_s >= BACK_S:
            amps = -CHARGE_A if share < 1.0 else 0.0
        yield at_s, min(open_v(share) - amps * CELL_OHMS, CHARGED_V), amps
        share = min(1.0, max(0.0, share - amps * STEP_S * LAPSE / 3600 / CELL_AH))


def stop_s() -> float:
    """Second of the world in which the voltage under the Box's load falls below LOW_V."""
    return next(at_s for at_s, volts, _ in course() if at_s >= LOST_S and volts < LOW_V)


def box_lines(gateway: GatewayProcess, event: str) -> list[Mapping[str, Any]]:
    """Lines of the gateway's log of one event (`box.on_battery`, ...), in order."""
    lines = (gateway.folder / "gateway.log").read_text(errors="replace").splitlines()
    read = [json.loads(line) for line in lines if f'"{event}"' in line]
    return [line for line in read if line["event"] == event]


def newest_start_s(gateway: GatewayProcess) -> float:
    """When the Box began to sample for the last time, in its own seconds since power-on."""
    return max(
        (line["uptime_ms"] / 1000 for line in box_lines(gateway, "box.converter_started")), default=0.0
    )


def battery_v(gateway: GatewayProcess) -> float | None:
    """The Box's battery in the gateway's /metrics; None: it has none yet, or does not answer yet."""
    try:
        text = send_request(f"http://{gateway.health_endpoint}/metrics", 60).content.decode()
    except OSError:
        return None
    found = re.search(r"^\w*box_battery_volts{[^}]*} (\S+)$", text, re.M)
    return float(found[1]) if found else None


def discharge(bench: Bench) -> Figures:
    """Hours on the cell, an orderly stop, a charge, a brown-out: the gateway has time and volts of each."""
    supply = voltage_readings(SUPPLY_CHANNEL, ((0, 5.0), (LOST_S, 0.0), (BACK_S, 5.0)))
    cell = voltage_readings(BATTERY_CHANNEL, tuple((at_s, volts) for at_s, volts, _ in course()))
    sag = ((SAG_S * NS_PER_S, True), (SAG_S * NS_PER_S + NS_PER_S // 2, False))
    world = World(3600 * NS_PER_S, power=PowerScript(adc=supply + cell, pvd=sag))
    seen: list[float] = []
    with (
        bench.live(world, settings={"box_id": "1"}) as box,
        GatewayProcess({"1": box.port}, bench.folder / "gateway", box.now_s) as gateway,
    ):
        gateway.wait_until(lambda: battery_v(gateway) is not None, 240.0, "the volts of the Box's battery")
        while box.now_s() < END_S:
            volts = battery_v(gateway)
            if volts is not None and LOST_S + 2 < box.now_s() < stop_s() - 1:
                seen.append(volts)  # empty where the gateway was slow to start
            gateway.pass_time(1.0)
        # a busy machine's gateway reads what the Box sent long before
        gateway.wait_until(lambda: newest_start_s(gateway) > SAG_S, 240.0, "a start after the sag")
        gateway.wait_until(lambda: (battery_v(gateway) or 0.0) > CHARGED_V - 0.2, 60.0, "a charged cell")
        [lost] = box_lines(gateway, "box.on_battery")
        [low] = box_lines(gateway, "box.battery_low")
        stops = box_lines(gateway, "box.stopped")
        starts = box_lines(gateway, "box.converter_started")
        blocks = gateway.blocks()
    on_cell_s = (low["uptime_ms"] - lost["uptime_ms"]) / 1000
    within("on battery", lost["uptime_ms"], LOST_S, 2.5)
    within("battery low", low["uptime_ms"], stop_s(), 2.5)
    require(abs(low["battery_mv"] - LOW_V * 1000) < 150, f"stopped at {low['battery_mv']} mV; want {LOW_V} V")
    require(seen == sorted(seen, reverse=True), f"the cell's volts do not fall: {seen}")
    reasons = [line["reason"] for line in stops]
    require(reasons == ["battery", "supply"], f"stopped for {reasons}; want battery, then supply")
    within("stopped, the supply sinks", stops[1]["uptime_ms"], SAG_S, 2.5)
    within("sampling, the supply is back", starts[-2]["uptime_ms"], BACK_S, 8.0)
    within("sampling after the sag", starts[-1]["uptime_ms"], SAG_S, 5.0)
    holes = sum(after.first_sample > before.end_sample for before, after in pairwise(blocks))
    require(holes == 0, f"{holes} holes in the ring")
    return {"hours_on_the_cell": round(on_cell_s * LAPSE / 3600, 1), "stopped_at_mv": low["battery_mv"]}


def within(what: str, uptime_ms: int, from_s: float, for_s: float) -> None:
    """Requires that the Box did it within `for_s` after the world's second `from_s`."""
    at_s = uptime_ms / 1000
    require(from_s - 1 < at_s < from_s + for_s, f"{what}: at {at_s:.1f} s; want it soon after {from_s:g} s")


SCENARIOS = (
    FirmwareScenario(
        "discharge", "a cell from full to empty and back, at a real gateway", discharge, suite="B"
    ),
)
