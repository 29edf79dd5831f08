"""The front end by numbers: parts list, netlist, schematic; what firmware and page say of them."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import check
import pytest
import schematic
from parts import Part, read_bom, read_netlist
from PIL import Image
from spice import deck

from opq_hil.backends.boards import BOARDS, FrontEnd
from opq_hil.suites import discharge

DEVICE = Path(__file__).resolve().parent.parent
PARTS = read_bom()
NETS = read_netlist()
BARE = {"F1"}
"""The fuse sits in its holder XF1."""
NOT_ON_A_BOARD_HEADER = {"VDD", "VDDA", "GND", "OSC_IN"}
HERTZ = (1.0, 3000.0, 57e3, 117e3)
OTHER_VDDA = {"disco_f407": 3.0}
"""Boards whose own supply is the internal converter's reference, instead of U8."""


def changed(refs: str, words: str | None = None, **figures: float) -> Mapping[str, Part]:
    """The parts list with another value or figures at some references."""
    new = dict(PARTS)
    for ref in refs.split():
        part = PARTS[ref]
        new[ref] = replace(part, words=words or part.words, figures={**part.figures, **figures})
    return new


def beyond(parts: Mapping[str, Part]) -> set[str]:
    return {row.what for rows in check.results(parts).values() for row in rows if not row.kept}


def test_every_figure_is_within_its_limit() -> None:
    assert beyond(PARTS) == set()


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        (changed("F1", amps=0.063), "F1: I2t of an impulse, CAT II 300 V, 10,000 times"),
        (changed("F1", amps=2.0), "F1: longest time to open, varistor shorted"),
        (changed("RS1 RS2 RS3", "10"), "RV1: current, CAT III 300 V"),
        (changed("RV1", volts_rms=275.0), "RV1: line voltage"),
        (changed("R1", "150k"), "external: linear to, class A and 20 %"),
        (changed("R1", volts=100.0), "R1: volts while the varistor clamps"),
        (changed("R11 R21", "7.68k"), "external: a leg above ground at the linear limit"),
        (changed("R33 R34", "8.45k"), "internal: linear to, class A and 20 %"),
        (changed("C12 C22", "470p"), "external: Q, 0.707 is Butterworth"),
        (changed("C5", "470p"), "external: delay at DC, off the setting phase_ns"),
        (changed("U1", snr_db=60.0), "external: effective bits of the chain"),
        (changed("U2", reinforced=0.0), "U2: reinforced"),
        (changed("U2", clearance_mm=5.0), "U2: clearance of the package"),
        (changed("Y1", high_share=0.25), "Y1: high level, share of VDD"),  # a clipped sine of 0.8 V
    ],
)
def test_a_part_that_does_not_fit_is_found(parts: Mapping[str, Part], what: str) -> None:
    assert what in beyond(parts)


@pytest.mark.parametrize(
    ("ref", "words", "figures", "what"),
    [
        ("U11", "", {"efficiency": 0.5}, "BT1: hours until battery_low_v while it samples"),
        ("R61", "500", {}, "BT1: charge current"),
        ("U10", "", {"volts": 4.35}, "BT1: charge voltage"),
        ("U13", "", {"least_volts": 2.4}, "U13: opens at"),
        ("J7", "", {"amps": 1.0}, "J7: current while it charges and samples"),
        ("U12", "", {"amps_out": 0.15}, "U12: load on 3.3 V"),
    ],
)
def test_a_supply_that_does_not_fit_is_found(
    ref: str, words: str, figures: Mapping[str, float], what: str
) -> None:
    part = check.POWER[ref]
    other = replace(part, words=words or part.words, figures={**part.figures, **figures})
    rows = check.supply(PARTS, {**check.POWER, ref: other})
    assert what in {row.what for row in rows if not row.kept}


