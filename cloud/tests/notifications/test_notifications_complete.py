"""What is reported of an incident while its events are not complete: it waits, or it says `so far`.

The watch runs in the test's thread, by a clock of the test.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from notification_scene import NotificationScene, notification_scene, sag_at

from opq_cloud.core.service import ServiceCounters
from opq_cloud.notifications import incident_watch
from opq_cloud.notifications.incident_watch import HELD_S, AssignedWatch, IncidentWatch
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.store.sample_requests import SamplesAnswer, StoredSampleRequest

SECOND_NS = 10**9
Reported = list[tuple[list[str], bool]]
"""Boxes, and whether it is complete, of each notification in order."""


class Watched:
    """A store, the rules of two accounts, and the watch; `pass_s` moves the clock and checks what waits."""

    def __init__(self, scene: NotificationScene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.store, self.now_s, self.patch = scene, scene.store, 1000.0, monkeypatch
        self.began_ns = time.time_ns()
        self._made_ms = count(self.began_ns // 1_000_000)
        monkeypatch.setattr(incident_watch, "monotonic", lambda: self.now_s)
        self.ada = scene.add_account("ada", "admin")
        scene.add_rule(self.ada, "webhook", url="http://127.0.0.1:9/x")
        self.start()

    def start(self) -> None:
        """Also a restart: what waited is forgotten."""
        self.watch = IncidentWatch(self.store, self.book(), ServiceCounters())

    def book(self) -> RuleBook:
        """Each entry has a millisecond of its own."""
        return RuleBook(self.store.people, ServiceCounters(), lambda: next(self._made_ms))

    def sag(self, *box_ids: str, after_s: float = 0.0, percent: float = 60.0, complete: bool = False) -> int:
        at_ns = self.began_ns + round(after_s * SECOND_NS)
        found = [sag_at(box_id, at_ns, percent) for box_id in box_ids]
        event_id = self.scene.put_findings(*found, complete=complete, heard=False)
        self.watch.check_incidents()
        return event_id

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.watch.check_held()
        self.watch.check_incidents()

    def ask_more(self, event_id: int, seconds: int = 1) -> None:
        span = self.began_ns, self.began_ns + seconds * SECOND_NS
        wanted = StoredSampleRequest("rapid", "not steady", spans={"4": span})
        self.store.request_samples(event_id, [wanted], 3)

    def answer(self, event_id: int) -> None:
        span = self.began_ns, self.began_ns + SECOND_NS
        assert self.store.answer_request(event_id, 1, SamplesAnswer({"4": span}, {}, self.began_ns))

    def complete(self, event_id: int) -> None:
        self.scene.complete_event(event_id)
        self.pass_s(0.3)

    @property
    def reported(self) -> Reported:
        entries = sorted(self.scene.records.entries(limit=100), key=lambda each: each.made_ms)
        found = []
        for each in entries:
            incident = json.loads(each.content)["incident"]
            assert (
                each.headline.endswith("(so far: not all of it is analysed yet)") is not incident["complete"]
            )
            found.append((incident["box_ids"], incident["complete"]))
        return found


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with notification_scene(tmp_path) as scene:
        yield Watched(scene, monkeypatch)


def nothing_is_asked(each: Watched) -> None:
    each.sag("1", "4", complete=True)


def one_box_is_analysed_first(each: Watched) -> None:
    event_id = each.sag("1")
    assert each.reported == []
    each.scene.put_findings(sag_at("4", each.began_ns + 1), heard=False)
    each.complete(event_id)


def a_request_is_open(each: Watched) -> None:
    event_id = each.sag("1")
    each.ask_more(event_id)
    each.complete(event_id)
    each.pass_s(1.0)
    assert each.reported == [], "analysed, and more is wanted"
    each.answer(event_id)
    each.complete(event_id)


def a_second_request_follows(each: Watched) -> None:
    event_id = each.sag("1")
    each.ask_more(event_id)
    each.answer(event_id)
    each.ask_more(event_id, 5)
    each.complete(event_id)
    assert each.reported == []
    each.pass_s(HELD_S)


def the_wait_is_over(each: Watched) -> None:
    """A rule without updates reports no second time what it reported so far."""
    event_id = each.sag("1")
    each.pass_s(HELD_S - 0.1)
    assert each.reported == []
    each.pass_s(0.2)
    each.complete(event_id)


def another_event_is_open(each: Watched) -> None:
    each.sag("1", complete=True)
    event_id = each.sag("4", after_s=0.001)
    each.complete(event_id)


def an_event_joins_while_it_waits(each: Watched) -> None:
    """The wait is no longer because of it."""
    first = each.sag("1")
    each.pass_s(HELD_S - 0.5)
    each.sag("4", after_s=0.001)
    each.complete(first)
    assert each.reported == []
    each.pass_s(0.3)


def the_service_starts_again(each: Watched) -> None:
    event_id = each.sag("1")
    each.start()
    each.pass_s(0.1)
    assert each.reported == []
    each.scene.put_findings(sag_at("4", each.began_ns + 1), heard=False)
    each.complete(event_id)


def too_many_wait(each: Watched) -> None:
    """A further incident is reported at once."""
    each.patch.setattr(incident_watch, "MAX_HELD", 1)
    each.sag("1")
    each.sag("4", after_s=600.0)


def it_becomes_worse(each: Watched) -> None:
    """With updates: each message says whether it is of all."""
    rule = each.scene.records.rules()[0]
    each.scene.add_rule(each.ada, "webhook", url=rule.url, updates=True)
    each.scene.records.remove_rule(rule.rule_id)
    each.start()
    event_id = each.sag("1", percent=89.0)
    each.pass_s(HELD_S + 0.1)
    worse = replace(sag_at("4", each.began_ns + 1, percent=1.0), itic=None)
    each.scene.put_findings(worse, heard=False)
    each.complete(event_id)


def it_is_assigned_before(each: Watched) -> None:
    """An assignment is reported at once, and says that it is of a part."""
    rule = each.scene.records.rules()[0]
    each.scene.records.remove_rule(rule.rule_id)
    each.scene.add_rule(each.ada, "webhook", about="assigned", url=rule.url)
    bob = each.scene.add_account("bob", "researcher")
    event_id = each.sag("1")
    (number,) = (incident.incident_id for incident in each.store.incidents())
    each.scene.edit(lambda editor: editor.assign_incident(number, each.ada, bob))
    book = each.book()
    AssignedWatch(each.store, book).check_assigned()
    each.scene.complete_event(event_id)
    each.scene.edit(lambda editor: editor.assign_incident(number, "", bob))
    AssignedWatch(each.store, book).check_assigned()
    each.scene.edit(lambda editor: editor.assign_incident(number, each.ada, bob))
    AssignedWatch(each.store, book).check_assigned()


CASES: dict[Callable[[Watched], None], Reported] = {
    nothing_is_asked: [(["1", "4"], True)],
    one_box_is_analysed_first: [(["1", "4"], True)],
    a_request_is_open: [(["1"], True)],
    a_second_request_follows: [(["1"], False)],
    the_wait_is_over: [(["1"], False)],
    another_event_is_open: [(["1"], True)],
    an_event_joins_while_it_waits: [(["1", "4"], False)],
    the_service_starts_again: [(["1", "4"], True)],
    too_many_wait: [(["4"], False)],
    it_becomes_worse: [(["1"], False), (["1", "4"], True)],
    it_is_assigned_before: [(["1"], False), (["1"], True)],
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_message_is_of_all_or_says_so(watched: Watched, case: Callable[[Watched], None]) -> None:
    case(watched)
    assert watched.reported == CASES[case]
