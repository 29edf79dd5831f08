"""The netlist as a deck for ngspice: a solver's view of the copper, for the test of check.py's formulas.

Resistors and capacitors are taken as they stand. Amplifiers are ideal, the isolation amplifier is its gain,
input resistance and common mode; supplies are at rest. The source is between L and N.
"""

from collections.abc import Mapping, Sequence

from parts import Net, Part

LARGE = 1e6
SUPPLIES = {"5V": 5.0, "5V_HOT": 5.0, "VDDA": 3.3, "REF": 4.096}


def node(nets: Sequence[Net], ref: str, pin: str) -> str:
    """The deck's name of the node at a pin; both grounds are one: nothing flows over the barrier."""
    for net in nets:
        if (ref, pin) in net.pins:
            return "0" if net.name in ("GND", "N_HOT") else net.name.replace("+", "_p").replace("-", "_n")
    raise ValueError(f"{ref}.{pin} is in no net")


def two_poles(parts: Mapping[str, Part], nets: Sequence[Net]) -> list[str]:
    lines = []
    for ref, part in sorted(parts.items()):
        if ref[0] in "RC" and ref != "RV1":
            lines.append(f"{ref} {node(nets, ref, '1')} {node(nets, ref, '2')} {part.value:g}")
    return lines


def amplifiers(parts: Mapping[str, Part], nets: Sequence[Net]) -> list[str]:
    def at(ref: str, pin: str) -> str:
        return node(nets, ref, pin)

    isolation = parts["U1"]
    lines = [f"RU1 {at('U1', 'INP')} {at('U1', 'INN')} {isolation['ohms']:g}"]
    for sign, pin in ((1, "OUTP"), (-1, "OUTN")):
        half = sign * isolation["gain"] / 2
        control = f"{at('U1', 'INP')} {at('U1', 'INN')}"
        lines += [f"EU1{pin} {at('U1', pin)} common {control} {half:g}"]
    lines.append(f"VCOMMON common 0 {isolation['common_volts']:g}")
    inputs = f"{at('U3', 'VIN+')} {at('U3', 'VIN-')}"
    lines.append(f"EMIDDLE middle 0 {at('U3', 'VOCM')} 0 1")
    for sign, pin in ((1, "VOUT+"), (-1, "VOUT-")):
        lines.append(f"EU3{'P' if sign > 0 else 'N'} {at('U3', pin)} middle {inputs} {sign * LARGE / 2:g}")
    for ref, plus, minus, out in (
        ("U6", "INA+", "INA-", "OUTA"),
        ("U6", "INB+", "INB-", "OUTB"),
        ("U7", "IN+", "IN-", "OUT"),
    ):
        lines.append(f"E{ref}{out} {at(ref, out)} 0 {at(ref, plus)} {at(ref, minus)} {LARGE:g}")
    return lines


def deck(parts: Mapping[str, Part], nets: Sequence[Net], hertz: Sequence[float]) -> str:
    """Prints the converters' inputs at rest, and per volt at the line at each frequency.

    The fuse and its holder are a wire; every node has a large resistor to ground, for those that float.
    """
    lines = ["* the front end", *two_poles(parts, nets), *amplifiers(parts, nets)]
    line, fused = node(nets, "XF1", "A"), node(nets, "XF1", "B")
    lines += [f"VLINE {line} 0 DC 0 AC 1", f"VFUSE {line} {fused} 0"]
    lines += [f"V{name} {name} 0 {volts:g}" for name, volts in SUPPLIES.items() if name != "5V"] + [
        "V5 5V 0 5"
    ]
    used = {word for entry in lines[1:] for word in entry.split()[1:3]}
    lines += [f"RN{count} {name} 0 1e12" for count, name in enumerate(sorted(used - {"0"}))]
    plus, minus = node(nets, "U4", "IN+"), node(nets, "U4", "IN-")
    mains = node(nets, "U9", "MAINS")
    lines += [".control", "op", f"print v({plus}) v({minus}) v({mains})"]
    for each in hertz:
        lines += [
            f"ac lin 1 {each:g} {each:g}",
            f"print vm({plus},{minus}) vm({mains}) ph(v({plus})-v({minus}))",
        ]
    return "\n".join([*lines, "quit 0", ".endc", ".end", ""])
