"""The image and the services of compose.yaml in podman: what a test needs of an engine.

Docker's client is not needed: the options of a service are given to `podman run` as they stand in the file.
Only the ports of this machine differ, which are free ones, and the timers of health checks: podman makes them
by systemd, which need not run here, so that a test asks itself.
"""

import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from free_ports import free_port
from house_under_test import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
NEEDED = ("podman", "runc", "conmon", "catatonit", "debootstrap", "iptables", "git")
BASE = "localhost/base:test"
OTHER_CA = "etc/index.crt"


def missing() -> list[str]:
    """What a test of containers lacks here."""
    return [name for name in NEEDED if not shutil.which(name)] + ["root"] * (os.geteuid() != 0)


def limits() -> list[str]:
    """Limits that need no right: podman raises them by default, which not every sandbox allows."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = {"nofile": min(files, 20_000), "nproc": 4096}
    return [word for name, number in most.items() for word in ("--ulimit", f"{name}={number}:{number}")]


HERE = (*limits(), "--no-healthcheck", "--pull", "never")
"""Options of a container that works and ends, beside those of its line."""


class Engine:
    """podman with a storage of its own."""

    def __init__(self, storage: Path) -> None:
        self._first: tuple[str, ...] = ("podman", "--root", f"{storage}/store", "--runroot", f"{storage}/run")
        self._first += ("--runtime", "runc", "--cgroup-manager", "cgroupfs")
        self.storage = storage

    def run(self, *words: str, wait_s: float = 120.0, stdin: Any = None) -> str:
        """Standard output; an error of podman is an error of the test."""
        done = self.result(*words, wait_s=wait_s, stdin=stdin)
        assert done.returncode == 0, f"podman {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def result(
        self, *words: str, wait_s: float = 120.0, stdin: Any = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*self._first, *words), stdin=stdin, capture_output=True, text=True, timeout=wait_s, check=False
        )

    def has_image(self, name: str) -> bool:
        return self.result("image", "exists", name).returncode == 0

    def make_base(self, folder: Path) -> None:
        """What the Dockerfile's first line names, from Debian's own packages; a network's CA is added."""
        first = re.search(r"^FROM debian:(\w+)-slim@", (DEPLOY / "Dockerfile").read_text(), re.M)
        assert first is not None
        words = ("debootstrap", "--variant=minbase", first[1], str(folder))
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=1200)
        (folder / "etc/dpkg/dpkg.cfg.d/image").write_text("force-unsafe-io\n")
        if authority := os.environ.get("PIP_CERT"):
            shutil.copy(authority, folder / OTHER_CA)
            (folder / "etc/pip.conf").write_text(f"[global]\ncert = /{OTHER_CA}\n")
        packed = subprocess.Popen(
            ("tar", "-C", str(folder), "--one-file-system", "-c", "."), stdout=subprocess.PIPE
        )
        self.run("import", "-", BASE, stdin=packed.stdout, wait_s=600)
        assert packed.wait() == 0

    def build(self, context: Path, tag: str) -> None:
        """The image as deploy/README.md has podman build it, of the clone's files as git has them."""
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, os.fsdecode(names).split("\0")):
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, context / name, follow_symlinks=False)
        ignored = ("--ignorefile", f"{context}/deploy/Dockerfile.dockerignore")
        words = ("build", "--format", "docker", "--isolation", "chroot", "--pull=never", "--from", BASE)
        files = ("-f", f"{context}/deploy/Dockerfile", *ignored)
        self.run(*words, *files, "-t", f"opq-toolkit:{tag}", str(context), wait_s=3600)


