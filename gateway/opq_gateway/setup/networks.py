"""Networks: Wi-Fi networks and interfaces, as nmcli lists them; keys of networks. Pure."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LINKS = frozenset({"ethernet", "wifi", "gsm", "cdma", "bluetooth", "wimax", "infiniband", "vlan", "bond"})
"""Kinds of devices that can lead to the cloud, without loopback, tunnels and bridges of containers."""
PASSWORD_BYTES = range(8, 64)
"""Lengths of a WPA passphrase (IEEE 802.11, J.4.1)."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network in reach, by its strongest access point."""

    ssid: bytes
    """0 to 32 arbitrary octets (IEEE 802.11, 9.4.2.2)."""
    signal_percent: int
    security: str
    """The value that nmcli gives: "", "WPA2", "WPA1 WPA2", "WPA3", "WPA2 802.1X"."""
    in_use: bool


@dataclass(frozen=True, slots=True)
class Device:
    """A network interface as NetworkManager sees it."""

    name: str
    kind: str
    connected: bool
    profile: str


@dataclass(frozen=True, slots=True)
class Secret:
    """A password; its text is never shown by accident."""

    text: str = field(repr=False)

    def encoded(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


def fields_of(line: str) -> list[str]:
    """The fields of a line of `nmcli -t -e yes`: between colons, with \\: and \\\\ inside for : and \\."""
    fields = [""]
    escaped = False
    for character in line:
        if escaped:
            fields[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ":":
            fields.append("")
        else:
            fields[-1] += character
    return fields


def devices_of(lines: Iterable[str]) -> tuple[Device, ...]:
    """The devices in lines of `DEVICE,TYPE,STATE,CONNECTION`."""
    found = []
    for name, kind, state, profile in (fields for line in lines if len(fields := fields_of(line)) == 4):
        found.append(Device(name, kind, state.split(" ")[0] == "connected", profile))
    return tuple(found)


def networks_of(lines: Iterable[str]) -> tuple[Network, ...]:
    """Networks in lines of `IN-USE,SIGNAL,SECURITY,SSID-HEX`: strongest first, each once, without hidden
    ones."""
    best: dict[bytes, Network] = {}
    for line in lines:
        network = _network(fields_of(line))
        if network is None:
            continue
        known = best.get(network.ssid)
        if known is None or _rank(network) > _rank(known):
            best[network.ssid] = network
    return tuple(sorted(best.values(), key=lambda network: (-network.signal_percent, network.ssid)))


def why_not(network: Network | None, password: Secret | None) -> str | None:
    """Why a network cannot be joined with this password, before any try; None: it may be possible."""
    security = network.security if network is not None else ""
    if "802.1X" in security:
        return "this network wants user accounts (802.1X); set it up with nmcli on the machine"
    if "WEP" in security:
        return "this network uses WEP, which does not protect it; set its access point to WPA2"
    if security and "OWE" not in security and password is None:
        return "this network wants a password"
    if password is None:
        return None
    control = any(character in password.text for character in "\r\n\0")
    if len(password.encoded()) not in PASSWORD_BYTES or control:
        return "a Wi-Fi password has 8 to 63 characters"
    return None


def secret_of(ssid: bytes, password: Secret, security: str) -> tuple[str, str]:
    """`key-mgmt` and the secret to hand over: the password for WPA3, this network's key for WPA2.

    Source: IEEE 802.11, J.4 (PBKDF2 with SHA-1, 4096 rounds, 256 bits, salt = SSID).
    """
    if "WPA3" in security and "WPA2" not in security:
        return "sae", password.text
    return "wpa-psk", hashlib.pbkdf2_hmac("sha1", password.encoded(), ssid, 4096, 32).hex()


def _rank(network: Network) -> tuple[bool, int]:
    return network.in_use, network.signal_percent


def _network(fields: list[str]) -> Network | None:
    if len(fields) != 4 or not re.fullmatch(r"(?:[0-9A-Fa-f]{2}){1,32}", fields[3]):
        return None
    signal = int(fields[1]) if fields[1].isdecimal() else 0
    security = "" if fields[2] == "--" else fields[2]
    ssid = bytes.fromhex(fields[3])
    return Network(ssid, min(signal, 100), security, fields[0] == "*") if any(ssid) else None
