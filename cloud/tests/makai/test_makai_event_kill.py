"""Kill -9 between two steps of an event: opened, Boxes asked; stored, finished; finished, announced."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Trigger

S = 10**9
SCRIPT = """
import json, sys, threading, time
from pathlib import Path
from opq_cloud.core.service import CloudContext
from opq_cloud.store import open_store
where, folder, facts = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
shared = CloudContext(lambda: open_store(None, folder))
store = shared.store
def hanging(call):
    def made(*values):
        call(*values)
        print("here", flush=True)
        time.sleep(600)
    return made
if where == "opened":
    from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
    from opq_cloud.makai.triggering_service import TriggeringService
    from opq_proto.decision import Nominal
    store.open_event = hanging(store.open_event)
    service = TriggeringService(TriggeringServiceSection(**facts), shared, Nominal(120.0, 60.0))
else:
    from opq_cloud.core.settings.makai_settings import EventServiceSection
    from opq_cloud.makai.event_service import EventService
    if where == "stored":
        begin = store.begin_waveform
        store.begin_waveform = hanging(lambda *values: begin(*values).result())
    else:
        store.finish_event = hanging(store.finish_event)
    service = EventService(EventServiceSection(**facts), shared)
service.run(threading.Event())
"""


class Installation:
    """Brokers and Box 1, which outlive the services that are killed, and their store."""

    def __init__(self, makai: Any, folder: Path, opened: ExitStack) -> None:
        self.makai, self.brokers, self._opened = makai, makai.brokers(), opened
        self._folder = folder / "store"
        for broker in (self.brokers.triggering, self.brokers.acquisition):
            opened.enter_context(makai.running(broker))
        acquisition = self.brokers.acquisition_config
        self.triggering = {
            "measurement_endpoint": self.brokers.triggering_config.backend_endpoint,
            "request_endpoint": acquisition.request_endpoint,
            "batch_ms": 20,
        }
        self.events = {
            "answer_endpoint": acquisition.answer_endpoint,
            "request_endpoint": acquisition.request_endpoint,
            "event_endpoint": makai.free_endpoint(),
            "event_id_endpoint": makai.free_endpoint(),
            "ask_again_s": 0.5,
            "answer_timeout_s": 120.0,
        }
        self.shared = CloudContext(lambda: open_store(None, self._folder))
        opened.callback(self.shared.close)
        self.store = self.shared.store
        self.box = makai.simulated_box(makai.box(self.brokers, "1"), None)
        makai.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", "1"))

    def run(self, service: Any) -> Any:
        self._opened.enter_context(self.makai.running(service))
        return service

    @contextmanager
    def killed(self, where: str, facts: dict[str, Any]) -> Iterator[None]:
        """A process that stands still once it has come there, with what it did on disk; `kill -9` then."""
        command = [sys.executable, "-c", SCRIPT, where, str(self._folder), json.dumps(facts)]
        with (self._folder / f"{where}.stderr").open("wb") as lines:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines)
        assert process.stdout is not None
        try:
            yield
            assert process.stdout.readline() == b"here\n", (self._folder / f"{where}.stderr").read_text()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def finished(self) -> Any:
        return self.makai.wait_for(lambda: [each for each in self.store.events() if each.finished])[0]


@pytest.fixture
def installation(makai: Any, tmp_path: Path) -> Iterator[Installation]:
    with ExitStack() as opened:
        yield Installation(makai, tmp_path, opened)


def test_an_event_opened_before_a_kill_is_asked(installation: Installation) -> None:
    """Its Measurement was not stored: the Box sends it again, and it opens no second event."""
    store, plain, began_ns = installation.store, installation.box.plain, time.time_ns()

    def send() -> None:
        for sequence, rms in enumerate((120.0, 72.0, 120.0), start=1):
            end_ns = began_ns + sequence * S
            frames = plain.measurement(
                rms,
                end_ns // 10**6,
                start_ns=end_ns - S,
                end_ns=end_ns,
                uncertainty_ns=1000,
                sequence=sequence,
                oldest_sequence=1,
            )
            plain.pub.send_multipart(frames)

    def stored() -> list[int | None]:
        return sorted(row.sequence or 0 for row in store.measurements("1", 0, 2**53))

    def opened() -> bool:
        send()
        return bool(store.events())

    with installation.killed("opened", installation.triggering):
        installation.makai.wait_for(opened)
    assert 2 not in stored() and not installation.box.asked
    installation.run(EventService(EventConfig(**installation.events), installation.shared))
    config = TriggeringConfig(**installation.triggering)
    service = installation.run(TriggeringService(config, installation.shared, Nominal(120.0, 60.0)))

    def whole() -> bool:
        send()
        return stored() == [1, 2, 3] and service.counters.total("triggers_merged") > 0

    installation.makai.wait_for(whole)
    event = installation.finished()
    assert event.boxes_received == ("1",) and installation.box.asked
    assert len(store.events()) == 1 and stored() == [1, 2, 3]


def test_a_stored_event_is_finished_and_announced(installation: Installation) -> None:
    store = installation.store
    start_ns = time.time_ns() // S * S - 10 * S
    event_id = store.open_event(Trigger("T" * 30, start_ns, start_ns + S, ("1",), "1", "test"), "test")
    with installation.killed("stored", installation.events):
        installation.makai.wait_for(lambda: store.event_record(event_id).boxes_received)
    assert not store.event_record(event_id).finished
    with installation.killed("finished", installation.events):
        installation.finished()
    listener = installation.makai.peer().connect(zmq.SUB, installation.events["event_endpoint"])
    service = installation.run(EventService(EventConfig(**installation.events), installation.shared))
    assert listener.poll(240_000)
    assert listener.recv_multipart()[1] == str(event_id).encode()
    (wave,) = store.event(event_id).waveforms
    assert (wave.start_ns, len(wave.counts)) == (start_ns, 12_000)
    assert service.counters.total("events_announced") == 1 and not store.unfinished_events()