class Services:
    """The containers of a profile, on volumes of their own."""

    def __init__(
        self, engine: Engine, name: str, environment: Mapping[str, str], config: Path | None
    ) -> None:
        """`config`: what is mounted in place of cloud-apart.toml."""
        self._engine, self._name, self._environment = engine, name, environment
        self._config = config
        self.ports: dict[str, str] = {}
        """Port in the pod -> address on this machine."""
        self.started: list[str] = []

    def _filled(self, value: object) -> str:
        """As compose fills in `${NAME:-default}`."""
        return re.sub(
            r"\$\{(\w+):-([^}]*)\}", lambda found: self._environment.get(found[1]) or found[2], str(value)
        )

    def volume(self, name: str) -> str:
        return f"{self._name}_{name}"

    def container(self, service: str) -> str:
        return f"{self._name}-{service}-1"

    def _options(self, service: str) -> list[str]:
        """Of a service in compose.yaml, as options of `podman run`."""
        of, words = COMPOSE[service], ["--name", self.container(service), *limits()]
        words += ["--read-only", "--read-only-tmpfs=false"] if of.get("read_only") else []
        words += [word for each in of.get("cap_drop", ()) for word in ("--cap-drop", each)]
        words += [word for each in of.get("security_opt", ()) for word in ("--security-opt", _plain(each))]
        words += [word for each in of.get("tmpfs", ()) for word in ("--tmpfs", each)]
        words += ["--init"] if of.get("init") else []
        words += ["--memory", of["mem_limit"], "--restart", of["restart"]]
        words += (
            ["--stop-timeout", of["stop_grace_period"].removesuffix("s")] if "stop_grace_period" in of else []
        )
        for name, value in of.get("environment", {}).items():
            words += ["--env", f"{name}={self._filled(value)}"]
        for each in of.get("volumes", ()):
            words += ["--volume", self._mount(each)]
        if "network_mode" in of:
            words += ["--network", f"container:{self.container('pod')}"]
        for each in of.get("ports", ()):
            inside = self._filled(each).rpartition(":")[2]
            self.ports[inside] = f"127.0.0.1:{self.ports.get(inside, '').rpartition(':')[2] or free_port()}"
            words += ["--publish", f"{self.ports[inside]}:{inside}"]
        health = of.get("healthcheck", {})
        if health.get("disable"):
            words += ["--no-healthcheck"]
        else:  # without systemd podman has no timers: `healthy` asks
            words += ["--health-cmd", json.dumps(health["test"][1:]), "--health-interval", "disable"]
        if "entrypoint" in of:
            words += ["--entrypoint", json.dumps(of["entrypoint"])]
        return words

    def _mount(self, text: str) -> str:
        source, _, rest = text.partition(":")
        if source.startswith("./"):
            return f"{self._config or DEPLOY / source}:{rest}"
        return f"{self.volume(source)}:{rest}"

    def start(self, *services: str) -> None:
        for each in services:
            words = ("run", "--detach", "--pull", "never", *self._options(each))
            self._engine.run(*words, self._filled(COMPOSE[each]["image"]), *COMPOSE[each].get("command", ()))
            self.started.append(each)

    def once(self, service: str, script: str) -> str:
        """`docker compose run --rm --entrypoint sh SERVICE -c SCRIPT`."""
        words = self._options(service)
        for name in ("--restart", "--health-cmd", "--health-interval", "--name", "--stop-timeout"):
            del words[words.index(name) : words.index(name) + 2]
        image = self._filled(COMPOSE[service]["image"])
        return self._engine.run("run", "--rm", *HERE[-3:], *words, "--entrypoint", "sh", image, "-c", script)

    def execute(self, service: str, *words: str, wait_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`docker compose exec SERVICE WORDS`."""
        return self._engine.result("exec", self.container(service), *words, wait_s=wait_s)

    def healthy(self, service: str) -> bool:
        return self._engine.result("healthcheck", "run", self.container(service)).returncode == 0

    def process(self, service: str) -> int:
        """Number of a container's first process, as this machine has it."""
        return int(self._engine.run("inspect", "--format", "{{.State.Pid}}", self.container(service)))

    def log(self, service: str) -> str:
        done = self._engine.result("logs", self.container(service))
        return done.stdout + done.stderr

    def stop(self) -> dict[str, str]:
        """`docker compose down`: SIGTERM; exit code of each service that ends by it."""
        ended = {}
        for each in reversed(self.started):
            self._engine.run("stop", self.container(each))
            ended[each] = self._engine.run("inspect", "--format", "{{.State.ExitCode}}", self.container(each))
            self._engine.run("rm", "--force", "--volumes", self.container(each))
        self.started.clear()
        return ended

    def remove(self) -> None:
        """What is left of all this, after a failure too."""
        for each in reversed(self.started):
            self._engine.result("rm", "--force", "--volumes", "--time", "1", self.container(each))
        named = {mount.partition(":")[0] for of in COMPOSE.values() for mount in of.get("volumes", ())}
        volumes = [self.volume(name) for name in named if not name.startswith("./")]
        self._engine.result("volume", "rm", "--force", *volumes)


def _plain(option: str) -> str:
    """`no-new-privileges:true` of compose, as podman has it."""
    return option.removesuffix(":true")


def in_network_of(pid: int, *command: str) -> Sequence[str]:
    """The words that run a program of this machine in the network of a container."""
    return ("nsenter", f"--net=/proc/{pid}/ns/net", *command)
