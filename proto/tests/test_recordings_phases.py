"""Which of three voltages is which phase: letters, numbers and colours, in fields and in names."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_recordings.phase_names import FAMILIES, is_phase, names_voltages, phase_order

NAMES = [
    "Ua Ub Uc",
    "VR VY VB",
    "UU UV UW",
    "VR VS VT",
    "U1 U2 U3",
    "UL1 UL2 UL3",
    "V_L1 V_L2 V_L3",
    "VAN VBN VCN",
    "U12 U23 U31",
    "Uab Ubc Uca",
    "VRY VYB VBR",
    "UUV UVW UWU",
    "L1-L2 L2-L3 L3-L1",
    "A B C",
    "R Y B",
    "va vb vc",
    "Red Yellow Blue",
    "Uа Uб Uв",
    "UА UВ UС",
    "Uα Uβ Uγ",
    "A相电压 B相电压 C相电压",
    "220kV母线_Ua 220kV母线_Ub 220kV母线_Uc",
    "MODAQ_Va_V MODAQ_Vb_V MODAQ_Vc_V",
    "HCSA HCSB HCSC",
    "VA_G1 VB_G1 VC_G1",
    "F5-VA F5-VB F5-VC",
    "U1N U2N U3N",
    "Bus,VA Bus,VB Bus,VC",
    "Phase,U Phase,V Phase,W",
    "Spannung,L1 Spannung,L2 Spannung,L3",
    "u1(t) u2(t) u3(t)",
    "Фаза,А Фаза,В Фаза,С",
    "Напряжение,А Напряжение,В Напряжение,С",
    "SBUS,A,,V-node SBUS,B,,V-node SBUS,C,,V-node",
    "VA,[V] VB,[V] VC,[V]",
    "W,VAB,(1,of,20) W,VBC,(1,of,20) W,VCA,(1,of,20)",
]
"""Blanks are commas here."""
NOT_PHASES = [
    "CH1 CH2 CH3",
    "Channel,A Channel,B Channel,C",
    "Bus,A Bus,B Bus,C",
    "1 2 3",
    "Ua Ub Ia",
    "U U U",
    "Ua Ub Ud",
    "V10 V20 V30",
    "Column,1 Column,2 Column,3",
    "Ualpha Ubeta Uzero",
    "U1 U2 U4",
]


def split(text: str) -> list[str]:
    return [each.replace(",", " ") for each in text.split()]


@pytest.mark.parametrize("text", NAMES)
def test_names_differing_in_phase_are_ordered(text: str) -> None:
    names = split(text)
    for order in itertools.permutations(range(3)):
        found = phase_order(("", "", ""), [names[k] for k in order])
        assert found.order is not None and [order[k] for k in found.order] == [0, 1, 2]


@pytest.mark.parametrize("text", NOT_PHASES)
def test_other_names_are_not_phases(text: str) -> None:
    assert phase_order(("", "", ""), split(text)).order is None


@pytest.mark.parametrize(
    "fields",
    [
        "A B C",
        "R Y B",
        "U V W",
        "L1 L2 L3",
        "1 2 3",
        "AN BN CN",
        "A-N B-N C-N",
        "A-B B-C C-A",
        "А В С",
        "А Б В",
        "r s t",
        "L1-N L2-N L3-N",
    ],
)
def test_the_phase_field_goes_before_the_names(fields: str) -> None:
    names = ["Uc", "Ua", "Ub"]
    assert phase_order(fields.split(), names).order == (0, 1, 2)
    assert phase_order(("", "", ""), names).order == (1, 2, 0)
    assert phase_order(("A", "A", "A"), names).order == (1, 2, 0)


def test_a_reversed_line_is_said() -> None:
    found = phase_order(("", "", ""), ["U12", "U23", "U13"])
    assert found.order is None and "one is reversed" in str(found.why)


def test_names_of_voltages_have_a_letter_of_voltage() -> None:
    assert names_voltages(["Bus VA", "Bus VB", "Bus VC"]) and names_voltages(["VY", "VB", "VR"])
    assert not names_voltages(["Ia", "Ib", "Ic"]) and not names_voltages(["A", "B", "C"])


def test_a_phase_alone_is_one() -> None:
    assert all(map(is_phase, ["A", "L1", "bn", "UV", "Phase B", "А", "red", "B相"]))
    assert not any(map(is_phase, ["", "kV", "rms", "D", "L4"]))


@given(
    st.sampled_from([family for family in FAMILIES if not family[0].isdigit()]),
    st.permutations(range(3)),
    st.sampled_from(["U", "V", "Bus V", "10kV U_", "x-", ""]),
    st.sampled_from(["", "N", " 2", "_kV", " [V]"]),
    st.booleans(),
)
def test_every_family_has_its_order(
    family: tuple[str, str, str], order: list[int], before: str, after: str, line: bool
) -> None:
    tokens = [a + b for a, b in zip(family, family[1:] + family[:1], strict=True)] if line else list(family)
    found = phase_order(("", "", ""), [f"{before}{tokens[k]}{after}" for k in order])
    assert found.order is not None and [order[k] for k in found.order] == [0, 1, 2]


@given(
    st.lists(st.text(max_size=12), min_size=3, max_size=3),
    st.lists(st.text(max_size=4), min_size=3, max_size=3),
)
def test_any_names_have_an_order_or_none(names: list[str], fields: list[str]) -> None:
    found = phase_order(fields, names)
    assert found.order is None or sorted(found.order) == [0, 1, 2]
