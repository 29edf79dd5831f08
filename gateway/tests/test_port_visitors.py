"""Another program at a Box's port, as ModemManager: it holds the port at first, and sends AT commands."""

import fcntl
import os
import re
import termios
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from test_gateway_service import configured, running
from waiting import wait_for

from opq_proto.keys.key_files import KeyFolder
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

PROBE = b"AT+GCAP\r"
BUSY_S = 3.0
ROOT = Path(__file__).parents[2]
RULES = (ROOT / "tools" / "opq_tools" / "system" / "service" / "units" / "60-opq-box.rules").read_text()
PAGE = (ROOT / "docs" / "gateway.md").read_text()


def test_a_port_visitor_costs_no_sample(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    """The visitor holds the port for some seconds, and later sends AT commands."""
    with BoxHost([Box("1")]) as host:
        visitor = os.open(host.ports["1"], os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(visitor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as pyserial and ModemManager do
        fcntl.ioctl(visitor, termios.TIOCEXCL)
        with running(configured(tmp_path, makai, host.ports)) as gateway:
            began = time.monotonic()
            while time.monotonic() - began < BUSY_S:
                os.write(visitor, PROBE)
                time.sleep(1.0)
            assert not makai.measurements  # it waits, and runs on
            fcntl.ioctl(visitor, termios.TIOCNXCL)
            os.close(visitor)
            wait_for(lambda: len(makai.measurements) >= 3)
            unread_bytes = host.lost_bytes("1")  # with the visitor's, who read nothing
            visitor = os.open(host.ports["1"], os.O_RDWR | os.O_NOCTTY)  # root may, in spite of TIOCEXCL
            for _ in range(3):
                os.write(visitor, PROBE)
            os.close(visitor)
            already = len(makai.measurements)
            wait_for(lambda: len(makai.measurements) >= already + 3)
            counted = gateway.counters["1"].snapshot()
            measured = makai.decoded()
            unread_bytes = host.lost_bytes("1") - unread_bytes
    assert counted["failures"] == 0
    if not unread_bytes:  # on a machine that is too busy to read a line
        assert counted["missing_samples"] == counted["gaps"] == 0
        for one, next_one in pairwise(measured):
            assert next_one.start_ns == one.end_ns


def test_adapter_rules_and_page_agree() -> None:
    adapters = {"FT232R": "0403:6001", "FT232H": "0403:6014", "CP2102N": "10c4:ea60"}
    found = set()
    for vendor, products in re.findall(r'idVendor}=="(\w+)", ATTR{idProduct}=="([\w|]+)", ENV{ID_MM', RULES):
        found |= {f"{vendor}:{product}" for product in products.split("|")}
    assert set(adapters.values()) <= found
    without_gpsd = set()
    for vendor, products in re.findall(
        r'"gpsdctl@\*", ATTRS{idVendor}=="(\w+)", ATTRS{idProduct}=="([\w|]+)", ENV{SYSTEMD_WANTS}=""', RULES
    ):
        without_gpsd |= {f"{vendor}:{product}" for product in products.split("|")}
    assert without_gpsd == found
    for name in (
        *adapters,
        "opq-tools service install gateway",
        "udev rule",
        "ModemManager",
        "gpsd",
        "brltty",
        "latency_timer",
    ):
        assert name in PAGE
