"""Wi-Fi by a stand-in nmcli: strange names, wrong passwords, slow and absent; the access point's life."""

import shutil
import threading
import time
from pathlib import Path

import pytest
from stand_in_nmcli import World, key_of

from opq_gateway.counters import BoxCounters
from opq_gateway.setup.networks import Network, Secret, fields_of, networks_of, secret_of, why_not
from opq_gateway.setup.nmcli import ACCESS_POINT, Nmcli, WifiError
from opq_gateway.setup.wifi import ACCESS_POINT_S, CHECK_S, IN_USE_S, PATIENCE_S, Wifi

STRANGE = [
    b"caf\xc3\xa9: x",
    b"\xff\xfe\x00z",
    b"--ask",
    b"-a",
    b"a'b\"c\\d",
    b" sp ",
    b"$(reboot)",
    b"0x4142",
]
HOME, PASSWORD = b"home", "right horse"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "nm")


def nmcli(
    world: World, stop: threading.Event | None = None, answer_s: float = 60, join_s: float = 60
) -> Nmcli:
    return Nmcli(stop or threading.Event(), world.program, answer_s, join_s)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_terse_lines_split_at_unescaped_colons() -> None:
    assert fields_of(r"a\:b:c\\:") == ["a:b", "c\\", ""]
    assert fields_of("") == [""]
    lines = [
        " :30:WPA2:" + b"x".hex(),
        "*:20:WPA2:" + b"x".hex(),
        " :99::",
        " :50:--:" + b"y".hex(),
        "junk",
        " :9:W:zz",
    ]
    assert networks_of(lines) == (Network(b"y", 50, "", False), Network(b"x", 20, "WPA2", True))


def test_names_of_any_bytes_are_joined(world: World) -> None:
    for ssid in STRANGE:
        if b"\0" not in ssid:  # no argument of a program can hold it
            world.hears(ssid, secret=key_of(ssid, PASSWORD))
    runs = nmcli(world)
    listed = {network.ssid for network in runs.networks(rescan=True)}
    assert listed == {ssid for ssid in STRANGE if b"\0" not in ssid}
    for ssid in listed:
        runs.join("wlan0", ssid, Secret(PASSWORD), "WPA2", hidden=False)
        made = world.read()
        profile = made["profiles"][made["up"]]
        assert profile["ssid"] == ssid.hex() and profile["facts"]["connection.autoconnect"] == "yes"


def test_no_password_is_ever_an_argument(world: World) -> None:
    world.hears(HOME, secret=key_of(HOME, PASSWORD))
    runs = nmcli(world)
    runs.join("wlan0", HOME, Secret(PASSWORD), "WPA2", hidden=False)
    runs.start_access_point("wlan0", b"OPQ", Secret("access point's"))
    words = [word for call in world.calls() for word in call]
    for secret in (PASSWORD, key_of(HOME, PASSWORD), "access point's", key_of(b"OPQ", "access point's")):
        assert not any(secret in word for word in words)
    made = world.read()
    assert made["profiles"][made["up"]]["secret"] == key_of(b"OPQ", "access point's")
    assert repr(Secret(PASSWORD)) == "Secret()"


