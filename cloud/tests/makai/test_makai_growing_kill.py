"""Kill -9 of Mauka or of Makai while an event grows: it has grown after the restart, once; in processes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.store import open_store

pytestmark = pytest.mark.slow
S = 10**9
NOBODY = "tcp://127.0.0.1:9"
SCRIPT = """
import json, sys, threading, time
from pathlib import Path
from opq_cloud.core.settings.makai_settings import *
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.openings.growing_events import GrowingEvents
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.core.service import CloudContext
from opq_cloud.store import open_store
from opq_proto.kit import log
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder
log.configure("test")
who, mode, folder, facts = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
def hang(*_, **__):
    print("here", flush=True)
    time.sleep(600)
shared = CloudContext(lambda: open_store(None, folder / "store"))
store = shared.store
if who == "mauka":
    if mode == "wanted":
        store.mark_analysed = hang
    unused = facts["unused"]
    analyses = load_analyses([("rms_voltage", {})])
    services = [AnalysisRunner({PUB_KEY: unused, SUB_KEY: unused}, lambda: store, analyses)]
else:
    if mode == "answering":
        store.answer_request = hang
    triggering, acquisition = facts["triggering"], facts["acquisition"]
    keys = KeyFolder(folder / "curve")
    service = TriggeringService(
        TriggeringServiceSection(
            measurement_endpoint=triggering["backend_endpoint"],
            request_endpoint=acquisition["request_endpoint"],
            batch_ms=20,
            alive_s=3600.0,
        ),
        shared,
        Nominal(120.0, 60.0),
    )
    if mode == "asking":
        begin = GrowingEvents.begin
        GrowingEvents.begin = lambda self, store, send, *rest: begin(self, store, hang, *rest)
    events = EventServiceSection(
        answer_endpoint=acquisition["answer_endpoint"],
        request_endpoint=acquisition["request_endpoint"],
        event_endpoint=facts["events"],
        event_id_endpoint=facts["ids"],
        answer_timeout_s=120.0,
        ask_again_s=1.0,
    )
    services = [
        TriggeringBroker(TriggeringBrokerSection(**triggering), keys),
        AcquisitionBroker(AcquisitionBrokerSection(**acquisition), keys),
        service,
        EventService(events, shared),
    ]
stop = threading.Event()
threads = [threading.Thread(target=each.run, args=(stop,)) for each in services]
for thread in threads:
    thread.start()
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
shared.close()
"""


class Processes:
    """Processes of Makai and of Mauka, on addresses and a store that outlive them."""

    def __init__(self, makai: Any, folder: Path) -> None:
        self.brokers, self.folder = makai.brokers(), folder
        names = ("box_endpoint", "backend_endpoint")
        triggering = {name: getattr(self.brokers.triggering_config, name) for name in names}
        names = ("command_endpoint", "response_endpoint", "request_endpoint", "answer_endpoint")
        acquisition = {name: getattr(self.brokers.acquisition_config, name) for name in names}
        self._facts = json.dumps(
            {
                "triggering": triggering,
                "acquisition": acquisition,
                "events": makai.free_endpoint(),
                "ids": makai.free_endpoint(),
                "unused": NOBODY,
            }
        )
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, who: str, mode: str = "well") -> "subprocess.Popen[bytes]":
        with (self.folder / f"{who}.stderr").open("ab") as lines:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, who, mode, str(self.folder), self._facts],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=lines,
            )
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def processes(makai: Any, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(makai, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("who", "mode"), [("mauka", "wanted"), ("makai", "answering"), ("makai", "asking")])
def test_an_event_grows_whoever_is_killed_meanwhile(
    makai: Any, tmp_path: Path, processes: Processes, who: str, mode: str
) -> None:
    store = open_store(None, tmp_path / "store")
    onset_ns = (time.time_ns() // S - 60) * S
    dip_ns = onset_ns, onset_ns + 4 * S
    running = {name: processes.start(name, mode if name == who else "well") for name in ("makai", "mauka")}
    wait: Callable[..., Any] = makai.wait_for
    with ExitStack() as opened:
        opened.callback(store.close)
        box = makai.simulated_box(makai.box(processes.brokers, "1"), dip_ns)

        def send(rms: float, end_ns: int) -> None:
            box.plain.pub.send_multipart(
                box.plain.measurement(
                    rms=rms, timestamp_ms=end_ns // 10**6, start_ns=end_ns - S, end_ns=end_ns
                )
            )

        def opens() -> bool:
            """The same two Measurements, until one has come through."""
            send(120.0, onset_ns - 5 * S)
            send(72.0, onset_ns + S // 2)
            return bool(store.events())

        wait(opens, 120.0)
        stdout = running[who].stdout
        assert stdout is not None and stdout.readline() == b"here\n"
        running[who].kill()
        running[who].wait()
        record = store.event_record(1)
        assert record is not None and len(record.more) == 1
        assert [each.state for each in record.more.values()] == ["asked" if mode == "asking" else "waiting"]
        processes.start(who)

        def grown() -> Any:
            send(120.0, onset_ns - 5 * S)
            event, record = store.event(1), store.event_record(1)
            long = event is not None and any(wave.end_ns > dip_ns[1] for wave in event.waveforms)
            return record if long and record is not None and record.finished and record.analysed else None

        record = wait(grown, 120.0)
        (incident,) = wait(lambda: [each for each in store.incidents() if each.closed])
    assert len(record.more) == 1
    sags = [each.finding for each in incident.findings if each.finding.kind == "sag"]
    assert [(each.end_ns - each.start_ns) / S for each in sags] == [pytest.approx(4.0, abs=0.05)]
