"""What services say of a fault, in their own words, by their real readings of it."""

import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from unittest.mock import patch

import zmq

from opq_cloud.core.backend.peer_watch import WAITED_S, PeerWatch
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.store import CloudStore, open_store
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.kit import log, sqlite_file
from opq_proto.messages import Measurement, Metric


def writer_to(store: CloudStore) -> MeasurementWriter:
    """The writer of the triggering service, with a Measurement that waits."""
    section, counters = TriggeringServiceSection(), ServiceCounters()
    writer = MeasurementWriter(store, section, counters, log.get(), lambda *_: None)
    row = Measurement("1", 1_800_000_000_000, {"rms": Metric(119.0, 121.0, 120.0)})
    writer.accept_row(row, lambda *_: DEFAULT_NOMINAL)
    return writer


@cache
def read_only_words() -> str:
    """The writer's, with a store whose file system is read-only."""
    with tempfile.TemporaryDirectory() as folder:
        open_store(None, Path(folder)).close()
        with patch.object(sqlite_file, "is_on_read_only", lambda path: path.exists()):
            store = open_store(None, Path(folder))
            writer, stop = writer_to(store), threading.Event()
            stop.set()
            writer.run(stop)
            store.close()
    return str(writer.problem)


@cache
def silent_store_words() -> str:
    """The writer's, once a store has not answered for a minute."""
    writer = writer_to(None)  # type: ignore[arg-type]
    writer._began_s = time.monotonic() - 60
    return str(writer.problem)


@cache
def revoked_key_words() -> str:
    """Those of a connection with keys that are not admitted."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.curve_serverkey, _ = zmq.curve_keypair()
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        watch = PeerWatch(socket, "tcp://10.0.0.9:9881", "triggering_service.measurement_endpoint")
        watch._note(zmq.EVENT_CONNECTED)
        watch.read(time.monotonic() + WAITED_S + 1)
        watch.close()
    return str(watch.problem)