def test_the_scenario_has_the_cell_of_the_list() -> None:
    cell, resistor = check.POWER["BT1"], check.POWER["R61"]
    assert (cell["amp_hours"], 1000 / resistor.value) == (discharge.CELL_AH, discharge.CHARGE_A)
    ohms = cell["ohms"] + check.POWER["U13"]["ohms"] + check.POWER["U10"]["ohms"]
    assert pytest.approx(ohms) == discharge.CELL_OHMS
    for mode, amps in (("run", discharge.SAMPLING_A), ("sleep", discharge.WAITING_A)):
        watts = check.load_w(PARTS, check.POWER, PARTS["U9"][f"amps_{mode}"])
        assert check.cell_amps(check.POWER, watts) == pytest.approx(amps, abs=0.0005)
    page = " ".join((DEVICE / "WIRING.md").read_text(encoding="utf-8").split())
    found = {row.what: row.figure for row in check.supply(PARTS)}
    hours = found["BT1: hours until battery_low_v while it samples"]
    assert f"{found['5 V while it samples']:.0f} mA / " in page and f"| {hours:.1f} h, with" in page


def test_without_resistors_a_surge_is_600_a() -> None:
    """What the earlier page drew: IEC 61000-4-5, 2 kV, 63 mA."""
    bare = {ref: part for ref, part in PARTS.items() if not ref.startswith("RS")}
    found = check.surge(bare, 2000.0 - check.CATEGORY_V * 2**0.5 - 341.0)
    assert found.peak_amps == pytest.approx(600.0, abs=1.0)
    assert found.i2t == pytest.approx(5.0, abs=0.1)
    assert found.i2t > 100 * check.melting_i2t(PARTS["F1"])


@pytest.mark.parametrize("board", BOARDS)
def test_firmware_and_emulators_have_the_computed_gain(board: str) -> None:
    own = board in OTHER_VDDA
    parts = changed("U8", volts=OTHER_VDDA[board]) if own else PARTS
    facts = BOARDS[board]
    front = (check.external if facts.converter == "external" else check.internal)(parts)
    volts = check.v_per_lsb(parts, front)
    assert facts.own_front_end == own
    assert facts.front_end == FrontEnd(
        v_per_lsb=round(volts, 6),
        linear_lsb=check.linear_lsb(parts, front),
        noise_lsb=round(check.noises_v(parts, front.name)[0] / volts, 2),
        rail=int(check.rail_lsb(front) / facts.counts_per_lsb),
    )


def test_the_page_says_what_is_computed() -> None:
    page = (DEVICE / "WIRING.md").read_text(encoding="utf-8")
    assert f"phase_ns`, {check.PHASE_NS:,} to start with" in page
    for path in (check.external(PARTS), check.internal(PARTS)):
        volts = check.v_per_lsb(PARTS, path)
        linear, rail = check.linear_lsb(PARTS, path), check.rail_lsb(path)
        assert f"± {linear:,} counts, {linear * volts:.0f} V | {rail:,.0f}, {rail * volts:.0f} V |" in page
        assert (
            f"{check.noise_v(PARTS, path.name) * 1000:.0f} mV | {check.effective_bits(PARTS, path):.1f} |"
            in page
        )


def test_every_part_is_connected_and_every_pin_once() -> None:
    pins = [pin for net in NETS for pin in net.pins]
    assert len(pins) == len(set(pins))
    assert {ref for ref, _ in pins} == set(PARTS) - BARE
    assert [net.name for net in NETS if len(net.pins) < 2] == []
    for ref in set(PARTS) - BARE:
        named = {pin for part, pin in pins if part == ref}
        assert named == set(schematic.pins_of(ref)), ref


def test_only_reinforced_parts_cross_the_barrier() -> None:
    sides: dict[str, set[str]] = {}
    for net in NETS:
        for ref, _ in net.pins:
            sides.setdefault(ref, set()).add(net.side)
    assert {ref for ref, on in sides.items() if len(on) > 1} == {"U1", "U2"}
    for ref, on in sides.items():
        assert PARTS[ref].side in (("barrier",) if len(on) > 1 else (*on, "-")), ref
    assert PARTS["U1"]["reinforced"] == PARTS["U2"]["reinforced"] == 1


