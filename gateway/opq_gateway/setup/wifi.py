"""Wi-Fi: joins networks for the set-up page, and opens an access point while this machine is off line.

    on line --(60 s)--> on line
            \\-------> off line --(30 s)--> access point --(10 min)--> off line: known networks are tried
                                          \\--(asked)--> joining --> on line, or access point again

The original's state machine (docs/reference/opq-interop.md F.6), without two of its faults: it waits 30 s for
a router that restarts, and it does not close an access point whose page had a request within the last 2 min.
One thread runs it; NetworkManager does the work.
"""

import threading
import time
from collections.abc import Callable

from opq_gateway.counters import BoxCounters
from opq_gateway.setup.networks import LINKS, Device, Network, Secret, why_not
from opq_gateway.setup.nmcli import ACCESS_POINT, Nmcli, WifiError
from opq_proto.kit import log
from opq_proto.kit.channel import Channel

CHECK_S = 60.0
AGAIN_S = 10.0
"""Period of the checks while off line."""
PATIENCE_S = 30.0
ACCESS_POINT_S = 600.0
IN_USE_S = 120.0
SCAN_S = 10.0
"""Age up to which a list of networks is used without a new scan."""

Join = tuple[bytes, Secret | None]


class Wifi:
    """`run` in its own thread; the rest from any.

    Attributes:
        state: "starting", "on line", "off line", "access point", "joining" or "unavailable".
        problem: why the last attempt failed; empty if it did not fail.
    """

    def __init__(
        self,
        nmcli: Nmcli,
        ssid: str,
        password: Secret | None,
        keep: bool,
        counters: BoxCounters,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep`: open an access point when off line (setup.wifi); otherwise only join on demand."""
        self.state = "starting"
        self.problem = ""
        self._nmcli = nmcli
        self._ssid = ssid.encode()
        self._password = password
        self._keep = keep and password is not None
        self._counters = counters
        self._monotonic_s = monotonic_s
        self._log = log.get(service="gateway")
        self._wanted: Channel[Join] = Channel("wifi", 1, "drop_oldest")
        self._scanning = threading.Lock()
        self._networks: tuple[Network, ...] = ()
        self._scanned_s: float | None = None
        self._off_since_s: float | None = None
        self._until_s = 0.0
        self._used_s: float | None = None

    def used(self) -> None:
        """Records a use of the page over the access point."""
        self._used_s = self._monotonic_s()

    def join(self, ssid: bytes, password: Secret | None) -> str | None:
        """Requests to join a network; returns why not, or None. `state` and `problem` then show the
        result."""
        if not 1 <= len(ssid) <= 32:
            return "a network's name has 1 to 32 bytes"
        reason = why_not(self._known(ssid), password)
        if reason is None:
            self.state, self.problem = "joining", ""
            self._wanted.offer((ssid, password))
        return reason

    def networks(self) -> tuple[Network, ...]:
        """Networks in reach; an access point cannot scan and returns the earlier list.

        Raises:
            WifiError: there is no list at all.
        """
        with self._scanning:
            now_s = self._monotonic_s()
            fresh = self._scanned_s is not None and now_s - self._scanned_s < SCAN_S
            if not fresh and self.state not in ("access point", "joining"):
                self._scan(rescan=True)
            return self._networks

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop`; an access point stays, and is taken over by the next start."""
        while not stop.is_set():
            until_s = self._monotonic_s() + self.tick()
            while not stop.is_set() and self._monotonic_s() < until_s:
                wanted = self._wanted.take_item(timeout_s=0.2)
                if wanted is not None:
                    self._join(*wanted)
                    break

    def tick(self) -> float:
        """Checks the state and acts on it; returns the seconds until the next turn."""
        try:
            return self._tick()
        except WifiError as error:
            if str(error) != self.problem:
                self._counters.add("wifi_failed")
                self._log.warning("wifi.unavailable", reason=str(error))
            self.state, self.problem = "unavailable", str(error)
            return CHECK_S

    def _tick(self) -> float:
        devices = self._nmcli.devices()
        now_s = self._monotonic_s()
        opened = any(device.profile == ACCESS_POINT for device in devices)
        if self.state == "unavailable":
            self.problem = ""
        if self.state == "starting" and opened:
            self._until_s = now_s + ACCESS_POINT_S
            self._become("access point")
        if _on_line(devices):
            if opened:
                self._nmcli.stop_access_point()
            self._off_since_s = None
            self._become("on line")
            return CHECK_S
        if self.state == "access point" and opened:
            in_use = self._used_s is not None and now_s - self._used_s < IN_USE_S
            if now_s < self._until_s or in_use:
                return AGAIN_S
            self._nmcli.stop_access_point()
            self._off_since_s = now_s
            self._become("off line")
            return AGAIN_S
        if self._off_since_s is None:
            self._off_since_s = now_s
        self._become("off line")
        if self._keep and now_s - self._off_since_s >= PATIENCE_S:
            self._open(devices)
        return AGAIN_S

    def _open(self, devices: tuple[Device, ...]) -> None:
        device = next((device.name for device in devices if device.kind == "wifi"), None)
        if device is None or self._password is None:
            return
        with self._scanning:
            self._scan(rescan=True)
        self._nmcli.start_access_point(device, self._ssid, self._password)
        self._until_s = self._monotonic_s() + ACCESS_POINT_S
        self._become("access point")

    def _join(self, ssid: bytes, password: Secret | None) -> None:
        """Joins a network; after a failure the next turn opens the access point again if it was open."""
        self.state = "joining"
        known = self._known(ssid)
        was_open = self._off_since_s is not None
        try:
            device = next((d.name for d in self._nmcli.devices() if d.kind == "wifi"), None)
            if device is None:
                raise WifiError("this machine has no Wi-Fi")
            self._nmcli.stop_access_point()
            self._nmcli.join(device, ssid, password, known.security if known else "", hidden=known is None)
        except WifiError as error:
            self.problem = str(error)
            self._counters.add("wifi_failed")
            self._log.warning("wifi.not_joined", reason=str(error))
        else:
            self.problem = ""
            self._log.info("wifi.joined")
        if was_open:
            self._off_since_s = self._monotonic_s() - PATIENCE_S

    def _known(self, ssid: bytes) -> Network | None:
        return next((network for network in self._networks if network.ssid == ssid), None)

    def _scan(self, rescan: bool) -> None:
        try:
            self._networks = self._nmcli.networks(rescan)
        except WifiError:
            if self._scanned_s is None:
                raise
            return  # busy, or scanned too often: the earlier list is used
        self._scanned_s = self._monotonic_s()

    def _become(self, state: str) -> None:
        if state != self.state:
            self._log.info("wifi.state", state=state, before=self.state)
        self.state = state


def _on_line(devices: tuple[Device, ...]) -> bool:
    return any(
        device.connected and device.kind in LINKS and device.profile != ACCESS_POINT for device in devices
    )
