"""`opq-gateway status`: what this machine's gateway says of its Boxes, their clocks and open claim codes."""

from typing import Any

from opq_gateway.local.running_gateway import RunningGateway
from opq_proto.errors import OpqError

UNKNOWN_NS = 2**32 - 1
SOURCES = {"gps": "GPS", "holdover": "GPS lost, held over", "ntp": "by another clock", "free": "free-running"}


def ask_status(endpoint: str, port_offset: int) -> dict[str, Any]:
    """`{"boxes", "gps_comparison", "claim_codes"}`.

    Raises:
        ConfigError: the endpoint is no address.
        OpqError: nobody answers there, or it is no gateway.
    """
    gateway = RunningGateway(endpoint, port_offset)
    (_, health), (_, codes) = (gateway.ask("GET", path) for path in ("/", "/claim-codes"))
    if not isinstance(health, dict) or health.get("name") != "gateway":
        raise OpqError(f"{gateway.address} answers, and is no gateway")
    return {
        "boxes": health.get("subcomponents") or [],
        "gps_comparison": health.get("gps_comparison"),
        "claim_codes": codes if isinstance(codes, list) else [],
    }


def status_words(status: dict[str, Any]) -> list[str]:
    """Lines that a person reads."""
    lines = [
        f"Box {box.get('name')}: {_state(box)}; "
        f"time {SOURCES.get(str(box.get('time_source')), 'not known')}{_bound(box.get('uncertainty_ns'))}"
        for box in status["boxes"]
    ]
    gps = status["gps_comparison"]
    if not gps or gps.get("box_id") is None:
        lines.append("GPS: no Box here gives this machine the time")
    else:
        held = ", lost and held over" if gps.get("held") else ""
        off_ns = gps.get("system_clock_off_ns")
        off = "" if off_ns is None else f"; this machine's clock is off by {off_ns / 1e6:+.3f} ms"
        lines.append(f"GPS: of Box {gps['box_id']}{held}{_bound(gps.get('uncertainty_ns'))}{off}")
        apart = gps.get("apart_ns") or {}
        lines += [f"GPS: Box {box_id} contradicts it by {ns / 1e6:+.3f} ms" for box_id, ns in apart.items()]
    codes = [
        f"claim code of Box {code['box_id']}: {code['code']}, "
        f"for {round(float(code['valid_s']) / 60)} minutes, once"
        for code in status["claim_codes"]
    ]
    return lines + (codes or ["no claim code is open; opq-gateway claim-code BOX shows one"])


def _state(box: dict[str, Any]) -> str:
    info = box.get("info")
    return "; ".join(filter(None, ("well" if box.get("ok") or not info else "", info)))


def _bound(ns: object) -> str:
    """` ± 1.2 ms`; empty where it is not known."""
    if not isinstance(ns, int) or ns >= UNKNOWN_NS:
        return ""
    units = ((1e9, "s"), (1e6, "ms"), (1e3, "\u00b5s"), (0.0, "ns"))
    size, unit = next(each for each in units if ns >= each[0])
    size = size or 1.0
    return f" \u00b1 {float(f'{ns / size:.2g}'):g} {unit}"
