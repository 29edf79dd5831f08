"""Containers, alerts and dashboards: their programs take them, and a running system has what they name."""

import json
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from house_under_test import ROOT, House

from opq_proto.kit.ports import PORTS

DEPLOY = ROOT / "deploy"
COMPOSE, PROMTOOL = shutil.which("docker-compose"), shutil.which("promtool")
METRIC = re.compile(r"\b(?:opq|process)_[a-z0-9_]+\b")
ONLY_UNDER_A_FAULT = {"opq_documents_unreadable_total"}
"""test_alert_rules.py makes it."""
OF_PROMETHEUS = {"instance", "job"}
"""Labels that it adds."""


def labels_without_a_value(metric: str) -> set[str]:
    """Labels of a metric that has no value yet: of the gateway's about Boxes, and of the cloud's."""
    return {"box_id"} if metric.startswith("opq_gateway_box_") else {"service", "of", "stage"}


COMPOSE_FILE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    running = House(tmp_path_factory.mktemp("deploy") / "D", "--sim", "1")
    running.wait_for("everything runs")
    yield running
    assert running.end() == 0


def told(house: House, port: str, path: str) -> str:
    url = f"http://127.0.0.1:{PORTS[port] + house.offset}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def named_metrics() -> dict[str, str]:
    """Metric -> what names it."""
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    found = {name: rule["alert"] for rule in rules for name in METRIC.findall(rule["expr"])}
    panels = json.loads((DEPLOY / "grafana/dashboards/opq.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            found |= dict.fromkeys(METRIC.findall(target["expr"]), panel["title"])
    return found


def printed_metrics(house: House) -> str:
    return "".join(told(house, port, "/metrics") for port in ("mauka_health", "gateway_health", "view"))


def test_alerts_and_dashboards_name_existing_metrics(house: House) -> None:
    text = printed_metrics(house)
    there = {
        name + end
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
        for end in ("", *(("_bucket", "_count", "_sum") if kind == "histogram" else ()))
    }
    assert {name for name in named_metrics() if name not in there} == ONLY_UNDER_A_FAULT
    assert len(named_metrics()) > 20


def test_alerts_and_dashboards_name_existing_labels(house: House) -> None:
    """A label that is not there is an empty word in a message: `the gateway of Box  does not reach`."""
    labels: dict[str, set[str]] = {}
    for name, found in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", printed_metrics(house), re.M):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    named = [
        (rule["alert"], rule["expr"], re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        for rule in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    ]
    for panel in json.loads((DEPLOY / "grafana/dashboards/opq.json").read_text())["panels"]:
        for target in panel["targets"]:
            legend = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            named.append((panel["title"], target["expr"], legend))
    for title, expression, words in named:
        metrics = METRIC.findall(expression)
        there = set.union(
            OF_PROMETHEUS, *(labels.get(name) or labels_without_a_value(name) for name in metrics)
        )
        assert set(words) <= there, title
    assert sum(bool(words) for _, _, words in named) > 15


def test_a_containers_health_check_answers_0_or_1(house: House) -> None:
    def healthy(port: int) -> int:
        environment = {**os.environ, "OPQ_HEALTH": f"http://127.0.0.1:{port}/"}
        return subprocess.run(
            ["sh", str(DEPLOY / "start"), "--healthy"],
            env=environment,
            check=False,
            stderr=subprocess.DEVNULL,
        ).returncode

    assert healthy(PORTS["mauka_health"] + house.offset) == 0
    assert healthy(1) == 1


@pytest.mark.skipif(not COMPOSE, reason="needs docker-compose: apt-get install docker-compose")
@pytest.mark.parametrize("profile", ["compact", "apart", "update"])
def test_compose_takes_the_file(profile: str) -> None:
    words = [str(COMPOSE), "-f", str(DEPLOY / "compose.yaml"), "--profile", profile, "config", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_cloud_service_has_a_checked_container() -> None:
    """Its health check asks the service's own address."""
    from opq_cloud.__main__ import HELP

    services = COMPOSE_FILE["services"]
    apart = {name: each for name, each in services.items() if each.get("command", [""])[0] == name}
    assert set(apart) - {"caddy"} == set(HELP) - {"all"}
    asked = [each["environment"]["OPQ_HEALTH"] for each in apart.values() if "environment" in each]
    ports = {int(url.split(":")[2].split("/")[0]) for url in asked}
    assert ports <= set(PORTS.values()) and len(ports) == len(HELP) - 1
    for each in (*apart.values(), services["opq"], services["pod"]):
        if each["image"] == "opq-toolkit":
            assert each["read_only"] and each["cap_drop"] == ["ALL"]


def test_the_image_copies_what_is_here() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        assert all((ROOT / source).exists() for source in sources.split())
    assert "\nUSER 10001\n" in text and "--uid 10001 " in text
    assert all(os.access(DEPLOY / name, os.X_OK) for name in ("start", "without_source"))


def test_the_images_libraries_satisfy_the_wheel(tmp_path: Path) -> None:
    """`without_source` makes every file that the wheel includes, so libraries install without our sources."""
    for name in ("pyproject.toml", "LICENSE", "deploy/without_source"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([tmp_path / "without_source"], check=True)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["force-include"], *(f"{each}/__init__.py" for each in wheel["packages"])]
    assert len(needed) > 10 and [each for each in needed if not (tmp_path / each).is_file()] == []


@pytest.mark.skipif(not PROMTOOL, reason="needs promtool: apt-get install prometheus")
def test_prometheus_takes_its_files() -> None:
    words = [str(PROMTOOL), "check", "config", str(DEPLOY / "prometheus/prometheus.yml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "17 rules found" in done.stdout, done.stderr


def test_prometheus_asks_every_address_of_health() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    asked = {int(each.rpartition(":")[2]) for each in jobs[0]["static_configs"][0]["targets"]}
    healths = {name: port for name, port in PORTS.items() if name.endswith("health")}
    assert asked == {port for name, port in healths.items() if name != "gateway_health"} | {PORTS["view"]}
