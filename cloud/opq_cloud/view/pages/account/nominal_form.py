"""Nominal values from a form, checked against what the Box measures and against its grid.

A wrong nominal value makes every Measurement a disturbance: 230 V typed for 120 V is a sag without end. So an
owner's values must fit what is measured now, and the frequency must be that of the grid's other Boxes.
"""

import math
import time

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_cloud.view.web.forms import SentForm
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, Measurement

LATELY_MS = 600_000
MIN_SHARE = 0.7
"""Least measured rms as a share of the nominal voltage; below it for seconds, the nominal voltage is
wrong."""
MAX_SHARE = 1.4
"""Largest measured rms as a share of the nominal voltage."""
MIN_SUPPLY_V = 20.0
"""An outlet with less has no supply, so it shows nothing about its nominal voltage."""
MAX_DEVIATION_HZ = 5.0
"""The middle between 50 and 60 Hz is this far from both."""


def read_nominal_form(form: SentForm, store: CloudStore, box_id: str) -> BoxRecord:
    """The values of a form as a record for the store; an empty field leaves the stored value.

    Raises ValueError with a sentence where a value is not a number, or does not fit Box or grid.
    """
    volts = read_number(form, "nominal_v", "The nominal voltage", NOMINAL_V, "V")
    hertz = read_number(form, "nominal_hz", "The nominal frequency", NOMINAL_HZ, "Hz")
    known = store.box(box_id) or BoxRecord(box_id, "")
    now_ms = time.time_ns() // 1_000_000
    newest = store.measurements(box_id, now_ms - LATELY_MS, now_ms + 60_000)[-1:]
    rms, f = (newest[0].metrics.get(name) if newest else None for name in ("rms", "f"))
    supplied = rms is not None and rms.average > MIN_SUPPLY_V
    if volts and rms is not None and supplied and not MIN_SHARE <= rms.average / volts <= MAX_SHARE:
        low, high = rms.average / MAX_SHARE, rms.average / MIN_SHARE
        raise ValueError(
            f"The Box measures {rms.average:.1f} V now, so its nominal voltage cannot be {volts:g} V; want "
            f"{low:.0f} to {high:.0f} V."
        )
    if hertz is not None and f is not None and abs(f.average - hertz) > MAX_DEVIATION_HZ:
        raise ValueError(
            f"The Box measures {f.average:.2f} Hz now, so its nominal frequency cannot be {hertz:g} Hz; "
            f"want one within {MAX_DEVIATION_HZ:g} Hz of that."
        )
    if hertz is not None and hertz != known.nominal_hz:
        _hold_to_grid(store, known, hertz)
    return BoxRecord(box_id, "", nominal_v=volts, nominal_hz=hertz)


def nominal_misfit(measured: Measurement, nominal_v: float, nominal_hz: float) -> str:
    """Compares measured with nominal values where they mean another supply; empty where they fit.

    A voltage below nominal may also be a disturbance, so there only the frequency counts.
    """
    rms, f = (measured.metrics.get(name) for name in ("rms", "f"))
    if rms is None or f is None or rms.average <= MIN_SUPPLY_V:
        return ""
    if rms.average <= MAX_SHARE * nominal_v and abs(f.average - nominal_hz) <= MAX_DEVIATION_HZ:
        return ""
    nominal = f"{nominal_v:g} V, {nominal_hz:g} Hz are nominal"
    return f"It measures {rms.average:.0f} V, {f.average:.1f} Hz where {nominal}"


def _hold_to_grid(store: CloudStore, known: BoxRecord, hertz: float) -> None:
    others = {
        box.nominal_hz
        for box in store.boxes()
        if box.box_id != known.box_id and (box.grid or "1") == (known.grid or "1") and box.nominal_hz
    }
    if others and hertz not in others:
        frequencies = " or ".join(f"{each:g}" for each in sorted(others))
        raise ValueError(
            f"The other Boxes of this grid have {frequencies} Hz, so {hertz:g} Hz cannot be right "
            "for one of them. If the Box is on another grid, an administrator has to set that first."
        )


def read_number(form: SentForm, name: str, noun: str, limits: tuple[float, float], unit: str) -> float | None:
    """The typed number; None where nothing was typed. Raises ValueError where it is not within `limits`."""
    text = form.text(name, 20)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{noun} is {text}; want a number from {limits[0]:g} to {limits[1]:g} {unit}.")
    return value
