"""A fleet against the real brokers and triggering service, with real keys: received, stored, answered."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fleet_cloud import FleetCloud, wait_for
from in_thread import in_thread
from measured_by_gateway import by_gateway

from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.wire.frames import data_command, info_command, rate_command
from opq_sim.box.source import RunClock
from opq_sim.fleet.fleet_plan import FleetPlan
from opq_sim.fleet.gateway_boxes import GatewayBoxes
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import plain_grid
from opq_sim.fleet.worker import FleetWorker

IDS = [str(number) for number in range(1, 21)]
"""Box 1 subscribes to what is for 10 to 19, too."""


def worker_of(cloud: FleetCloud, clock: RunClock, outages: NetworkOutages | None = None) -> FleetWorker:
    plan = FleetPlan(cloud.endpoints, cloud.server.public, cloud.folder / "fleet", cycles=12)
    return FleetWorker(plain_grid(cloud.box_ids), cloud.pairs(), plan, clock, outages)


def whole(sequences: list[int]) -> bool:
    return sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def acknowledged(worker: FleetWorker, numbers: np.ndarray) -> bool:
    """Every Box up to its number."""
    return bool((worker.held.floor >= numbers).all())


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FleetCloud]:
    made = FleetCloud(tmp_path, IDS)
    yield made
    made.close()


def test_twenty_boxes_survive_lost_brokers(cloud):
    clock = RunClock.now()
    worker = worker_of(cloud, clock)
    with in_thread(worker.run):
        with cloud.running():
            wait_for(worker.delivery.acknowledging.all, "every Box acknowledged")
            with cloud.client() as client:
                start_ns = clock.start_ns + 700_000_000
                command = data_command("12", start_ns, start_ns + 300_000_000, "data")
                response, wave = client.answer(command, "data")
                assert response.box_id == 12 and wave is not None
                source = plain_grid(["12"]).outlets[0].samples()
                assert np.array_equal(wave.counts, source.counts(wave.first_sample, len(wave.counts)))
                assert wave.first_sample % 200 == 0 and len(wave.counts) % 200 == 0
                assert wave.v_per_lsb == source.v_per_lsb
                told_ns = clock.t_ns(wave.first_sample, source.rate_millihz)
                assert 0 <= told_ns - wave.start_ns <= 1  # floored twice, as from a ring
                assert wave.start_ns <= start_ns
                assert wave.end_ns >= start_ns + 300_000_000
                response, _ = client.answer(info_command("7", "info"), "info")
                assert response.info_response.measurement_rate == 12
                assert response.info_response.pub_key.encode() == cloud.pairs()[6].public
                response, _ = client.answer(rate_command("7", 30, "rate"), "rate")
                assert response.message_rate_reponse.old_rate_cycles == 12
        made = worker.delivery.counts.made
        wait_for(lambda: not worker.lines.stands.any(), "every Box sees that the broker went")
        wait_for(lambda: worker.delivery.counts.made > made + 200, "Measurements without a subscriber")
        with cloud.running():
            wait_for(worker.lines.stands.all, "every Box is back")
            made_ns = worker.held.next.copy()
            wait_for(lambda: acknowledged(worker, made_ns), "everything of the outage acknowledged")
            wait_for(lambda: not worker.delivery.due, "nothing is due any more")
            counts = worker.counts()
            for box, box_id in enumerate(IDS):
                sequences = cloud.stored(box_id)
                assert whole(sequences), f"Box {box_id}: {sequences}"
                assert sequences[-1] >= made_ns[box] - 1
                assert cloud.backfilled(box_id) > 1  # Box 7 makes two a second
    assert counts["unheard"] > 200
    assert counts["backfilled"] >= counts["unheard"]
    assert (counts["expired"], counts["not_held"], counts["answers_dropped"]) == (0, 0, 0)
    assert counts["commands_foreign"] == 0  # a Box whose id begins another's gets its own requests alone
    lengths = {
        round((row.end_ns - row.start_ns) * 60e-9)
        for row in cloud.shared.store.measurements("7", 0, 2**42)
        if row.start_ns
    }
    assert lengths >= {12, 30}


def test_a_box_resends_after_its_network(cloud):
    clock = RunClock.now()
    with cloud.running():
        worker = worker_of(cloud, clock, NetworkOutages(IDS, every_s=3.0, lasts_s=1.0, seed=4))
        with in_thread(worker.run):
            wait_for(worker.delivery.acknowledging.all, "every Box acknowledged")
            wait_for(lambda: worker.lines.lost >= 10 and worker.delivery.counts.backfilled >= 30, "outages")
        held = worker.held.next.copy()
        again = worker_of(cloud, RunClock.now())
        assert (again.held.next >= held).all()
        with in_thread(again.run):
            wait_for(lambda: acknowledged(again, held + 3), "both runs acknowledged")
        for box_id in IDS:
            assert whole(cloud.stored(box_id))


def test_sampled_boxes_send_gateway_measurements(tmp_path):
    cloud = FleetCloud(tmp_path, ["3", "31"])
    clock = RunClock.now()
    plan = FleetPlan(cloud.endpoints, cloud.server.public, tmp_path / "fleet", cycles=30)
    grid = plain_grid(cloud.box_ids)
    boxes = GatewayBoxes(grid, cloud.pairs(), plan, clock)
    with cloud.running(), in_thread(boxes.run):
        wait_for(lambda: boxes.counts()["acknowledging"] == 2, "acknowledged")
        # until then a broker is taken for an original one: each Measurement goes out before its last windows
        first = {box_id: len(cloud.stored(box_id)) + 2 for box_id in cloud.box_ids}
        wait_for(lambda: all(len(cloud.stored(each)) >= first[each] + 5 for each in cloud.box_ids), "stored")
        with cloud.client() as client:
            start_ns = clock.start_ns + 500_000_000
            _, wave = client.answer(data_command("31", start_ns, start_ns + 200_000_000, "me"), "me")
            samples = grid.outlets[1].samples().counts(wave.first_sample, len(wave.counts))
            assert np.array_equal(wave.counts, samples)
    counts = boxes.counts()
    assert (counts["unmeasured_samples"], counts["failures"], counts["expired"]) == (0, 0, 0)
    stored = {
        box_id: cloud.shared.store.measurements(box_id, 0, 2**42)[first[box_id] :][:5]
        for box_id in cloud.box_ids
    }
    last_ns = max(rows[4].end_ns for rows in stored.values())
    seconds = (last_ns - clock.start_ns) // 10**9 + 2
    reference = by_gateway({each.box_id: each.samples() for each in grid.outlets}, seconds, 30, clock)
    for box_id in cloud.box_ids:
        by_end = {each.end_ns: each for each in reference[box_id]}
        for ours in stored[box_id]:
            theirs = by_end[ours.end_ns]
            sent = measurement_from_wire(measurement_to_wire(theirs))  # floats of the wire
            # the store keeps nominal values with the Box, and no indices
            sent = replace(sent, nominal_v=None, nominal_hz=None, first_sample=None, samples=None)
            sent = replace(sent, start_id=None)  # another gateway names the start otherwise
            ours = replace(ours, sequence=None, oldest_sequence=None, backfilled=False, start_id=None)
            assert ours == sent
    cloud.close()


def test_the_command_reports_on_sigterm(tmp_path):
    cloud = FleetCloud(tmp_path, ["5", "6", "7"])
    command = [
        "sim",
        "fleet",
        "--boxes",
        "3",
        "--first-box",
        "5",
        "--processes",
        "2",
        "--rate",
        "6",
        "--json",
    ]
    where = ["--data-dir", str(tmp_path), "--port-offset", str(cloud.offset)]
    with cloud.running():
        running = subprocess.Popen(
            [sys.executable, "-m", "opq_tools.cli", *command, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            wait_for(lambda: all(len(cloud.stored(box_id)) > 20 for box_id in ("5", "6", "7")), "stored")
            os.kill(running.pid, signal.SIGTERM)
            out, errors = running.communicate(timeout=240)
        finally:
            if running.poll() is None:
                running.kill()
                running.communicate()
    cloud.close()
    assert running.returncode == 0, errors
    counted = json.loads(out)
    assert counted["boxes"] == 3 and counted["processes"] == 2 and counted["made"] >= 18
    assert counted["sent"] + counted["unheard"] == counted["made"]
    assert counted["all_standing_after_s"] > 0 and counted["cpu_s"] > 0 and counted["memory_kb"] > 0
