"""Rooms that do not import each other have the same fact.

Copies in C and in units are held by hil's test_device_constants.py.
"""

import pytest

from opq_cloud import store
from opq_cloud.mauka.joining import onset_rule
from opq_cloud.notifications import rows_endpoint
from opq_cloud.operations import box_client
from opq_cloud.view.pages.boxes import waveform_requests
from opq_gateway.commands import command_handler
from opq_gateway.config import MAX_CYCLES, MAX_ID, MIN_CYCLES
from opq_hil.backends import emulated
from opq_rules.sinks import notify, request_waveform
from opq_sim.faults.parts import database_lock
from opq_sim.score import records
from opq_tools.boxes.box import waveform
from opq_tools.keys import keygen
from opq_tools.up import plan

ROOMS: dict[str, tuple[object, ...]] = {
    "the store's file": (store.FILE_NAME, database_lock.FILE_NAME),
    "what is part of a disturbance": (onset_rule.COMPOUND_NS, records.COMPOUND_NS),
    "what follows a disturbance": (onset_rule.FOLLOWS_NS, records.FOLLOWS_NS),
    "the longest distance of onsets": (onset_rule.LONGEST_NS, records.LONGEST_NS),
    "cycles of a Measurement": (
        (MIN_CYCLES, MAX_CYCLES),
        (box_client.MIN_CYCLES, box_client.MAX_CYCLES),
    ),
    "how long a request may lie ahead": (
        command_handler.WAIT_S,
        waveform_requests.AHEAD_S,
        waveform.LONGEST_WAIT_S,
    ),
    "a row's text in a notification": (rows_endpoint.TEXT_CHARACTERS, notify.TEXT_CHARACTERS),
    "emulators": (emulated.EMULATORS, plan.EMULATORS),
    "ids of Boxes": (MAX_ID, request_waveform.MAX_BOX_ID, keygen.MAX_BOX_ID),
}


@pytest.mark.parametrize("fact", ROOMS)
def test_rooms_share_their_common_facts(fact: str) -> None:
    first, *others = ROOMS[fact]
    assert others == [first] * len(others)