def test_the_processor_has_its_boards_pins() -> None:
    box = BOARDS["opqbox"]
    pins = {name.upper() for name in asdict(box.pins)}
    drawn = {pin for net in NETS for ref, pin in net.pins if ref == "U9"}
    assert drawn == pins | NOT_ON_A_BOARD_HEADER
    assert box.clock.hse_bypass  # the oscillator's levels are the chip's logic levels
    dividers = {("R41", "R42"): box.analogue.supply_divider, ("R43", "R48"): box.analogue.battery_divider}
    for (upper, lower), divider in dividers.items():
        assert divider == 1 + PARTS[upper].value / PARTS[lower].value


def test_the_supply_is_sensed_at_the_jack() -> None:
    """Not at the 5 V behind the boost converter, which a cell keeps up while the supply is lost."""
    net_of = {pin: net for net in NETS for pin in net.pins}
    assert net_of["R41", "1"].pins == (("J4", "JACK"), ("R41", "1"))
    assert ("J4", "5V") in net_of["U4", "VDD"].pins


def test_the_schematic_follows_these_files() -> None:
    kept = (schematic.HERE / f"{schematic.NAME}.kicad_sch").read_text(encoding="utf-8")
    assert kept == schematic.schematic(PARTS, NETS), "python device/analogue/schematic.py"
    with Image.open(schematic.HERE / f"{schematic.NAME}.png") as picture:
        assert picture.info["schematic"] == schematic.digest(), "the picture is of another schematic"


def test_kicad_reads_the_same_netlist(tmp_path: Path) -> None:
    program = shutil.which("kicad-cli")
    if program is None:
        pytest.skip("no kicad-cli here (KiCad 8 or later)")
    source, target = schematic.HERE / f"{schematic.NAME}.kicad_sch", tmp_path / "net"
    command = [program, "sch", "export", "netlist", "--format", "kicadsexpr", "-o", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    read: dict[str, set[tuple[str, str]]] = {}
    for part in re.split(r"\(net\s+\(code", target.read_text(encoding="utf-8"))[1:]:
        [name] = re.findall(r'\(name "/?([^"]+)"\)', part)[:1]
        read[name] = set(re.findall(r'\(node\s+\(ref "([^"]+)"\)\s+\(pin "([^"]+)"\)', part))
    assert read == {net.name: set(net.pins) for net in NETS}


def test_a_circuit_simulator_finds_the_gain(tmp_path: Path) -> None:
    """Ngspice solves the netlist; its isolation amplifier has no pole, so that one is taken out of ours."""
    program = shutil.which("ngspice")
    if program is None:
        pytest.skip("no ngspice here")
    path = tmp_path / "front_end.cir"
    path.write_text(deck(PARTS, NETS, HERTZ), encoding="ascii")
    done = subprocess.run([program, "-b", str(path)], capture_output=True, text=True, timeout=600, check=True)
    rest = [float(value) for value in re.findall(r"^v\(\w+\) = (\S+)", done.stdout, re.M)]
    assert rest == pytest.approx([2.048, 2.048, 1.65], abs=1e-3)
    external, internal, phase = (
        [float(value) for value in re.findall(rf"^{name} = (\S+)", done.stdout, re.M)]
        for name in (r"vm\(adc_p,adc_n\)", r"vm\(mains\)", r"ph\(\S+\)")
    )
    for at, hertz in enumerate(HERTZ):
        pole = abs(1 + 1j * hertz / PARTS["U1"]["hertz"])
        for found, front in ((external, check.external(PARTS)), (internal, check.internal(PARTS))):
            whole = front.gain * PARTS["U1"]["gain"] / check.ratio(PARTS)
            computed = whole * abs(check.response(PARTS, hertz, front.name)) * pole
            assert found[at] == pytest.approx(computed, rel=0.02 if hertz > 1e4 else 1e-4), (
                front.name,
                hertz,
            )
    assert -phase[0] / 6.2832 == pytest.approx(
        check.delay_s(PARTS, "external") - PARTS["U1"]["delay_s"], rel=0.01
    )


@pytest.mark.parametrize(
    ("text", "words"), [("R1,8.66K,x,y,hot,,,", "not a value"), ("R1 R1,1k,x,y,hot,,,", "is there twice")]
)
def test_an_unreadable_parts_list_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bom.csv"
    path.write_text("ref,value,part,maker,side,figures,sheet,compared\n" + text + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        assert read_bom(path)["R1"].value
