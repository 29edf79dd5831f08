"""NetworkManager, by its command `nmcli`; only this module runs it.

It gets a list of arguments, never a shell. Names of networks are bytes: they are read as SSID-HEX and handed
over as the value of a property, where nmcli does not read them as options (tried with nmcli 1.42: quotes,
colons, leading dashes, bytes that are not UTF-8). A password is never an argument. It is piped; for WPA2 only
the key of this one network is piped. Nothing here logs.
"""

import os
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence

from opq_gateway.setup.networks import Device, Network, Secret, devices_of, fields_of, networks_of, secret_of
from opq_proto.errors import OpqError

ADDRESS = "10.42.0.1"
"""The original's address of a Box's access point (docs/reference/opq-interop.md F.6), and NetworkManager's
own default."""
ACCESS_POINT = "opq access point"
"""Name of the access point's profile."""
TURN_S = 0.1
WIFI = "802-11-wireless"
SECURITY = "802-11-wireless-security"


class WifiError(OpqError):
    """NetworkManager is absent, refused or too slow; the text is for the user of the page."""


class Nmcli:
    """Runs nmcli; a call blocks until it ends, times out or `stop` is set. All methods raise WifiError."""

    def __init__(
        self, stop: threading.Event, program: str = "nmcli", answer_s: float = 20.0, join_s: float = 45.0
    ) -> None:
        self._stop = stop
        self._program = program
        self._answer_s = answer_s
        self._join_s = join_s

    def devices(self) -> tuple[Device, ...]:
        """All network interfaces."""
        return devices_of(self._lines("-f", "DEVICE,TYPE,STATE,CONNECTION", "device", "status"))

    def networks(self, rescan: bool) -> tuple[Network, ...]:
        """Networks in reach, strongest first."""
        listing = ("device", "wifi", "list", "--rescan", "yes" if rescan else "no")
        return networks_of(self._lines("-f", "IN-USE,SIGNAL,SECURITY,SSID-HEX", *listing))

    def join(self, device: str, ssid: bytes, password: Secret | None, security: str, hidden: bool) -> None:
        """Connects by a new profile, which replaces our older ones of this network only when it works."""
        # without autoconnect: NetworkManager would try it at once, without the secret
        properties = ["connection.autoconnect", "no", f"{WIFI}.hidden", "yes" if hidden else "no"]
        secret = None
        if password is not None:
            management, secret = secret_of(ssid, password, security)
            properties += [f"{SECURITY}.key-mgmt", management]
        name, profile = f"opq {ssid.hex()}", str(uuid.uuid4())
        older = self._profiles(name)
        self._make(profile, name, device, ssid, properties)
        try:
            self._up(profile, device, secret)
        except WifiError:
            self._delete([profile])
            raise
        self._run(["connection", "modify", "uuid", profile, "connection.autoconnect", "yes"])
        self._delete(older)

    def start_access_point(self, device: str, ssid: bytes, password: Secret) -> None:
        """Opens an access point with WPA2, the address 10.42.0.1, and DHCP for its clients."""
        self.stop_access_point()
        management, secret = secret_of(ssid, password, "")
        properties = ["connection.autoconnect", "no", f"{WIFI}.mode", "ap", f"{WIFI}.band", "bg"]
        properties += [f"{SECURITY}.key-mgmt", management, f"{SECURITY}.proto", "rsn"]
        properties += [f"{SECURITY}.psk-flags", "2", "ipv4.method", "shared"]
        properties += ["ipv4.addresses", f"{ADDRESS}/24", "ipv6.method", "disabled"]
        profile = str(uuid.uuid4())
        self._make(profile, ACCESS_POINT, device, ssid, properties)
        self._up(profile, device, secret)

    def stop_access_point(self) -> None:
        """Closes the access point; NetworkManager returns to a network that it knows."""
        self._delete(self._profiles(ACCESS_POINT))

    def _profiles(self, name: str) -> list[str]:
        listed = [fields_of(line) for line in self._lines("-f", "NAME,UUID", "connection", "show")]
        return [fields[1] for fields in listed if len(fields) == 2 and fields[0] == name]

    def _make(self, profile: str, name: str, device: str, ssid: bytes, properties: Sequence[str]) -> None:
        begin = ["connection", "add", "type", "wifi", "con-name", name, "ifname", device]
        self._run([*begin, "connection.uuid", profile, f"{WIFI}.ssid", ssid, *properties])

    def _up(self, profile: str, device: str, secret: str | None) -> None:
        arguments = ["--wait", str(max(1, round(self._join_s)))]
        arguments += ["connection", "up", "uuid", profile, "ifname", device]
        line = b""
        if secret is not None:
            arguments += ["passwd-file", "/dev/stdin"]
            line = f"{SECURITY}.psk:{secret}\n".encode("utf-8", "surrogateescape")
        self._run(arguments, line, self._join_s)

    def _delete(self, profiles: Sequence[str]) -> None:
        for profile in profiles:
            self._run(["connection", "delete", "uuid", profile])

    def _lines(self, *arguments: str) -> list[str]:
        out = self._run(["-t", "-e", "yes", *arguments])
        return [line for line in out.decode("utf-8", "surrogateescape").split("\n") if line]

    def _run(
        self, arguments: Sequence[str | bytes], stdin: bytes = b"", patience_s: float | None = None
    ) -> bytes:
        try:
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise WifiError(
                "nmcli is not installed; install NetworkManager: apt install network-manager"
            ) from error
        try:
            out, errors = self._wait(process, stdin, self._answer_s if patience_s is None else patience_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if process.returncode != 0:
            raise WifiError(_reason(errors.decode("utf-8", "replace")))
        return out

    def _wait(
        self, process: "subprocess.Popen[bytes]", stdin: bytes, patience_s: float
    ) -> tuple[bytes, bytes]:
        until_s = time.monotonic() + patience_s
        given: bytes | None = stdin
        while True:
            try:
                return process.communicate(given, timeout=min(TURN_S, patience_s))
            except subprocess.TimeoutExpired:
                given = None
            if self._stop.is_set():
                raise WifiError("the gateway is ending")
            if time.monotonic() >= until_s:
                raise WifiError(f"NetworkManager did not answer within {patience_s:g} s")


def _reason(errors: str) -> str:
    """nmcli's last words, shortened; words for a wrong password are made clearer."""
    line = next(
        (line for line in reversed(errors.splitlines()) if line.strip()), "nmcli failed and printed nothing"
    )
    if "secrets were required" in errors.lower():
        return "the password was not accepted"
    return line.removeprefix("Error: ").strip()[:200]
