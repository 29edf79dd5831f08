"""Causes by name, as used in scenario files and by `opq-tools sim event`."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping

from opq_sim.power_system.causes.arc_furnace import ArcFurnace
from opq_sim.power_system.causes.capacitor_switching import CapacitorSwitching
from opq_sim.power_system.causes.cause import Cause
from opq_sim.power_system.causes.converter_loads import ConverterLoad
from opq_sim.power_system.causes.fault import ClearedFault
from opq_sim.power_system.causes.islanding import Islanding
from opq_sim.power_system.causes.lightning import Lightning
from opq_sim.power_system.causes.lost_neutral import LostNeutral
from opq_sim.power_system.causes.motor_start import MotorStart
from opq_sim.power_system.causes.ripple_control import RippleControl
from opq_sim.power_system.causes.tap_changer import TapChange
from opq_sim.power_system.causes.transformer_energising import TransformerEnergising
from opq_sim.power_system.causes.uneven_load import UnevenLoad
from opq_sim.power_system.causes.unit_trip import UnitTrip

CauseValue = float | int | str | bool
KINDS: tuple[type[Cause], ...] = (
    ClearedFault,
    CapacitorSwitching,
    MotorStart,
    TransformerEnergising,
    Lightning,
    TapChange,
    LostNeutral,
    ConverterLoad,
    ArcFurnace,
    RippleControl,
    Islanding,
    UnitTrip,
    UnevenLoad,
)
CAUSES: dict[str, type[Cause]] = {kind.name: kind for kind in KINDS}
"""Name -> class of the cause."""


def cause_of(name: str, at: str, values: Mapping[str, CauseValue]) -> Cause:
    """Makes a cause from its name, a place and the given values.

    Raises:
        ValueError: no such cause, no such field, or a value is out of range.
    """
    kind = CAUSES.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is not a cause; want one of {', '.join(CAUSES)}")
    types = typing.get_type_hints(kind)
    settable = [each.name for each in dataclasses.fields(kind) if each.name != "at"]
    checked: dict[str, CauseValue] = {}
    for key, value in values.items():
        if key not in settable:
            near = difflib.get_close_matches(key, settable, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(settable)}"
            raise ValueError(f"{name} has no {key!r}; {hint}")
        checked[key] = _checked(name, key, types[key], value)
    return kind(at=at, **checked)


def _checked(name: str, key: str, wanted: object, value: CauseValue) -> CauseValue:
    """The value, converted to the field's type."""
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if wanted is bool and isinstance(value, bool):
        return value
    if typing.get_origin(wanted) is typing.Literal:
        choices = typing.get_args(wanted)
        if value in choices:
            return value
        raise ValueError(f"{name}: {key} is {value!r}; want one of {', '.join(choices)}")
    if wanted is str and isinstance(value, str):
        return value
    words = {float: "a number", bool: "true or false", str: "text"}
    raise ValueError(f"{name}: {key} is {value!r}; want {words.get(wanted, 'something else')}")  # type: ignore[call-overload]
