"""A stand-in for NetworkManager's nmcli: a program of that name that behaves, well or badly.

Its world is a JSON file: devices, networks in the air with their right secrets, profiles. It is
told there to be slow, to fail, or to say strange things; each call is noted in `calls`.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {here!r})
from stand_in_nmcli import main
main({world!r})
"""


def key_of(ssid: bytes, password: str) -> str:
    """The WPA2 key of a network, in hex."""
    return hashlib.pbkdf2_hmac("sha1", password.encode(), ssid, 4096, 32).hex()


class World:
    """The machine and the air around it; `program` is what is to be run as nmcli."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "world.json"
        self.program = str(folder / "nmcli")
        here = str(Path(__file__).parent)
        Path(self.program).write_text(PROGRAM.format(python=sys.executable, here=here, world=str(self.path)))
        Path(self.program).chmod(0o755)
        self.write({"wifi": "wlan0", "cable": False, "air": [], "profiles": {}, "up": None, "calls": []})

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self.path.read_text()))

    def write(self, world: dict[str, Any]) -> None:
        keep(self.path, world)

    def change(self, **facts: Any) -> None:
        self.write({**self.read(), **facts})

    def hears(self, ssid: bytes, signal: int = 70, security: str = "WPA2", secret: str = "") -> None:
        """A network comes within reach."""
        air = self.read()["air"]
        entry = {"ssid": ssid.hex(), "signal": signal, "security": security, "secret": secret}
        self.change(air=[*air, entry])

    def calls(self) -> list[list[str]]:
        return list(self.read()["calls"])


def keep(file: Path, world: dict[str, Any]) -> None:
    """Whole at every moment, for who reads meanwhile."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(world))
    beside.replace(file)


def main(path: str) -> None:
    """One call of nmcli."""
    file = Path(path)
    world = json.loads(file.read_text())
    arguments = [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in sys.argv[1:]]
    world["calls"].append(arguments)
    keep(file, world)
    time.sleep(world.get("slow_s", 0))
    if "dies" in world:
        fail(world["dies"])
    plain = [word for word in arguments if word not in ("-t", "-e", "yes") or arguments.index(word) > 3]
    text = " ".join(plain)
    if "device status" in text:
        devices(world)
    elif "wifi list" in text:
        for entry in world["air"]:
            used = "*" if world["up"] and world["profiles"][world["up"]]["ssid"] == entry["ssid"] else " "
            print(f"{used}:{entry['signal']}:{entry['security']}:{entry['ssid']}")
        for line in world.get("noise", []):
            print(line)
    elif "connection show" in text:
        for profile, facts in world["profiles"].items():
            print(f"{facts['name'].replace(chr(92), chr(92) * 2).replace(':', chr(92) + ':')}:{profile}")
    elif "connection add" in text:
        add(world, arguments)
    elif "connection delete" in text:
        profile = arguments[-1]
        if profile not in world["profiles"]:
            fail(f"Error: unknown connection '{profile}'.", 10)
        del world["profiles"][profile]
        world["up"] = None if world["up"] == profile else world["up"]
    elif "connection modify" in text:
        world["profiles"][arguments[-3]]["facts"][arguments[-2]] = arguments[-1]
    elif "connection up" in text:
        up(world, arguments)
    else:
        fail(f"Error: argument '{text}' not understood.", 2)
    keep(file, world)


def devices(world: dict[str, Any]) -> None:
    print("lo:loopback:connected (externally):lo")
    if world["cable"]:
        print(r"eth0:ethernet:connected:Wired\: upstairs")
    if world["wifi"]:
        up = world["profiles"][world["up"]]["name"] if world["up"] else ""
        state = "connected" if up else "disconnected"
        print(f"{world['wifi']}:wifi:{state}:{up}")


def add(world: dict[str, Any], arguments: list[str]) -> None:
    words = arguments[arguments.index("add") + 1 :]
    facts = dict(zip(words[::2], words[1::2], strict=True))
    ssid = facts["802-11-wireless.ssid"].encode("utf-8", "surrogateescape").hex()
    world["profiles"][facts["connection.uuid"]] = {"name": facts["con-name"], "ssid": ssid, "facts": facts}


def up(world: dict[str, Any], arguments: list[str]) -> None:
    profile = arguments[arguments.index("uuid") + 1]
    secret = ""
    if "passwd-file" in arguments:
        name, _, secret = Path(arguments[-1]).read_text().rstrip("\n").partition(":")
        if name != "802-11-wireless-security.psk":
            fail("Error: passwd-file: bad line")
    facts = world["profiles"][profile]
    if facts["facts"].get("802-11-wireless.mode") != "ap":
        here = [entry for entry in world["air"] if entry["ssid"] == facts["ssid"]]
        if not here:
            fail("Error: Connection activation failed: (53) The Wi-Fi network could not be found.", 4)
        if here[0]["secret"] != secret:
            fail(
                "Warning: password for '802-11-wireless-security.psk' not given in 'passwd-file' ...\n"
                "Error: Connection activation failed: (7) Secrets were required, but not provided.",
                4,
            )
    facts["secret"] = secret
    world["up"] = profile


def fail(text: str, code: int = 1) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)
