"""Alerts that fire by what `/metrics` printed: a unit test of promtool made of scrapes, and its result.

Before the fault each series stands as it was scraped last; then come the scrapes under the fault, a scrape
interval apart. After them counters go on at the rate that they had, and so do gauges that a test names; all
others stop.
"""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from house_under_test import ROOT
from prometheus_client.parser import text_string_to_metric_families

PROMTOOL = shutil.which("promtool")
RULES = ROOT / "deploy/prometheus/alerts.yml"
INTERVAL_S = 15
"""scrape_interval of deploy/prometheus/prometheus.yml."""
BEFORE = 80
"""Scrapes before the fault: 20 minutes, longer than any rule looks back."""
AFTER = 80
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Alert:
    name: str
    labels: Mapping[str, str]
    """Without `alertname`, `severity`, `job` and `instance`."""
    summary: str


@dataclass
class Scrapes:
    """What Prometheus has of some instances: value by series, at the times of the scrapes."""

    times_s: list[float] = field(default_factory=list)
    values: dict[tuple[str, Labels], dict[int, float]] = field(default_factory=dict)

    def add(self, texts: Mapping[tuple[str, str], str | None]) -> None:
        """(job, instance) -> its text, or None: it did not answer. Prometheus notes that as `up`."""
        number = len(self.times_s)
        self.times_s.append(time.monotonic())
        for (job, instance), text in texts.items():
            own = {"job": job, "instance": instance}
            self._put(number, "up", own, float(text is not None))
            for family in text_string_to_metric_families(text or ""):
                for sample in family.samples:
                    self._put(number, sample.name, {**sample.labels, **own}, sample.value)

    def _put(self, number: int, name: str, labels: Mapping[str, str], value: float) -> None:
        self.values.setdefault((name, tuple(sorted(labels.items()))), {})[number] = value

    def under(self, name: str, **labels: str) -> list[float]:
        """The values of the first series that has these labels, in the scrapes under the fault."""
        found = next(
            values
            for (known, own), values in self.values.items()
            if known == name and labels.items() <= set(own)
        )
        return [value for number, value in sorted(found.items()) if number > 0]

    def values_of(self, name: str, labels: Labels, goes_on: bool) -> str:
        """In promtool's notation: the first scrape, held; those under the fault, and what follows."""
        found = self.values[name, labels]
        under = [found.get(number) for number in range(1, len(self.times_s))]
        words = [_held(found.get(0), BEFORE)]
        words += ["_" if value is None else f"{value:.9f}" for value in under]
        if not goes_on or len(under) == 1 or under[-1] is None or under[0] is None:
            return " ".join([*words, _held(under[-1], AFTER)])
        slope = (under[-1] - under[0]) / (self.times_s[-1] - self.times_s[1]) * INTERVAL_S
        return " ".join([*words, f"{under[-1] + slope:.9f}{slope:+.9f}x{AFTER - 1}"])


def _held(value: float | None, count: int) -> str:
    return f"_x{count - 1}" if value is None else f"{value:.9f}+0x{count - 1}"


def scrape(places: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str | None]:
    """(job, instance) -> what its address prints now."""
    return {place: _text(url) for place, url in places.items()}


def _text(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=240) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def scraped_under(
    read: Callable[[], Mapping[tuple[str, str], str | None]],
    count: int = 4,
    apart_s: float = 1.5,
    begin: Callable[[], object] = lambda: None,
) -> Scrapes:
    """One scrape before the fault begins, the others under it."""
    found = Scrapes()
    found.add(read())
    begin()
    for _ in range(count - 1):
        found.add(read())
        time.sleep(apart_s)
    return found


def fired(scrapes: Scrapes, minutes: float, folder: Path, rising: Collection[str] = ()) -> list[Alert]:
    """All that fires so many minutes after the fault began; `rising`: gauges that go on as counters do."""
    if not PROMTOOL:
        pytest.skip("needs promtool: apt-get install prometheus")
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    asked = " ".join(rule["expr"] for rule in rules)
    series = [
        {
            "series": _series(name, labels),
            "values": scrapes.values_of(name, labels, name.endswith("_total") or name in rising),
        }
        for name, labels in scrapes.values
        if re.search(rf"\b{name}\b", asked)
    ]
    at_s = round(BEFORE * INTERVAL_S + minutes * 60)
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{INTERVAL_S}s",
        "tests": [
            {
                "interval": f"{INTERVAL_S}s",
                "input_series": series,
                "alert_rule_test": [
                    {"eval_time": f"{at_s}s", "alertname": rule["alert"], "exp_alerts": []} for rule in rules
                ],
            }
        ],
    }
    path = folder / "alerts-test.yml"
    path.write_text(json.dumps(test))
    done = subprocess.run([PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "got:[" in said, said
    return _alerts(said)


def _series(name: str, labels: Labels) -> str:
    return name + "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels) + "}"


def _alerts(said: str) -> list[Alert]:
    """What promtool found instead of nothing."""
    found = []
    for got in re.findall(r"got:\[(.*?)\n\s*\]", said, re.S):
        for labels, notes in re.findall(r"Labels:(\{.*?\})\s*Annotations:(\{.*?\}),?\s*$", got, re.M | re.S):
            known = dict(_LABEL.findall(labels))
            summary = json.loads('"' + dict(_LABEL.findall(notes))["summary"] + '"')
            kept = {
                key: value
                for key, value in known.items()
                if key not in ("alertname", "severity", "job", "instance")
            }
            found.append(Alert(known["alertname"], kept, summary))
    return found
