"""What came before an incident: the most alike, hours that recur, and nothing of a Box that is not seen."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from open_view import open_services
from starlette.testclient import TestClient

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.operations.incident_past import past_of, recurrence_sentences
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.incidents.incident_likeness import IncidentTraits, likeness
from opq_cloud.store.records.accounts.account_records import Account
from opq_cloud.view.app import create_app
from opq_cloud.view.pages.visible.seen_store import SeenStore
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Finding

S = 10**9
DAY_S = 86_400
MIDNIGHT_S = round(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
MORNINGS_S = (0, 70, 130, 190, 240, 290, 35)
"""After 06:58 UTC, on the seven days before the incident that is asked about; one more on two other days."""


def sag(at_s: float, box_id: str = "1", residual: float = 80.0, kind: str = "sag") -> Finding:
    start_ns = round((MIDNIGHT_S + at_s) * S)
    return Finding(
        kind, box_id, start_ns, start_ns + S // 10, 1000, True, residual_v=96.0, residual_percent=residual
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStore]:
    """Incidents 1 to 8 at Box 1, two of them at other hours; 9 and 10 swells; 11 like them at Box 2 alone;
    12 the one that is asked about; 13 a day after it."""
    opened = open_store(None, tmp_path_factory.mktemp("past"))
    six_58 = 6 * 3600 + 58 * 60
    times = [day * DAY_S + six_58 + after for day, after in enumerate(MORNINGS_S[:6])]
    times += [6 * DAY_S + 15 * 3600, 7 * DAY_S + 21 * 3600]
    rows = [sag(at_s, residual=80.0 + row) for row, at_s in enumerate(times)]
    rows += [sag(8 * DAY_S + 3 * 3600 + row * 7200, residual=125.0, kind="swell") for row in range(2)]
    rows += [sag(8 * DAY_S + six_58 - 60, box_id="2", residual=79.5)]
    rows += [sag(9 * DAY_S + six_58 + MORNINGS_S[6], residual=79.0), sag(10 * DAY_S + six_58)]
    for event_id, finding in enumerate(rows, start=1):
        put_findings(opened, event_id, [finding])
    yield opened
    opened.close()


def test_the_most_similar_earlier_incidents_come_first(store: CloudStore) -> None:
    incident = store.incident(12)
    assert incident is not None
    past = past_of(store, incident, UTC, "UTC")
    numbers = [each.incident.incident_id for each in past.similar]
    assert numbers[0] == 1 and set(numbers) < set(range(1, 9)), "same Box, class, residual and hour"
    assert past.compared == 11 and past.alike >= len(numbers)
    assert past.similar[0].because == "same class, residual, duration, place and hour"
    assert past.similar[0].likeness.alike > 0.99


def test_a_usual_hour_is_in_the_readers_zone(store: CloudStore) -> None:
    """Seven of the last nine began at one hour."""
    incident = store.incident(12)
    assert incident is not None
    past = past_of(store, incident, UTC, "UTC")
    assert past.times == 9 and past.interval is not None
    (sentence,) = recurrence_sentences(past)
    assert sentence == (
        "7 of the last 9 fell between 06:58 and 07:03 UTC; by chance less than once in a million such series."
    )
    hawaii = past_of(store, incident, ZoneInfo("Pacific/Honolulu"), "Pacific/Honolulu")
    assert "between 20:58 and 21:03 Pacific/Honolulu" in recurrence_sentences(hawaii)[0]
    said = past.as_json()["recurrence"]
    assert isinstance(said, dict) and said["daily"]["from"] == "06:58" and said["daily"]["chance"] < 1e-6


def test_a_visitor_hears_of_their_own_box_only(store: CloudStore) -> None:
    """A visitor of one Box gets no incident of another."""
    account = Account("a", "a@example.org", "A", "viewer", "", 0)
    seen = SeenStore(store, Visitor(account=account, full=frozenset({"2"})))
    incident = seen.incident(11)
    assert incident is not None and seen.incident(12) is None
    past = past_of(seen, incident, UTC, "UTC", 50)
    assert (past.similar, past.compared, past.times, past.daily) == ((), 0, 1, None)
    whole = past_of(store, incident, UTC, "UTC")
    assert whole.compared == 8, "the sags at Box 1"


def test_the_last_to_begin_are_compared(tmp_path: Path) -> None:
    """Those that began last before it, whenever they were stored."""
    with closing(open_store(None, tmp_path)) as store:
        rows = [sag(day * DAY_S, box_id="2", residual=80.0 + day) for day in (0, 1)]
        rows += [sag(9 * DAY_S), sag(8 * DAY_S, box_id="3"), sag(7 * DAY_S, box_id="3")]
        for event_id, finding in enumerate(rows, start=1):
            put_findings(store, event_id, [finding])
        incident = store.incident(3)
        assert incident is not None
        late = [store.incident(number) for number in (4, 5)]
        assert all(each is not None and each.start_ns < incident.start_ns for each in late)
        last = past_of(store, incident, UTC, "UTC", 2)
        assert last.compared == 2 and {4, 5} >= {each.incident.incident_id for each in last.similar}
        past = past_of(store, incident, UTC, "UTC", 50)
        assert past.compared == 4 and {1, 2, 4, 5} >= {each.incident.incident_id for each in past.similar}


def test_the_page_and_the_interface_say_it(store: CloudStore) -> None:
    client = TestClient(create_app(open_services(store)))
    page = client.get("/incidents/12").text
    assert (
        '<h2 id="before">Before</h2>' in page and "7 of the last 9 fell between 06:58 and 07:03 UTC" in page
    )
    assert '<a href="/incidents/1">' in page and "alike by 99" in page
    assert 'id="before"' not in client.get("/incidents/1").text, "nothing came before the first"
    answer = client.get("/api/v1/incidents/12").json()
    assert answer["similar"][0]["id"] == 1 and answer["compared"] == 11
    assert answer["recurrence"]["daily"]["count"] == 7


def test_a_distance_is_the_common_weighted_mean() -> None:
    one = IncidentTraits(1, 0, frozenset({"sag"}), S, 80.0, 10.0, frozenset({"1"}))
    assert likeness(one, one).alike == 1.0
    other = replace(one, residual_percent=55.0, start_ns=6 * 3600 * S)
    # residual 25 of 50 %, weight 2; hour 6 of 12, weight 1; all weights together 11
    assert likeness(one, other).alike == pytest.approx(1 - (2 * 0.5 + 1 * 0.5) / 11)
    bare = IncidentTraits(2, 0, frozenset({"sag", "harmonics"}), S // 100)
    assert likeness(one, bare).alike == pytest.approx(1 - (3 * 0.5 + 2 * 1.0) / 6)
    assert likeness(one, bare).alike == likeness(bare, one).alike
