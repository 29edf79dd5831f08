"""The tests' PMU client against the example frames of C37.118.2, annex D: what it is trusted by.

The bytes are the annex's, as public implementations quote them in their own tests; written out from the
annex's tables of fields.
"""

import math
import struct

import pytest
from pmu_client import Config, command, config_of, crc_ccitt, data_of, parse

NAMES = ["VA", "VB", "VC", "I1", "ANALOG1", "ANALOG2", "ANALOG3"]
NAMES += [f"BREAKER {number:X} STATUS" for number in range(1, 17)]
NAMES[-1] = "BREAKER G STATUS"
CONFIGURATION = (
    bytes.fromhex("aa3101c61e36448527f056071098000f42400001")
    + b"Station A       "
    + bytes.fromhex("1e360004000400030001")
    + b"".join(name.encode().ljust(16) for name in NAMES)
    + bytes.fromhex("000df847000df847000df8470100b2d0000000010100000102000001")
    + bytes.fromhex("0000ffff00000016001ed5d1")
)
DATA = bytes.fromhex(
    "aa0100341e3644853600000041b10000392b0000e36ace7ce36a31830444000009c4000042c80000447a0000461c40003c12d43f"
)
START = bytes.fromhex("aa4100121e36448560300f0bbfd00002ce00")


def example() -> Config:
    return config_of(parse(CONFIGURATION))


def test_the_client_reads_the_annexs_configuration() -> None:
    message = parse(CONFIGURATION)
    assert (message.kind, message.version, message.id_code) == ("cfg2", 1, 7734)
    assert (message.soc, message.fracsec, message.quality) == (1149577200, 463000, 0x56)
    config = config_of(message)
    assert (config.time_base, config.rate) == (1_000_000, 30)
    (pmu,) = config.pmus
    assert (pmu.station, pmu.id_code, pmu.form) == ("Station A", 7734, 4)
    assert [*pmu.phasors, *pmu.analogs, *pmu.digitals] == NAMES
    assert pmu.phasor_units == [915527, 915527, 915527, 0x0100B2D0]
    assert (pmu.nominal_hz, pmu.changes) == (60, 22)


def test_the_client_reads_the_annexs_data() -> None:
    (reading,) = data_of(parse(DATA), example())
    assert reading.stat == 0
    va, vb, vc, i1 = reading.phasors
    assert abs(va) == pytest.approx(133_987, abs=10)  # 134 kV at 0 degrees, the annex says
    assert math.degrees(math.atan2(vb.imag, vb.real)) == pytest.approx(-120, abs=0.01)
    assert math.degrees(math.atan2(vc.imag, vc.real)) == pytest.approx(120, abs=0.01)
    assert abs(i1) == pytest.approx(500, abs=1)
    assert (reading.frequency_hz, reading.rocof_hz_s) == (62.5, 0.0)
    assert reading.analogs == [100.0, 1000.0, 10000.0] and reading.digitals == [0x3C12]


def test_the_clients_commands_follow_the_annex() -> None:
    assert parse(START).kind == "command" and parse(START).body == struct.pack(">H", 2)
    ours = command(7734, 2)
    assert ours[:6] == START[:6] and ours[14:16] == START[14:16] and parse(ours).body == parse(START).body


def test_the_clients_checksum_is_ccitt() -> None:
    assert crc_ccitt(b"123456789") == 0x29B1
