"""What chrony and timesyncd say of the clock; their programs are played by scripts."""

import stat
from pathlib import Path

import pytest

from opq_proto.kit import time_daemons
from opq_proto.kit.clock import ClockState
from opq_proto.kit.time_daemons import UNSYNCHRONISED, chrony_clock, read_clock_state, timesyncd_clock
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

GOOD = (
    "A29FC87B,162.159.200.123,4,1700000000.5,0.000010,-0.00002,0.0001,-8.2,0.0,0.03,0.004,0.0006,64.7,Normal"
)
MESSAGE = (
    "NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-25, RootDelay=1min 1.5s, "
    "RootDispersion=839us, Reference=A29FC801, Ignored=no, PacketCount=3, Jitter=0 }"
)


def test_chronys_error_bound_has_three_parts() -> None:
    assert chrony_clock(GOOD) == ClockState(TimeSource.NTP, 10_000 + 600_000 + 2_000_000)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "506 Cannot talk to daemon",
        GOOD.replace("Normal", "Not synchronised"),
        GOOD.replace("0.0006", "x"),
        GOOD.replace("0.0006", "nan"),
        GOOD.replace("0.0006", "99"),
    ],
)
def test_an_unsynchronised_chrony_is_free(said: str) -> None:
    assert chrony_clock(said) == UNSYNCHRONISED


def test_timesyncd_spells_durations_as_systemd_does() -> None:
    assert timesyncd_clock(MESSAGE.replace("1min 1.5s", "3ms")) == ClockState(TimeSource.NTP, 52_339_000)
    assert timesyncd_clock(MESSAGE).uncertainty_ns == UNKNOWN_UNCERTAINTY_NS  # half a minute: saturated
    assert timesyncd_clock(MESSAGE.replace("Leap=0", "Leap=3")) == UNSYNCHRONISED
    assert timesyncd_clock("NTPMessage={ }") == UNSYNCHRONISED


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(time_daemons, "TIMEOUT_S", 60.0)
    monkeypatch.setattr(
        time_daemons,
        "_path_of",
        lambda name: str(tmp_path / name) if (tmp_path / name).exists() else "",
    )
    return tmp_path


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_program_is_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chronyc").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/none:{tmp_path}/first:{tmp_path}/second")
    assert time_daemons._path_of("chronyc") == ""
    script(tmp_path / "second" / "chronyc", "true")
    assert time_daemons._path_of("chronyc") == str(tmp_path / "second" / "chronyc")
    assert time_daemons._path_of("sh") == ""


def test_chrony_overrules_the_kernel(programs: Path) -> None:
    script(programs / "chronyc", f"echo '{GOOD}'")
    assert read_clock_state(programs / "none").source is TimeSource.NTP
    script(programs / "chronyc", "echo '506 Cannot talk to daemon'; exit 1")
    assert read_clock_state(programs / "none") == time_daemons.system_clock()


def test_timesyncd_and_kernel_give_the_worse(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timesyncd counts where its folder is."""
    kernel = ClockState(TimeSource.NTP, 1000)
    monkeypatch.setattr(time_daemons, "system_clock", lambda: kernel)
    folder = programs / "timesync"
    assert read_clock_state(folder) == kernel
    folder.mkdir()
    assert read_clock_state(folder) == UNSYNCHRONISED
    (folder / "synchronized").touch()
    script(programs / "timedatectl", f"echo '{MESSAGE.replace('1min 1.5s', '3ms')}'")
    assert read_clock_state(folder).uncertainty_ns == 52_339_000
    kernel = ClockState(TimeSource.NTP, 99_000_000)
    assert read_clock_state(folder) == kernel


def test_a_program_that_hangs_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_daemons, "TIMEOUT_S", 0.1)
    script(programs / "chronyc", "exec sleep 20")
    assert read_clock_state(programs / "none") == time_daemons.system_clock()
