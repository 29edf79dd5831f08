"""Alerts of a running system, as a webhook gets them: one when something is ill, one when it is well again.

Compact and with each service apart. The short form is cloud/tests/test_health_conditions.py. With the store
in a MongoDB: cloud/tests/store/test_store_health.py.
"""

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from house_under_test import until
from watched_system import FAKETIME, running


@pytest.mark.slow
def test_a_killed_separate_service_gives_one_alert(tmp_path: Path) -> None:
    with running(tmp_path, apart=True) as system:
        system.kill("triggering-broker", "triggering-broker")
        system.kill("acquisition-broker", "acquisition-broker")
        system.kill("event-service", "event-service")
        system.kill("triggering-service", "makai")
        system.kill("mauka", "mauka")
        system.kill("view", "view")
        system.kill("health", "opq")
        system.kill("gateway", "gateway")
        system.freeze("triggering-service", "makai")  # queues grow behind it
        begun = len(system.received), time.monotonic()
        system.processes["notifications"].kill()
        time.sleep(150)
        late = [each for each in system.pings if each > begun[1] + 15]
        assert (len(system.received), late) == (begun[0], []), "without a notifier the pings end instead"
        system.start("notifications")
        until(lambda: system.pings[-1] > begun[1] + 150, 120, "pings again")


@pytest.mark.slow
def test_a_compact_clouds_fault_gives_one_alert(tmp_path: Path) -> None:
    with running(tmp_path, apart=False) as system:
        folder = system.folder
        system.freeze("boxes", "1", "2")
        system.freeze("gateway", "gateway")
        system.fault(system.add_messages, system.deaf.clear, "notifications overdue of notifications")
        filler = folder / "filler"

        def fill() -> None:
            space = shutil.disk_usage(folder)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, space.free - int(0.045 * space.total))

        if os.path.ismount(folder):
            system.fault(fill, filler.unlink, "disk of the cloud")
        if FAKETIME is not None:
            system.fault(
                lambda: system.clock.write_text("-5s"),
                lambda: system.clock.write_text("+0s"),
                "clock of gateway",
            )
        lock = sqlite3.connect(
            folder / "opq.db", isolation_level=None
        )  # what waits for it is not an alert more
        system.fault(
            lambda: lock.execute("BEGIN IMMEDIATE"), lambda: lock.execute("ROLLBACK"), "triggering-service"
        )
        assert system.pings
