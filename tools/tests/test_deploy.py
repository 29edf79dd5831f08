"""Containers and alerts: their programs take them, and they name what is here."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from house_under_test import ROOT

from opq_proto.kit.ports import PORTS

DEPLOY = ROOT / "deploy"
COMPOSE, PROMTOOL = shutil.which("docker-compose"), shutil.which("promtool")
COMPOSE_FILE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


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
    assert set(apart) - {"caddy"} == set(HELP) - {"all", "all-but-brokers"}
    asked = [each["environment"]["OPQ_HEALTH"] for each in apart.values() if "environment" in each]
    ports = {int(url.split(":")[2].split("/")[0]) for url in asked}
    assert ports <= set(PORTS.values()) and len(ports) == len(HELP) - 2
    for each in (*services.values(),):
        if each["image"] == COMPOSE_FILE["x-image"]:
            assert each["read_only"] and each["cap_drop"] == ["ALL"]


def test_the_image_copies_what_is_here() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        assert all((ROOT / source).exists() for source in sources.split())
    assert "\nUSER 10001\n" in text and "--uid 10001 " in text
    assert all(os.access(DEPLOY / name, os.X_OK) for name in ("one_configuration", "start", "without_source"))


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
