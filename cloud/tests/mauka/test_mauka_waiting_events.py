"""How often an event is tried that cannot be marked as analysed."""

from types import SimpleNamespace

import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.running.event_analysis import EventOutcome
from opq_cloud.mauka.running.waiting_events import WaitingEvents

DAY_S = 86_400


@pytest.mark.parametrize(
    ("outcome", "done", "least", "most"),
    [
        (EventOutcome(failed=True), True, 30, 36),
        (EventOutcome(rest_s=60.0), True, 30, 36),
        (EventOutcome(), False, 280, 300),
    ],
    ids=["an analysis fails", "it rests", "the store fails"],
)
def test_an_analysis_that_always_fails_takes_little_time_from_other_events(outcome, done, least, most):
    """Each try runs all analyses; the store is tried more often, because nobody installs another one."""
    now = SimpleNamespace(s=0.0)
    record = SimpleNamespace(event_id=1, analysed=False, original=False)
    store = SimpleNamespace(
        unanalysed_events=lambda: [record], event_record=lambda event_id: record, events=lambda limit: []
    )
    waiting = WaitingEvents(lambda: store, ServiceCounters(), lambda: now.s)
    tries = 0
    while now.s < DAY_S:
        now.s += 5.0
        turn = waiting.next_turn(lambda event_id: False, announced=False)
        if turn is not None:
            tries += 1
            waiting.note_outcome(turn.event_id, outcome, done)
    assert least <= tries <= most
    waiting.retry_all()
    now.s += 1.0
    assert waiting.next_turn(lambda event_id: False, announced=False) is not None, "with another version"
