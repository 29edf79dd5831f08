"""Triggers of each kind are replaced while Measurements come: each is decided once, by one version."""

import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging_plugins import trigger_zip
from plugin_zips import manifest, stored, zipped

import opq_plugins.sdk
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.judging import limits_follower
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_plugins.host.worker import remote
from opq_plugins.policy import Policy, ProcessLimits
from opq_plugins.policy_section import PluginRules
from opq_proto.decision import Decision
from opq_proto.messages import Measurement
from opq_rules.api import rules_config as api_config

COUNTS = (2, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]))
"""Replacements."""
WINDOW_MS = 200
BEGIN_MS = 1_700_000_000_000
PERIOD_S = 0.005
LUA = "function decide(m, n) return {metric = 'vXXXX', value = 1, limit = 0, because = ''} end"
C = r"""
static const char answer[] =
    "{\"metric\": \"vXXXX\", \"value\": 1, \"limit\": 0, \"because\": \"\"}";
#include <stdio.h>
#include "opq_plugin.h"
int32_t opq_plugin_api(void) { return OPQ_PLUGIN_API; }
void *opq_open(const char *k, const char *s, const char *p, char *e, size_t n) {
    static int one;
    (void)k, (void)s, (void)p, (void)e, (void)n;
    return &one;
}
int64_t opq_trigger_decide(void *i, const char *seen, size_t size, char *decision, size_t n) {
    (void)i, (void)seen, (void)size;
    return snprintf(decision, n, "%s", answer);
}
"""
STREAM = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")'


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for two seconds is not a trigger that hangs."""
    for name in ("DECIDE_S", "BEGIN_S"):
        monkeypatch.setattr(remote, name, 60.0)
    long = replace(Policy(), trial_s=120.0, limits=ProcessLimits(call_s=60.0, start_s=60.0))

    def policy_of(rules: PluginRules, on_loopback: bool) -> Policy:
        return replace(long, trusted=frozenset(rules.trusted), server_on_loopback=on_loopback)

    monkeypatch.setattr(api_config, "policy_of", policy_of)


@pytest.fixture
def onsets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """(number of the Measurement, metric) of each onset that reaches the openings."""
    found: list[tuple[int, str]] = []
    opened = EventOpenings.open_at_onset

    def noted(self: EventOpenings, measurement: Measurement, decision: Decision, *, stored: bool) -> bool:
        found.append(((measurement.timestamp_ms - BEGIN_MS) // WINDOW_MS, decision.metric))
        return opened(self, measurement, decision, stored=stored)

    monkeypatch.setattr(EventOpenings, "open_at_onset", noted)
    return found


AHEAD = 200
"""Measurements on their way at most: more than a socket holds would be lost where the service is late."""


class Flow:
    """Box 4, which sends Measurement after Measurement of a time of its own; `number` is the next one."""

    def __init__(self, house: Any, rms_of: Callable[[int], float]) -> None:
        self.number = 0
        self._box, self._rms_of = house.box("4"), rms_of
        self._received = house.service.counters.total
        self._stop = threading.Event()

    def send(self) -> None:
        end_ms = BEGIN_MS + self.number * WINDOW_MS
        span = {"start_ns": (end_ms - WINDOW_MS) * 10**6, "end_ns": end_ms * 10**6}
        rms = self._rms_of(self.number)
        self._box.pub.send_multipart(self._box.measurement(rms, end_ms, sequence=self.number, **span))
        self.number += 1

    @contextmanager
    def flowing(self) -> Iterator[None]:
        before = self.number - self._received("received")

        def run() -> None:
            while not self._stop.wait(PERIOD_S):
                if self.number - self._received("received") < before + AHEAD:
                    self.send()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def started(house: Any, rms_of: Callable[[int], float] = lambda number: 120.0) -> Flow:
    """A flow whose Measurements arrive; what was sent before that may be lost."""
    flow = Flow(house, rms_of)

    def received() -> float:
        flow.send()
        time.sleep(0.02)
        return float(house.service.counters.total("received"))

    house.wait_for(received)
    return flow


def replaced_under_load(
    house: Any, onsets: list[tuple[int, str]], put: Callable[[int], None], count: int
) -> None:
    """Exchanges the running trigger, which decides on each Measurement, `count` times."""
    flow = started(house)

    def decided_by(version: int) -> bool:
        return onsets[-1:] != [] and onsets[-1][1] == f"v{version:04}"

    put(0)
    with flow.flowing():
        house.wait_for(lambda: decided_by(0))
        first = onsets[0][0]
        for version in range(1, count + 1):
            put(version)
            house.wait_for(lambda version=version: decided_by(version))
    house.wait_for(lambda: onsets[-1][0] == flow.number - 1)
    numbers = [number for number, _ in onsets]
    assert numbers == list(range(first, flow.number)), "none unseen, none doubled, in order"
    versions = [metric for _, metric in onsets]
    assert versions == sorted(versions), "an old version decides nothing after the new one"
    counters = house.service.counters
    assert counters.total("not_judged") == counters.total("rules_dropped") == 0
    print(f"{count} replacements, {len(onsets)} Measurements")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("c")
    (folder / "loud.c").write_text(C)
    include = Path(opq_plugins.sdk.__file__).parent
    command = f"cc -Wall -Wextra -Werror -shared -fPIC -I{include} -o libloud.so loud.c"
    subprocess.run(command.split(), cwd=folder, check=True, timeout=240)
    return (folder / "libloud.so").read_bytes()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "kind",
    [
        "inproc",
        pytest.param("process", marks=pytest.mark.slow),
        pytest.param("lua", marks=pytest.mark.slow),
        pytest.param(
            "c",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
            ],
        ),
    ],
)
def test_an_installed_trigger(
    makai_with: Callable[..., Any],
    onsets: list[tuple[int, str]],
    kind: str,
    count: int,
    request: pytest.FixtureRequest,
) -> None:
    house = makai_with(trusted=("loud",) if kind == "inproc" else ())
    code = request.getfixturevalue("library") if kind == "c" else b""

    def package(version: int) -> str:
        number, metric = f"1.0.{version}", f"v{version:04}"
        if kind in ("process", "inproc"):
            return trigger_zip(house.uploads, number, mode=kind, limit=0.0, metric=metric)
        if kind == "lua":
            files = {
                "plugin.json": manifest("loud", number, kind="trigger", language="lua"),
                "triggers/loud.lua": LUA.replace("vXXXX", metric),
            }
        else:
            told = manifest(
                "loud",
                number,
                kind="trigger",
                language="c",
                executable="libloud.so",
                symbols={"triggers": ["loud"]},
            )
            files = {"plugin.json": told, "libloud.so": code.replace(b"vXXXX", metric.encode())}
        return stored(house.uploads, zipped(files), f"loud{number}.zip")

    def put(version: int) -> None:
        method, path = ("PUT", "/loud") if version else ("POST", "")
        body = {"name": "loud", "file": package(version)}
        house.ask(method, f"/plugins/triggers{path}", body, 200 if version else 201)

    replaced_under_load(house, onsets, put, count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_rule_in_sql(makai_with: Callable[..., Any], onsets: list[tuple[int, str]], count: int) -> None:
    house = makai_with()
    house.ask("POST", "/streams", {"sql": STREAM}, 201)

    def put(version: int) -> None:
        metric = f"v{version:04}"
        rule = {
            "id": "all",
            "sql": f"SELECT box, start_ms, end_ms, rms AS {metric} FROM boxes",
            "actions": [{"request_waveform": {"value": metric, "atMostPerMinute": 0}}],
        }
        method, path = ("PUT", "/all") if version else ("POST", "")
        house.ask(method, f"/rules{path}", rule, 200 if version else 201)

    replaced_under_load(house, onsets, put, count)


@pytest.mark.parametrize("count", COUNTS)
def test_settings_of_a_built_in_one(
    makai_with: Callable[..., Any],
    onsets: list[tuple[int, str]],
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dip of two windows in every ten: each has one onset, whatever changes meanwhile."""
    monkeypatch.setattr(limits_follower, "READ_S", 0.02)
    house = makai_with(PluginEntry(name="threshold"))
    flow = started(house, lambda number: 70.0 if number % 10 in (6, 7) else 120.0)
    [trigger] = [each for each in house.service._triggers.all if each.name == "threshold"]
    with flow.flowing():
        for limit in itertools.islice(itertools.cycle((80.0, 90.0)), 4 * count):
            settings = {"threshold": {"dip_percent": limit}}
            house.shared.store.put_makai_config(
                MakaiConfig(TriggeringLimits(), triggers=settings, limited=False)
            )
            house.wait_for(lambda limit=limit: trigger._trigger.config.dip_percent == limit)
            seen = len(onsets)
            house.wait_for(lambda seen=seen: len(onsets) > seen)
    dips = [number for number in range(onsets[0][0], flow.number) if number % 10 == 6]
    house.wait_for(lambda: len(onsets) >= len(dips))
    assert [number for number, _ in onsets] == dips
    assert house.service.counters.total("not_judged") == 0
    print(f"{4 * count} changes, {flow.number} Measurements, {len(dips)} dips")
