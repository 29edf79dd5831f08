"""The way of a Measurement in docs/ways.md is the one that it takes, without a return."""

import re
import threading
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import opq_cloud
from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import MeasurementReader
from opq_proto.messages import Measurement

ROOT = Path(opq_cloud.__file__).parents[2]
PART = re.compile(r"## A Measurement through Makai\n(.*?)\n## ", re.DOTALL)
STAY = re.compile(r"^\d+\. `([\w/]+\.py)` `(?:\w+\.)?(\w+)`", re.MULTILINE)
DIP = 2
"""Number of the Measurement with the dip."""


def stays_of_page() -> list[tuple[str, str]]:
    found = PART.search((ROOT / "docs" / "ways.md").read_text(encoding="utf-8"))
    assert found is not None
    return STAY.findall(found[1])


def has_the_dip(value: object) -> bool:
    if isinstance(value, Measurements):
        return DIP in value.sequence.tolist()
    if isinstance(value, MeasurementReader):
        return bool(value.pressing)
    return isinstance(value, Measurement) and value.sequence == DIP


def is_handed_the_dip(frame: Any) -> bool:
    """Whether one of its arguments has it; at a call these are all its names."""
    return any(map(has_the_dip, frame.f_locals.values()))


def test_a_dip_passes_each_stay_once(makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stays = stays_of_page()
    files = {str(ROOT / path): path for path, _ in stays}
    assert len(stays) == len(files) <= 8, "a file twice is a return"
    passed: list[tuple[str, str]] = []
    watching = threading.Event()

    def note(frame: Any, what: str, _: object) -> None:
        code = frame.f_code
        if what != "call" or not watching.is_set() or code.co_name.startswith("<"):  # a part of its function
            return
        path = files.get(code.co_filename)
        if path is not None and ((path, code.co_name) in stays or is_handed_the_dip(frame)):
            passed.append((path, code.co_name))

    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    service = TriggeringService(config, shared, Nominal(120.0, 60.0))
    client, box = makai.client(brokers), makai.holding_box(brokers, "1")
    threading.setprofile(note)
    try:
        with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
            threading.setprofile(None)
            makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
            makai.wait_for(lambda: makai.arrives(box.plain, client) and service.counters.total("received"))
            box.send()
            makai.wait_for(lambda: shared.store.sequences("1", 1, 9) == [1])
            watching.set()
            box.send(least=60.0)
            makai.wait_for(lambda: shared.store.sequences("1", 1, 9) == [1, DIP])
            watching.clear()
    finally:
        threading.setprofile(None)
        shared.close()
    named = [stay for stay in passed if stay in stays]
    assert named == stays
    assert [path for path, _ in groupby(path for path, _ in passed)] == [path for path, _ in stays]
