"""The image is built and its services run in podman, as compose.yaml has them.

    clone --podman build--> image --compose's options--> pod, services <--CURVE-- gateway and Box outside

One system goes the whole way: compact, a copy, a new tag, a restore into an empty volume, and on to apart.
What compose.yaml pulls is played by programs of this machine in the pod's network: FerretDB for MongoDB,
Debian's prometheus for its image.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from container_engine import COMPOSE, DEPLOY, HERE, Engine, Services, in_network_of, missing
from free_ports import free_port
from house_under_test import ROOT, until

pytestmark = [
    pytest.mark.slow,  # 27 minutes on two busy cores: a system of Debian, the libraries, the documentation
    pytest.mark.timeout(7200),
    pytest.mark.skipif(bool(missing()), reason=f"no containers can run here: no {', '.join(missing())}"),
]
NAME = "pq.example.org"
GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
COMPACT = ("opq", "opq-triggering-broker", "opq-acquisition-broker")
APART = tuple(
    name for name, each in COMPOSE.items() if each.get("profiles") == ["apart"] and "OPQ_HEALTH" in str(each)
)
MONGO = "mongodb://127.0.0.1:27017/opq"
DATA = ("--data-dir", "/var/lib/opq")
PATIENCE_S = 240.0
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def said() -> Iterator[list[str]]:
    """What was seen, with the time since the start."""
    lines: list[str] = []
    yield lines
    print("\n".join(lines))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman with the image `opq-toolkit:test`; OPQ_TEST_STORAGE names a storage that has one from before."""
    kept = os.environ.get("OPQ_TEST_STORAGE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("engine")
    made = Engine(folder)
    if not made.has_image("opq-toolkit:test"):
        made.make_base(folder / "base")
        made.build(folder / "context", "test")
    words = ("run", "--rm", *HERE, "--network", "none", "--entrypoint", "true", "opq-toolkit:test")
    tried = made.result(*words)
    if tried.returncode:
        pytest.skip(f"no container starts here: {tried.stderr.strip()[-300:]}")
    yield made
    if not kept:
        made.result("system", "reset", "--force", wait_s=600)


class OutsideGateway:
    """A gateway and a simulated Box on this machine, outside the pod's network."""

    def __init__(self, folder: Path, services: Services) -> None:
        self._folder, self._services = folder, services
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        ports = {name: f"tcp://{self._services.ports[name]}" for name in ("9880", "8194", "8196")}
        text = f"""health_endpoint = "127.0.0.1:{free_port()}"
[uplink]
trigger_endpoint = "{ports["9880"]}"
command_endpoint = "{ports["8194"]}"
response_endpoint = "{ports["8196"]}"
[[box]]
id = "1"
port = "{self._folder}/ports/box1"
"""
        (self._folder / "gateway.toml").write_text(text)
        config = ("--config", str(self._folder / "gateway.toml"), "--data-dir", str(self._folder / "D"))
        self._start("gateway", str(BIN / "opq-gateway"), "run", *config)

    def start_box(self) -> None:
        words = ("-m", "opq_sim.box", "--sim", "1", "--ports-dir", f"{self._folder}/ports")
        self._start("box", sys.executable, *words)

    def _start(self, name: str, *words: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running.append(subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def sag(self) -> bool:
        words = (
            "sim",
            "event",
            "sag",
            "--box",
            "1",
            "--depth",
            "0.3",
            "--ports-dir",
            f"{self._folder}/ports",
        )
        done = subprocess.run([BIN / "opq-tools", *words], capture_output=True, check=False)
        return done.returncode == 0

    def end_gateway(self) -> None:
        gateway = self._running.pop()
        gateway.terminate()
        assert gateway.wait(240) == 0

    def end(self) -> None:
        for each in self._running:
            each.terminate()
        for each in self._running:
            each.wait(240)


@contextmanager
def beside(services: Services, log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this machine in the pod's network."""
    with log.open("wb") as out:
        words = in_network_of(services.process("pod"), *command)
        process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(240)


class Story:
    """One system, by what its operator does and sees."""

    def __init__(self, engine: Engine, folder: Path, said: list[str]) -> None:
        self.engine, self.folder, self._said = engine, folder, said
        self._began_s = time.monotonic()
        self.of = "opq"
        """The service in which commands are typed."""

    def note(self, text: str) -> None:
        self._said.append(f"{time.monotonic() - self._began_s:7.1f} s  {text}")

    def page(self, services: Services, path: str) -> str:
        return services.execute(self.of, "python3", "-c", GET, f"http://127.0.0.1:8888{path}").stdout

    def healthy(self, services: Services, names: tuple[str, ...]) -> None:
        for name in names:
            until(partial(services.healthy, name), PATIENCE_S, f"{name} is healthy")
        self.note(f"{len(names)} services pass the health check of compose.yaml: {', '.join(names)}")

    def has_incidents(self, services: Services, number: int) -> None:
        what = f"incident {number} is on the page"
        until(lambda: "Sag to " in self.page(services, f"/incidents/{number}"), PATIENCE_S, what)
        title = re.search(r"<h1[^>]*>(.*?)</h1>", self.page(services, f"/incidents/{number}"), re.S)
        words = re.sub(r"<[^>]*>|\s+", " ", title[1]).strip() if title else "?"
        self.note(f"the page has incident {number}: {words}")

    def measures(self, services: Services) -> None:
        """The Box sends, as `status` has it."""

        def sends() -> bool:
            done = services.execute(self.of, "opq-tools", "status", *DATA, "--json")
            now_ms = time.time() * 1000
            boxes = json.loads(done.stdout or '{"boxes": []}')["boxes"]
            return any(now_ms - (each["last_seen_ms"] or 0) < 10_000 for each in boxes)

        until(sends, PATIENCE_S, "status says that Box 1 measures")

    def status(self, services: Services) -> dict[str, Any]:
        done = services.execute(self.of, "opq-tools", "status", *DATA, "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def stop(self, services: Services) -> None:
        ended = services.stop()
        ended.pop("pod")
        assert ended == dict.fromkeys(ended, "0"), "SIGTERM ends each service with 0"
        self.note(f"SIGTERM: {len(ended)} services ended with 0")


def test_a_system_lives_in_containers(engine: Engine, tmp_path: Path, said: list[str]) -> None:
    story = Story(engine, tmp_path, said)
    story.note(engine.run("version", "--format", "podman {{.Client.Version}}"))
    inspected = json.loads(engine.run("image", "inspect", "opq-toolkit:test"))[0]
    assert inspected["Healthcheck"]["Test"] == ["CMD", "/opt/start", "--healthy"]
    story.note(f"the image has {inspected['Size'] / 1e6:.0f} MB and its health check")
    environment = {"OPQ_TAG": "test", "OPQ_HOST": NAME}
    services = Services(engine, f"opq{os.getpid()}", environment, tmp_path / "cloud-apart.toml")
    restored = Services(engine, f"new{os.getpid()}", environment, None)
    outside = OutsideGateway(tmp_path, services)
    with ExitStack() as ending:
        for each in (services, restored):
            ending.callback(each.remove)
        ending.callback(outside.end)
        compact(story, services, outside)
        archive = copied(story, services)
        story.stop(services)
        engine.run("tag", "opq-toolkit:test", "opq-toolkit:next")
        environment["OPQ_TAG"] = "next"
        services.start("pod", *COMPACT)
        story.healthy(services, COMPACT)
        story.has_incidents(services, 1)
        story.measures(services)
        story.note("the new tag runs on the same volumes, and the gateway sends again")
        story.stop(services)
        restored_elsewhere(story, services, restored, archive)
        apart(story, services, outside)


def compact(story: Story, services: Services, outside: OutsideGateway) -> None:
    services.start("pod", *COMPACT)
    story.healthy(services, COMPACT)
    facts = services.execute("opq", "sh", "-c", "id -un; grep CapEff /proc/1/status; touch /opt/x /etc/x")
    assert facts.stdout.split() == ["opq", "CapEff:", "0" * 16]
    assert facts.stderr.count("Read-only file system") == 2
    link = services.execute("opq", "opq-cloud", "view", "--first-admin", *DATA)
    assert link.stdout.startswith(f"https://{NAME}/first-admin?code="), link.stderr
    assert story.status(services)["page"] == f"https://{NAME}"
    shown = services.execute("opq", "opq-tools", "open", "--print", *DATA)
    assert shown.stdout.strip() == f"https://{NAME}/"
    story.note(f"--first-admin, status and open name https://{NAME}")
    made = services.execute("opq", "opq-tools", "keygen", "--out", "/var/lib/opq/curve", "--boxes", "1")
    assert made.returncode == 0, made.stderr
    for name in ("private_keys/opqbox1_secret", "public_keys/opqserver.key"):
        to = story.folder / "D/curve" / name
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        story.engine.run("cp", f"{services.container('opq')}:/var/lib/opq/curve/{name}", str(to))
        os.chown(to, 0, 0)
    outside.start_box()
    outside.start()
    story.measures(services)
    story.note(f"a gateway outside is connected by CURVE at {services.ports['9880']}")
    until(outside.sag, PATIENCE_S, "the Box takes the disturbance")
    story.has_incidents(services, 1)


def copied(story: Story, services: Services) -> str:
    """Makes a copy by cron's line of README; returns its path in the volume."""
    (line,) = re.findall(
        r"docker exec deploy-opq-1 sh -c '(.*backup.*)' >", (DEPLOY / "README.md").read_text()
    )
    done = services.execute(story.of, "sh", "-c", line)
    assert done.returncode == 0, done.stderr
    story.note(f"backup: {done.stdout.strip()}")
    assert not [each for each in story.status(services)["not_ok"] if "back-up" in each["name"]]
    return done.stdout.partition(":")[0]


def restored_elsewhere(story: Story, old: Services, new: Services, archive: str) -> None:
    """Into an empty volume, by README's line; then services run on it."""
    backups, data = f"{old.volume('backups')}:/var/lib/opq-backups", f"{new.volume('opq')}:/var/lib/opq"
    script = f"opq-tools restore {archive} --data-dir /var/lib/opq"
    words = ("run", "--rm", *HERE, "-v", data, "-v", backups, "--read-only", "--network", "none")
    command = ("--entrypoint", "sh", "opq-toolkit:next", "-c", script)
    story.note(f"restore into an empty volume: {story.engine.run(*words, *command)}")
    again = story.engine.result(*words, *command)
    assert again.returncode == 1 and "is not empty" in again.stderr
    unused = ("-v", f"{new.volume('mongo')}:/var/lib/opq", "--user", "12345")
    other = story.engine.result("run", "--rm", *HERE, *unused, "-v", backups, *command)
    assert other.returncode == 2 and other.stderr.count("'/var/lib/opq' is not readable") == 1, other.stderr
    story.note(f"restore by another user: {other.stderr.strip()}")
    new.start("pod", *COMPACT)
    story.healthy(new, COMPACT)
    story.has_incidents(new, 1)
    story.stop(new)


def apart(story: Story, services: Services, outside: OutsideGateway) -> None:
    """On the same volume: the store of compact is named, and copied by README's lines."""
    ferretdb = ferretdb_program()
    if ferretdb is None:
        story.note("apart: not tried, no FerretDB can be built here (it needs Go)")
        return
    text = (DEPLOY / "cloud-apart.toml").read_text()
    assert f'"{MONGO}?replicaSet=rs0"' in text
    (story.folder / "cloud-apart.toml").write_text(text.replace("?replicaSet=rs0", ""))
    story.of = "view"
    services.start("pod")
    with mongo_in_pod(story, services, ferretdb, "first") as mongo:
        services.start(*APART)
        story.healthy(services, APART)
        story.measures(services)
        (note,) = [each for each in story.status(services)["notes"] if "is not shown" in each]
        assert "opq-tools store copy --from /var/lib/opq" in note
        assert "store.passed_over" in services.log("triggering-service")
        story.note(f"apart on the volume of compact, status: {note}")
        until(outside.sag, PATIENCE_S, "the Box takes the disturbance")
        story.has_incidents(services, 1)
        scraped(story, services)
        silent_mongo(story, services, mongo)
        archive = copied(story, services)
        story.stop(services)
    services.start("pod")
    with mongo_in_pod(story, services, ferretdb, "second"):
        done = services.once("view", f'opq-tools store copy --from /var/lib/opq --to "{MONGO}"')
        story.note(f"store copy: {done.splitlines()[-1]}")
        services.once("view", "mv /var/lib/opq/opq.db /var/lib/opq/opq.db.copied")
        services.start(*APART)
        story.healthy(services, APART)
        story.has_incidents(services, 1)
        assert not [each for each in story.status(services)["notes"] if "is not shown" in each]
        story.stop(services)
    services.start("pod")
    with mongo_in_pod(story, services, ferretdb, "third"):
        empty = (
            f"{services.volume('grafana')}:/var/lib/opq",
            f"{services.volume('backups')}:/var/lib/opq-backups",
        )
        words = ("--network", f"container:{services.container('pod')}", "-v", empty[0], "-v", empty[1])
        script = f'opq-tools restore {archive} --data-dir /var/lib/opq --mongo-uri "{MONGO}"'
        script += f' && opq-tools incidents show --mongo-uri "{MONGO}"'
        last = ("--entrypoint", "sh", "opq-toolkit:next", "-c", script)
        done = story.engine.run("run", "--rm", *HERE, "--read-only", *words, *last)
        assert "sag" in done.lower()
        story.note(f"restore into an empty MongoDB: {done.splitlines()[0]}")
        story.stop(services)


def silent_mongo(story: Story, services: Services, mongo: subprocess.Popen[bytes]) -> None:
    """It accepts connections and does not answer: each command of an operator ends with 1."""
    mongo.send_signal(signal.SIGSTOP)
    try:
        for words in (("status",), ("doctor",), ("boxes", "show")):
            began_s = time.monotonic()
            done = services.execute(story.of, "opq-tools", *words, *DATA, wait_s=240.0)
            line = next(each for each in (done.stdout + done.stderr).splitlines() if "MongoDB" in each)
            assert done.returncode == 1, done.stdout
            took_s = time.monotonic() - began_s
            story.note(
                f"MongoDB is silent: {' '.join(words)} ends with 1 after {took_s:.0f} s: {line.strip()}"
            )
        ill = [each["name"] for each in story.status(services)["not_ok"]]
        story.note(f"MongoDB is silent: status names {', '.join(ill)}")
    finally:
        mongo.send_signal(signal.SIGCONT)
    story.healthy(services, APART)
    story.measures(services)


@contextmanager
def mongo_in_pod(
    story: Story, services: Services, program: Path, name: str
) -> Iterator[subprocess.Popen[bytes]]:
    folder = story.folder / name
    folder.mkdir()
    with beside(services, folder / "log", str(program), "127.0.0.1:27017", str(folder)) as mongo:
        ask = "import socket; socket.create_connection(('127.0.0.1', 27017)).close()"
        asking = in_network_of(services.process("pod"), sys.executable, "-c", ask)

        def answers() -> bool:
            return subprocess.run(asking, stderr=subprocess.DEVNULL, check=False).returncode == 0

        until(answers, PATIENCE_S, "FerretDB answers in the pod")
        yield mongo


def scraped(story: Story, services: Services) -> None:
    """Each address of deploy/prometheus answers Prometheus."""
    program = shutil.which("prometheus")
    if program is None:
        story.note("Prometheus: not tried, it is not installed (apt-get install prometheus)")
        return
    words = (f"--config.file={DEPLOY}/prometheus/prometheus.yml", f"--storage.tsdb.path={story.folder}/tsdb")
    with beside(
        services, story.folder / "prometheus.log", program, *words, "--web.listen-address=127.0.0.1:9090"
    ):

        def healths() -> list[str]:
            asked = ("python3", "-c", GET, "http://127.0.0.1:9090/api/v1/targets")
            text = services.execute("view", *asked).stdout
            return [each["health"] for each in json.loads(text)["data"]["activeTargets"]] if text else []

        until(lambda: len(healths()) == 8 and {*healths()} == {"up"}, PATIENCE_S, "all targets are up")
        story.note("Prometheus: 8 of 8 targets of deploy/prometheus/prometheus.yml are up")


def ferretdb_program() -> Path | None:
    sys.path.insert(0, str(ROOT / "cloud/tests/store"))
    try:
        import ferretdb_build
    finally:
        sys.path.pop(0)
    return ferretdb_build.program() if ferretdb_build.build(600.0, print) else None
