"""How often an event is tried that cannot be marked as analysed."""

from types import SimpleNamespace

import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.running.calls.event_analysis import EventOutcome
from opq_cloud.mauka.running.events.waiting_events import WaitingEvents
from opq_cloud.store import open_store
from opq_proto.messages import Trigger

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
def test_a_failing_analysis_takes_little_time(outcome, done, least, most):
    """Each try runs all analyses; the store is tried more often, because no other store gets installed."""
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


def test_a_waiting_event_comes_before_the_killer(tmp_path):
    """Were it the other way round, the analysis would rest again each time the innocent event comes."""
    now = SimpleNamespace(s=0.0)
    store = open_store(None, tmp_path)
    for number in (1, 2, 3):
        event_id = store.open_event(Trigger(f"token{number}", 0, 10**9, ("1",), "1", "test"), "test")
        store.finish_event(event_id)
    waiting = WaitingEvents(lambda: store, ServiceCounters(), lambda: now.s)

    def order():
        turns = iter(lambda: waiting.next_turn(lambda event_id: False, announced=False), None)
        return [turn.event_id for turn in turns]

    resting, fails = EventOutcome(rest_s=1.0), EventOutcome(failed=True)
    for outcome_of_1 in (fails, resting, resting):  # which was tried again while the analysis rested
        now.s += 60.0
        assert sorted(order()) == [1, 2, 3]
        waiting.note_outcome(1, outcome_of_1, done=True)
        waiting.note_outcome(2, resting, done=True)
        waiting.note_outcome(3, resting, done=True)
    waiting.note_outcome(2, resting, done=True)  # it waits the longest by now
    now.s += 60.0
    assert order() == [3, 2, 1]
    store.close()


def test_waits_in_step_starve_no_event(tmp_path):
    """What failed less often comes first, due or not, or it would always come during the other's rest."""
    now = SimpleNamespace(s=0.0)
    store = open_store(None, tmp_path)
    for number in (1, 2):
        event_id = store.open_event(Trigger(f"token{number}", 0, 10**9, ("1",), "1", "test"), "test")
        store.finish_event(event_id)
    waiting = WaitingEvents(lambda: store, ServiceCounters(), lambda: now.s)

    def order():
        turns = iter(lambda: waiting.next_turn(lambda event_id: False, announced=False), None)
        return [turn.event_id for turn in turns]

    resting, fails = EventOutcome(rest_s=1.0), EventOutcome(failed=True)
    for event_id in (1, 2):  # while the process is started again after 1, 2 fails too
        waiting.note_outcome(event_id, fails, done=True)
    waiting.note_outcome(1, fails, done=True)
    for _ in range(3):
        waiting.note_outcome(2, resting, done=True)
    now.s += 60.0
    assert order() == [2, 1]
    waiting.note_outcome(1, fails, done=True)
    waiting.note_outcome(2, resting, done=True)
    now.s += 10.0
    assert order() == [2, 1], "1 is due after 8 s, 2 after 32 s"
    store.close()