def test_wpa3_alone_gets_the_password_itself() -> None:
    assert secret_of(HOME, Secret(PASSWORD), "WPA3") == ("sae", PASSWORD)
    assert secret_of(HOME, Secret(PASSWORD), "WPA2 WPA3") == ("wpa-psk", key_of(HOME, PASSWORD))
    # the standard's own example, IEEE 802.11 J.4.2
    assert secret_of(b"IEEE", Secret("password"), "WPA2")[1] == (
        "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    )


def test_a_wrong_password_leaves_the_profile_that_worked(world: World) -> None:
    world.hears(HOME, secret=key_of(HOME, PASSWORD))
    runs = nmcli(world)
    runs.join("wlan0", HOME, Secret(PASSWORD), "WPA2", hidden=False)
    before = world.read()["profiles"]
    with pytest.raises(WifiError, match="password was not accepted"):
        runs.join("wlan0", HOME, Secret("wrong horse"), "WPA2", hidden=False)
    assert world.read()["profiles"] == before
    runs.join("wlan0", HOME, Secret(PASSWORD), "WPA2", hidden=False)
    assert len(world.read()["profiles"]) == 1  # and a right one replaces it


def test_an_ill_networkmanager_is_reported(world: World, tmp_path: Path) -> None:
    world.change(slow_s=30)
    began = time.monotonic()
    with pytest.raises(WifiError, match=r"did not answer within 0\.3 s"):
        nmcli(world, answer_s=0.3).devices()
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(WifiError, match="the gateway is ending"):
        nmcli(world, stop).devices()
    assert time.monotonic() - began < 20  # of the 30 s that the program takes
    world.change(slow_s=0, dies="Error: NetworkManager is not running.")
    with pytest.raises(WifiError, match=r"^NetworkManager is not running\.$"):
        nmcli(world).devices()
    with pytest.raises(WifiError, match="apt install network-manager"):
        Nmcli(threading.Event(), str(tmp_path / "absent")).devices()


def test_an_unjoinable_network_is_reported_early() -> None:
    assert "password" in str(why_not(Network(HOME, 50, "WPA2", False), None))
    assert "802.1X" in str(why_not(Network(HOME, 50, "WPA2 802.1X", False), Secret(PASSWORD)))
    assert "WEP" in str(why_not(Network(HOME, 50, "WEP", False), Secret(PASSWORD)))
    assert "8 to 63" in str(why_not(Network(HOME, 50, "WPA2", False), Secret("short")))
    assert "8 to 63" in str(why_not(Network(HOME, 50, "WPA2", False), Secret("two\nlines of it")))
    assert why_not(Network(HOME, 50, "", False), None) is None


def test_off_line_opens_an_access_point(world: World) -> None:
    clock = Clock()
    wifi = Wifi(nmcli(world), "OPQ", Secret("access point's"), True, BoxCounters(), clock)

    def turn(seconds: float) -> str:
        clock.now_s += seconds
        wifi.tick()
        return wifi.state

    assert turn(0) == "off line" and turn(PATIENCE_S - 1) == "off line"
    assert turn(1) == "access point"
    profile = world.read()["profiles"][world.read()["up"]]
    assert profile["name"] == ACCESS_POINT and profile["facts"]["ipv4.addresses"] == "10.42.0.1/24"
    assert turn(ACCESS_POINT_S - 1) == "access point"
    wifi.used()
    assert turn(2) == "access point"  # somebody is at it
    assert turn(IN_USE_S) == "off line" and world.read()["profiles"] == {}
    assert turn(PATIENCE_S) == "access point"
    world.change(cable=True)
    assert turn(1) == "on line" and world.read()["profiles"] == {}
    assert wifi.tick() == CHECK_S
    world.change(cable=False)
    assert turn(60) == "off line"


def test_without_a_password_no_access_point_opens(world: World) -> None:
    for keep, password in ((False, Secret("access point's")), (True, None)):
        clock = Clock()
        wifi = Wifi(nmcli(world), "OPQ", password, keep, BoxCounters(), clock)
        wifi.tick()
        clock.now_s += 1000
        wifi.tick()
        assert wifi.state == "off line" and world.read()["profiles"] == {}


def test_an_earlier_access_point_is_taken_over(world: World) -> None:
    nmcli(world).start_access_point("wlan0", b"OPQ", Secret("access point's"))
    wifi = Wifi(nmcli(world), "OPQ", Secret("access point's"), True, BoxCounters(), Clock())
    wifi.tick()
    assert wifi.state == "access point" and len(world.read()["profiles"]) == 1


def test_without_networkmanager_the_state_says_so_and_recovers(world: World) -> None:
    world.change(dies="Error: NetworkManager is not running.")
    wifi = Wifi(nmcli(world), "OPQ", None, True, BoxCounters(), Clock())
    wifi.tick()
    assert (wifi.state, wifi.problem) == ("unavailable", "NetworkManager is not running.")
    with pytest.raises(WifiError):
        wifi.networks()
    made = world.read()
    del made["dies"]
    world.write({**made, "cable": True})
    wifi.tick()
    assert (wifi.state, wifi.problem) == ("on line", "")


def joined(wifi: Wifi, stop: threading.Event, states: set[str]) -> None:
    """Runs until the state is one of these."""
    thread = threading.Thread(target=wifi.run, args=(stop,))
    thread.start()
    until_s = time.monotonic() + 240
    while wifi.state not in states and time.monotonic() < until_s:
        time.sleep(0.02)
    stop.set()
    thread.join(240)
    assert not thread.is_alive()


def test_joining_closes_the_access_point(world: World) -> None:
    """A wrong password opens it again."""
    world.hears(HOME, secret=key_of(HOME, PASSWORD))
    clock = Clock()
    wifi = Wifi(nmcli(world), "OPQ", Secret("access point's"), True, BoxCounters(), clock)
    wifi.tick()
    clock.now_s += PATIENCE_S
    wifi.tick()
    assert wifi.state == "access point" and [network.ssid for network in wifi.networks()] == [HOME]
    assert wifi.join(HOME, None) == "this network wants a password"
    assert wifi.join(HOME, Secret("wrong horse")) is None
    joined(wifi, threading.Event(), {"access point"})
    assert wifi.problem == "the password was not accepted"
    assert wifi.join(HOME, Secret(PASSWORD)) is None and wifi.state == "joining"
    joined(wifi, threading.Event(), {"on line"})
    made = world.read()
    assert wifi.problem == "" and [facts["ssid"] for facts in made["profiles"].values()] == [HOME.hex()]


def test_a_list_of_networks_is_cached(world: World) -> None:
    world.hears(HOME)
    clock = Clock()
    wifi = Wifi(nmcli(world), "OPQ", None, False, BoxCounters(), clock)
    for _ in range(5):
        assert len(wifi.networks()) == 1
    assert len(world.calls()) == 1
    clock.now_s += 11
    world.change(dies="Error: Scanning not allowed immediately following previous scan.")
    assert len(wifi.networks()) == 1  # that of before


@pytest.mark.skipif(not shutil.which("nmcli"), reason="needs nmcli: apt-get install network-manager")
def test_the_real_nmcli_takes_our_profiles(tmp_path: Path) -> None:
    program = tmp_path / "nmcli"
    add = f'*"connection add"*) exec nmcli --offline "$@" >>"{tmp_path}/made";;'
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{add}\nesac\n')
    program.chmod(0o755)
    runs = Nmcli(threading.Event(), str(program))
    for ssid in STRANGE:
        if b"\0" not in ssid:
            runs.join("wlan0", ssid, Secret(PASSWORD), "WPA2", hidden=False)
    runs.join("wlan0", b"three", Secret(PASSWORD), "WPA3", hidden=True)
    runs.start_access_point("wlan0", b"OPQ", Secret("access point's"))
    made = (tmp_path / "made").read_text(errors="surrogateescape")
    for line in ("ssid=--ask", "ssid=-a", "ssid=a'b\"c\\\\d", "ssid=0x4142", "key-mgmt=sae", "psk-flags=2"):
        assert f"\n{line}\n" in made
    assert "address1=10.42.0.1/24\nmethod=shared" in made and PASSWORD not in made
