"""A gateway process as a service: systemd hears it, the page is there, saved settings end it in order."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from free_ports import free_port
from stand_in_nmcli import World

from opq_gateway.setup import saved
from opq_proto.keys.key_files import KeyFolder


def heard_until(manager: socket.socket, wanted: str, process: "subprocess.Popen[bytes]") -> list[str]:
    """What the manager hears, up to and with a line that begins so."""
    heard: list[str] = []
    until = time.monotonic() + 240
    while not any(line.startswith(wanted) for line in heard):
        assert time.monotonic() < until and (process.poll() is None or wanted == "STOPPING"), heard
        try:
            heard.append(manager.recv(4096).decode())
        except TimeoutError:
            continue
    return heard


def test_a_service_notifies_serves_and_restarts(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "curve").create(True, ["1"])
    world = World(tmp_path / "nm")
    world.hears(b"plant", 60)
    world.change(cable=True)
    (tmp_path / "password").write_text("set-up password\n")
    page, config = free_port(), tmp_path / "gateway.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n'
        f'[[box]]\nid = "1"\nport = "{tmp_path}/absent"\n'
        f'[setup]\nendpoint = "127.0.0.1:{page}"\nwifi = true\npassword_file = "{tmp_path}/password"\n'
    )
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(0.2)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "2000000",
        "PATH": f"{tmp_path / 'nm'}:{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        heard = heard_until(manager, "WATCHDOG=1", process)
        assert heard[0] == "READY=1" and any(line.startswith("STATUS=Box 1: port not open") for line in heard)
        address = f"http://127.0.0.1:{page}"
        password = base64.b64encode(b"opq:set-up password").decode()
        headers = {"Authorization": f"Basic {password}", "Content-Type": "application/json"}

        def ask(path: str, body: bytes | None = None) -> Any:
            request = urllib.request.Request(f"{address}{path}", body, headers)
            return json.load(urllib.request.urlopen(request, timeout=240))

        ssids = ask("/ssids")
        assert ssids == {"ssids": [["plant", 60, "WPA2", False]]}
        told = ask("/box_config")["box_config"]
        told["trg_push_ep"] = "tcp://makai.example:9880"
        body = json.dumps({"box_config": json.dumps(told)}).encode()
        assert ask("/box_config", body) == {"saved": True, "restarts": True}
        heard_until(manager, "STOPPING", process)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.wait()
        manager.close()
    assert saved.load_saved(config).uplink.trigger_endpoint == "tcp://makai.example:9880"
