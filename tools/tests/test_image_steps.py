"""The steps of deploy/Dockerfile, played in clean roots: no container engine is needed for what they say.

Each stage is a root of debootstrap; what runs in it has name spaces of its own, so nothing stays behind.
The image runs as compose.yaml starts it: its root read only, without capabilities, /tmp in memory.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from clean_root import in_root, run_step
from house_under_test import ROOT, until

NEEDED = ("debootstrap", "unshare", "nsenter", "setpriv", "git")
MISSING = [name for name in NEEDED if not shutil.which(name)] + ["root"] * (os.geteuid() != 0)
pytestmark = [
    pytest.mark.slow,  # 8 minutes on two busy cores: two systems, the packages and the documentation
    pytest.mark.timeout(5400),
    pytest.mark.skipif(bool(MISSING), reason=f"cannot make a clean root here: no {', '.join(MISSING)}"),
]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
CRON_LINE = re.compile(r"docker exec deploy-opq-1 (.*?) >")
"""What cron has a container do, in docs/operating.md."""
VOLUMES = ("/var/lib/opq", "/var/lib/opq-backups")
FROZEN = f"""ip link set lo up; ip route add 192.0.2.0/24 dev lo  # a container has a network
mount -o remount,bind,ro "$root"; mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for volume in {" ".join(VOLUMES)}; do mount --bind "$root.volumes$volume" "$root$volume"; done
"""
GATEWAY_AND_BOX = """mkdir /tmp/gateway; cp -r /var/lib/opq/curve /tmp/gateway; cd /tmp/gateway
printf '[[box]]\\nid = "1"\\nport = "/tmp/ports/box1"\\n' > gateway.toml
python3 -m opq_sim.box --sim 1 --ports-dir /tmp/ports > box.log 2>&1 &
opq-gateway run --config gateway.toml --data-dir /tmp/gateway > gateway.log 2>&1 &
"""
CONFINED = "--reuid=opq --regid=opq --init-groups --inh-caps=-all --bounding-set=-all --no-new-privs"


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: its own name, what it continues, and its instructions as (word, rest)."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]


def stages() -> list[Stage]:
    """All stages, in order; the last one has no name."""
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name, base, ()))
        elif line and not line.startswith("#"):
            found[-1] = replace(found[-1], steps=(*found[-1].steps, (word, rest)))
    return found


def needed_stages() -> list[Stage]:
    """The stages that the last one rests on, in order, itself too."""
    wanted, found = {""}, []
    for stage in reversed(stages()):
        if stage.name in wanted:
            found.insert(0, stage)
            wanted |= {stage.base, *re.findall(r"--from=(\S+)", str(stage.steps))}
    return found


def rest_of(word: str) -> str:
    """What the image says last of a word, such as ENTRYPOINT."""
    steps = [step for stage in needed_stages() for step in stage.steps]
    return next(rest for name, rest in reversed(steps) if name == word)


def copy_into(root: Path, rest: str, stage_roots: Path) -> None:
    """COPY: of the clone's files as git has them, or of an earlier stage."""
    *sources, target = rest.split()
    if sources[0].startswith("--from="):
        earlier = stage_roots / sources[0].removeprefix("--from=")
        shutil.copytree(f"{earlier}{sources[1]}", f"{root}{target}", symlinks=True)
    elif sources == ["."]:
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            (Path(f"{root}{target}") / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, f"{root}{target}/{name}")
    else:
        folder = Path(f"{root}{target}") if target.endswith("/") else Path(f"{root}{target}").parent
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(ROOT / source, f"{root}{target}")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The root that the Dockerfile makes."""
    # Not below pytest's folder: its clearing could meet a mount.
    with tempfile.TemporaryDirectory(prefix="opq-image-") as name:
        folder = Path(name)
        first = needed_stages()[0].base
        suite = re.fullmatch(r"debian:(\w+)-slim@sha256:[0-9a-f]{64}", first)
        assert suite is not None
        debian = folder / first
        subprocess.run(
            ("debootstrap", "--variant=minbase", suite[1], debian), check=True, stdout=subprocess.DEVNULL
        )
        (debian / "etc/dpkg/dpkg.cfg.d/image").write_text("force-unsafe-io\n")  # as in Debian's images
        shutil.copy("/etc/resolv.conf", debian / "etc/resolv.conf")
        for stage in needed_stages():
            root = folder / (stage.name or "image")
            subprocess.run(("cp", "-a", folder / stage.base, root), check=True)
            inside = "/"
            for word, rest in stage.steps:
                if word == "WORKDIR":
                    inside = rest
                elif word == "RUN":
                    run_step(root, f"cd {inside}; {rest}")
                elif word == "COPY":
                    copy_into(root, rest, folder)
        for volume in VOLUMES:  # an empty volume is a copy of what the image has there, with its owner
            (Path(f"{root}.volumes") / volume[1:]).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(("cp", "-a", f"{root}{volume}", f"{root}.volumes{volume}"), check=True)
        yield root


class Container:
    """What `docker run` makes of the image."""

    def __init__(self, image: Path) -> None:
        self._inside = ["setpriv", *CONFINED.split(), "env", "-i", *shlex.split(rest_of("ENV"))]
        words = [*json.loads(rest_of("ENTRYPOINT")), *json.loads(rest_of("CMD"))]
        self.log = (image.parent / "log").open("w+")
        command = in_root(image, FROZEN, *self._inside, *words)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self._root = image

    def _first(self) -> list[str]:
        """The number of the container's process 1, as this machine has it."""
        outer = self.process.pid
        return Path(f"/proc/{outer}/task/{outer}/children").read_text().split()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker exec`."""
        until(self._first, 5.0, "the container's process is there")
        spaces = ("--mount", "--pid", "--net")
        enter = ("nsenter", "--target", self._first()[0], *spaces, "chroot", str(self._root))
        return subprocess.run((*enter, *self._inside, *words), capture_output=True, text=True, check=False)

    def get(self, path: str) -> str:
        """A page of View, asked from within the container's network."""
        program = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
        return self.run("python3", "-c", program, f"http://127.0.0.1:8888{path}").stdout

    def end(self) -> int:
        self.run("sh", "-c", "kill -TERM 1")  # the process 1 of a container gets the signal of `docker stop`
        return self.process.wait(240)

    def kill(self) -> None:
        if self.process.poll() is None:
            # With the first process, which has other rights than its parent, all in its name space end.
            for number in self._first():
                os.kill(int(number), signal.SIGKILL)
        self.process.wait()


def test_the_unprivileged_image_shows_an_incident(image: Path) -> None:
    began = time.monotonic()
    container = Container(image)
    try:
        health = json.loads(rest_of("HEALTHCHECK").partition(" CMD ")[2])
        until(lambda: container.run(*health).returncode == 0, 60.0, "the health check passes")
        well_s = time.monotonic() - began
        facts = container.run("sh", "-c", "id -un; grep CapEff /proc/1/status; touch /opt/opq/x /etc/x")
        assert facts.stdout.split() == ["opq", "CapEff:", "0" * 16]
        assert facts.stderr.count("Read-only file system") == 2
        (by_cron,) = CRON_LINE.findall((ROOT / "docs/operating.md").read_text())
        until(lambda: container.run(*by_cron.split()).returncode == 0, 30.0, "status by cron's line is 0")
        docs = container.run("opq-tools", "open", "docs", "--print").stdout.strip()
        assert Path(f"{image}{docs.removeprefix('file://')}").is_file()
        words = ("opq-cloud", "view", "--first-admin", "--data-dir", VOLUMES[0])
        assert "http" in container.run(*words).stdout
        keys = container.run("opq-tools", "keygen", "--out", "/var/lib/opq/curve", "--boxes", "1")
        assert keys.returncode == 0, keys.stderr
        box = container.run("sh", "-c", GATEWAY_AND_BOX)
        assert box.returncode == 0, box.stderr
        until(lambda: "Box 1" in container.get("/"), 30.0, "the page shows the Box")
        sag = [
            "opq-tools",
            "sim",
            "event",
            "sag",
            "--box",
            "1",
            "--depth",
            "0.3",
            "--ports-dir",
            "/tmp/ports",
        ]
        until(lambda: container.run(*sag).returncode == 0, 10.0, "the Box takes the disturbance")
        until(lambda: "Sag to " in container.get("/incidents/1"), 30.0, "the incident is on the page")
        backup = container.run("opq-tools", "backup", VOLUMES[1], "--data-dir", VOLUMES[0])
        assert backup.returncode == 0, backup.stderr
        assert container.end() == 0
        print(f"well after {well_s:.1f} s")
    finally:
        container.kill()
