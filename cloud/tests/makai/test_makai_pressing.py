"""What comes is gathered and handled together; what may begin an event of milliseconds ends the wait."""

from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai import triggering_service
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal

LONG_S = 300.0
S = 10**9


def test_a_gathered_dip_is_requested_at_once(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    service = TriggeringService(config, shared, Nominal(120.0, 60.0))
    client, box = makai.client(brokers), makai.holding_box(brokers, "1")
    with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        makai.wait_for(lambda: makai.arrives(box.plain, client) and service.counters.total("received"))
        monkeypatch.setattr(triggering_service, "GATHER_S", LONG_S)
        for _ in range(3):
            box.send()
        box.send(least=60.0)

        def asked() -> bool:  # it sends nothing again: that would be gathered for LONG_S
            command = box.plain.command(1000)
            return command is not None and command.WhichOneof("command") == "data_command"

        makai.wait_for(asked)
        monkeypatch.undo()
        makai.wait_for(lambda: shared.store.sequences("1", 1, 9) == [1, 2, 3, 4])
    shared.close()
