"""Who owned a Box in a span reads what was measured then; a new owner reads what is measured since."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import demo
import pytest
from account_scene import FormBrowser, add_people
from past_scene import row_of
from store.test_store_incident_parts import put
from store_cases import wave

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.operations.incident_edits import may_edit
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.box_place import slug_of_its_own
from opq_cloud.store.box_record import LocationRecord
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.reading_spans import BoxSpans, common, has_moment, has_whole, merged
from opq_cloud.store.records.accounts import account_records
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.rights import Relation
from opq_cloud.store.records.accounts.seen_incidents import box_sight, box_starts_ns
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.stated_facts import LAST_NS
from opq_cloud.view.live.feed_messages import incident_message
from opq_cloud.view.live.seen_live import SeenFeed
from opq_cloud.view.pages.account import box_placing
from opq_cloud.view.pages.visible.seen_store import SeenStore
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE, RequestFacts, Visitor, Visitors
from opq_proto.measurement.intervals import TEN_MINUTES_MS, Interval
from opq_proto.messages import Disturbance, Finding, Measurement, Metric, Trend, Trigger

MS, MINUTE_MS, HOUR_MS = 10**6, 60_000, 3_600_000
T0_MS = 1_795_000_000_000 // HOUR_MS * HOUR_MS
STEPS = 16
BOX, OTHER = "7", "8"
NAMES = ("ann", "ben", "cid")


@dataclass
class History:
    """A store with one of everything in each hour, and who could read it then."""

    store: CloudStore
    now_ms: int = T0_MS
    people: dict[str, Account] = field(default_factory=dict)
    readers: list[set[str]] = field(default_factory=list)
    sites: list[str | None] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    @property
    def access(self) -> BoxAccess:
        return self.store.people.access(BOX)

    def visitor(self, name: str) -> Visitor:
        secret = SignIn(self.store.people).begin_session(self.people[name], "192.0.2.7", "test")
        facts = RequestFacts({"cookie": f"{SESSION_COOKIE}={secret}"}, "192.0.2.7")
        return Visitors(self.store.people, ViewSection()).of(facts)

    def claim(self, name: str) -> None:
        assert self.store.people.claim_box(BOX, self.people[name].account_id)
        at = 21.0, -157.0 - len(self.readers)
        slug = slug_of_its_own(self.store.locations(), BOX, *at)
        self.store.put_location(LocationRecord(slug, *at))
        site = f"site of {name} {len(self.readers)}"
        stated = BoxRecord(BOX, f"Box of {name}", site=site, region="north", location=slug)
        self.store.put_box(stated, self.now_ms)

    def release(self) -> None:
        box_placing.forget_box(self.store, BOX)
        self.store.people.change_access(BOX, lambda was: was.released(had_place=True))

    def measure(self) -> None:
        """Stores an hour of the Box, and notes who owns it."""
        step, start_ms = len(self.readers), self.now_ms
        at_ms, relations = start_ms + 30 * MINUTE_MS, {}
        for name, account in self.people.items():
            relations[name] = self.access.relation_to(account.account_id)
        self.readers.append({name for name, each in relations.items() if each is Relation.OWN})
        box = self.store.box(BOX)
        self.sites.append(None if box is None else box.site)
        metrics = {"rms": Metric(118.5, 121.25, 120.125)}
        span = at_ms * MS, (at_ms + 1000) * MS
        self.store.append_measurements([Measurement(BOX, at_ms, metrics, *span, 1500, sequence=step + 1)])
        self.store.put_trends([Trend(BOX, at_ms, {"rms": (1.0, 3.0, 2.0)})])
        interval = Interval(TEN_MINUTES_MS, False, 1.0, {"rms_v": 120.0})
        dip = Disturbance(BOX, "dip", at_ms * MS, at_ms * MS + 10**8, 1000, 70.0)
        about = Measurement(BOX, at_ms, {}, *span, 1000, sequence=10_001 + step, disturbance=dip)
        self.store.intervals.append([row_of(BOX, at_ms, 1001 + step, interval), about])
        found = [Finding("sag", each, *span, 1000, True, residual_percent=70.0) for each in (BOX, OTHER)]
        put(self.store, *found)
        samples = wave(BOX, start_ns=at_ms * MS)
        trigger = Trigger(f"token {step}", samples.start_ns, samples.end_ns, (BOX, OTHER), BOX, "")
        event_id = self.store.open_event(trigger, "")
        self.store.put_waveform(event_id, samples)
        self.store.finish_event(event_id)
        self.events.append(event_id)
        change = StoredPhenomenon("step", (BOX,), at_ms, at_ms + 1, {"analysis": str(step)})
        self.store.replace_phenomena(str(step), BOX, at_ms, at_ms + 1, [change])
        self.now_ms += HOUR_MS


def step_of(at_ms: float) -> int:
    return int(at_ms - T0_MS) // HOUR_MS


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    store = open_store(None, tmp_path)
    made = History(store)
    monkeypatch.setattr(account_records, "_now_ms", lambda: made.now_ms)
    monkeypatch.setattr(box_placing, "time", SimpleNamespace(time_ns=lambda: made.now_ms * MS))
    for name in NAMES:
        account = store.people.add_account(f"{name}@example.org", name, "owner", "no-hash")
        assert account is not None
        made.people[name] = account
    for box_id in (BOX, OTHER):
        store.put_box(BoxRecord(box_id, f"Box {box_id}"), T0_MS - 1)
    yield made
    store.close()


def steps_read(seen: SeenStore, history: History) -> dict[str, list[int]]:
    """Kind of row -> the hours of which a visitor reads it."""
    ends_ms = T0_MS, T0_MS + STEPS * HOUR_MS
    ends_ns = ends_ms[0] * MS, ends_ms[1] * MS
    intervals = seen.seen_intervals(BOX)
    found: dict[str, list[int]] = {
        "measurements": [step_of(each.timestamp_ms) for each in seen.measurements(BOX, *ends_ms)],
        "trends": [step_of(each.start_ms) for each in seen.trend_rows(BOX, *ends_ms, MINUTE_MS)],
        "phenomena": [step_of(each.start_ms) for each in seen.phenomena(*ends_ms)],
        "events": [step for step, each in enumerate(history.events) if seen.event_record(each)],
        "waveforms": [step for step, each in enumerate(history.events) if seen.event(each)],
        "findings": [
            step_of(each.finding.start_ns / MS) for each in seen.findings_of_boxes((BOX,), *ends_ns)
        ],
    }
    listed = seen.find_incidents(IncidentFilter(), 100)
    assert len(listed) == seen.count_incidents(IncidentFilter(), 100)
    found["listed incidents"] = sorted(step_of(each.start_ns / MS) for each in listed)
    at_box = seen.find_incidents(IncidentFilter(box_id=BOX, order="long"), 100)
    found["incidents of the Box"] = sorted(step_of(each.start_ns / MS) for each in at_box)
    incidents = seen.incidents_of([each.incident_id for each in listed])
    assert all(each.box_ids == (BOX,) for each in incidents), "the other Box is somebody else's"
    found["incidents"] = sorted(step_of(each.start_ns / MS) for each in incidents)
    if intervals is not None:
        columns = intervals.read(BOX, TEN_MINUTES_MS, *ends_ns)
        found["intervals"] = [step_of(each / MS) for each in columns.start_ns.tolist()]
        dips = intervals.disturbances(BOX, *ends_ns)
        found["disturbances"] = [step_of(each.start_ns / MS) for each in dips]
        assert intervals.disturbances_during(None, *ends_ns) == dips
        summary = intervals.summary(BOX, TEN_MINUTES_MS, *ends_ns)
        assert summary.intervals == len(found["intervals"])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_each_reads_what_they_could_read_then(history: History, seed: int) -> None:
    """After a random history of owners, each account reads exactly what its owner of then could read."""
    chance, owner = random.Random(seed), ""
    for _ in range(STEPS):
        if owner and chance.random() < 0.35:
            history.release()
            owner = ""
        if not owner and chance.random() < 0.6:
            owner = chance.choice(NAMES)
            history.claim(owner)
        history.measure()
    first = next(each for each in history.readers if each)
    begun = history.readers.index(first)
    history.readers[:begun] = [first] * begun  # what was measured before the first owner is theirs
    owners = {name for each in history.readers for name in each}
    assert len(owners) > 1, "a history without a new owner shows nothing"
    for name, account in history.people.items():
        right = [step for step, each in enumerate(history.readers) if name in each]
        visitor = history.visitor(name)
        seen = SeenStore(history.store, visitor)
        read = steps_read(seen, history)
        assert read == dict.fromkeys(read, right), name
        assert visitor.reads(BOX) == bool(right)
        for step in range(STEPS):
            t_ns = (T0_MS + step * HOUR_MS + 30 * MINUTE_MS) * MS
            relation = history.access.relation_to(account.account_id, t_ns)
            assert visitor.relation_to(BOX, t_ns) == relation and (relation > Relation.NONE) == (
                step in right
            )
        record = seen.box(BOX)
        if record is None:
            continue
        for step in range(begun, STEPS):
            then = record.at((T0_MS + step * HOUR_MS + 30 * MINUTE_MS) * MS)
            mine = history.sites[step] if step in right else None
            assert (then.site, then.is_in_service) == (mine, step in right), (name, step)
        assert record.name == (f"Box of {name}" if visitor.sees(BOX) else f"Box {BOX}")
        others = {name for name in NAMES if name != account.name}
        assert not any(other in site for site in record.values_of("site") for other in others)


def test_a_return_reads_both_of_its_times(history: History) -> None:
    for name in ("ann", "ben", "ann"):
        history.claim(name)
        history.measure()
        history.release()
    history.claim("ann")
    history.measure()
    read = steps_read(SeenStore(history.store, history.visitor("ann")), history)
    assert read == {kind: [0, 2, 3] for kind in read}
    history.store.people.delete_account(history.people["ben"].account_id)
    assert [each.account_id for each in history.access.former] == [history.people["ann"].account_id] * 2
    again = steps_read(SeenStore(history.store, history.visitor("ann")), history)
    assert again == read, "the time of an account that is gone opens for no other"


def test_a_reader_sees_only_the_present_owners_time(history: History) -> None:
    """Who is shared with, the public, and a co-owner read the time of the present owner."""
    history.claim("ann")
    history.measure()
    history.release()
    history.claim("ben")
    history.measure()
    people, ids = history.store.people, {name: each.account_id for name, each in history.people.items()}
    people.share_box(BOX, ids["cid"], True)
    read = steps_read(SeenStore(history.store, history.visitor("cid")), history)
    assert read == {kind: [1] for kind in read}
    people.share_box(BOX, ids["cid"], False)
    people.add_owner(BOX, ids["cid"])
    history.measure()
    people.change_access(BOX, lambda was: was.without_owner(ids["cid"]))
    history.measure()
    read = steps_read(SeenStore(history.store, history.visitor("cid")), history)
    assert read == {kind: [1, 2] for kind in read}, "until they left"
    relations = [history.access.relation_to(ids["cid"], each) for each in (None, T0_MS * MS + HOUR_MS * MS)]
    assert relations == [Relation.NONE, Relation.SHARED]


def test_edits_are_of_the_owner_then(history: History) -> None:
    """Neither a former owner nor a new one edits what was in the former's time, or hears of it."""
    history.claim("ann")
    history.measure()
    history.release()
    history.claim("ben")
    history.measure()
    before, since = sorted(history.store.incidents(), key=lambda each: each.start_ns)
    accesses = {**history.store.people.accesses(), OTHER: BoxAccess(OTHER, history.people["ben"].account_id)}
    ben, ann = history.people["ben"], history.people["ann"]
    assert may_edit(ben, accesses, box_starts_ns(since))
    assert not any(may_edit(each, accesses, box_starts_ns(before)) for each in (ann, ben))
    sight = box_sight(ben, history.store.people.accesses().values())
    assert sight.sees(BOX) and sight.sees(BOX, since.start_ns) and not sight.sees(BOX, before.start_ns)
    feed = SeenFeed(history.visitor("ann"))
    changed = feed.shown(incident_message(before, {BOX: "Box of ben"}))
    assert changed is not None and dict(changed.names) == {}, "the name is the new owner's"
    assert feed.shown(incident_message(since, {})) is None


def test_a_feed_ends_with_its_time(history: History) -> None:
    history.claim("ann")
    history.measure()
    begun = history.visitor("ann")
    history.release()
    assert not history.visitor("ann").sees_all_of(begun)
    history.claim("ben")
    now = history.visitor("ben")
    history.store.people.claim_box("9", history.people["cid"].account_id)
    history.store.people.change_access("9", lambda was: was.released(had_place=False))
    assert history.visitor("ben").sees_all_of(now), "another Box has lost its owner"


def test_spans_are_joined_and_cut() -> None:
    assert merged([(5, 9), (0, 2), (2, 3), (8, 8)]) == ((0, 3), (5, 9))
    assert list(common(((0, 3), (5, 9)), 2, 6)) == [(2, 3), (5, 6)]
    assert has_moment(((0, 3),), 2) and not has_moment(((0, 3),), 3)
    assert has_whole(((0, 3), (5, 9)), 5, 9) and not has_whole(((0, 3), (3, 9)), 2, 4)
    assert BoxSpans.of({"1": ((0, LAST_NS),)}).of_box == {"1": ((0, LAST_NS),)}


@pytest.mark.usefixtures("cheap_argon2")
def test_a_new_owner_reads_no_former_place(tmp_path: Path) -> None:
    """Site, region, feeder, phase and place of a Box that was given back are the former owner's alone."""
    with demo.Scene(tmp_path, poll_s=30.0) as scene:
        people, store = add_people(scene, ada="admin", eve="owner", bob="owner"), scene.store
        began_ms = store.people.accounts()[0].created_ms
        store.put_region("eve-region-x", "town hall")
        placed = BoxRecord(
            "1", "eve-name-x", location="eve-cellar-x", region="eve-region-x", feeder="eve-feeder-x"
        )
        store.put_location(LocationRecord("eve-cellar-x", 21.3, -157.8, "eve-words-x"))
        store.put_box(placed)
        store.put_box(BoxRecord("1", "", site="eve-site-x", phase="eve-phase-x", nominal_v=117.0))
        store.people.claim_box("1", people["eve"])
        eve, bob, ada = FormBrowser(scene.url), FormBrowser(scene.url), FormBrowser(scene.url)
        for browser, name in ((eve, "eve"), (bob, "bob"), (ada, "ada")):
            assert browser.sign_in(f"{name}@example.org") == 303
        settings = "/boxes/1/settings"
        assert eve.post("/boxes/1/release", settings) == 303 and eve.get(settings) == 404
        code = make_ticket(store.people, "claim", 60, box_id="1", made_by=people["ada"])
        assert bob.post("/account/boxes", "/account/boxes", proof=code) == 303
        groups = [f"/past?of={each}" for each in ("site:eve-site-x", "feeder:eve-feeder-x")]
        hidden = (*groups, "/past?of=region:eve-region-x", "/sites/eve-site-x", "/incidents?site=eve-site-x")
        shown = ("/boxes/1", "/past?box=1", "/sites", "/report", "/account/boxes", "/account/data.json")
        for page in (*shown, *hidden, "/search?q=eve", "/incidents", "/map", "/api/v1/boxes/1"):
            assert bob.get(page) == (404 if page in hidden else 200), page
            left = re.findall(r"eve-(?:name|site|feeder|phase|cellar|words)-x", bob.text)
            assert not left or page in hidden, (page, left)
        assert bob.get(settings) == 200 and not re.search("eve-(?!region)", bob.text)
        assert ada.get("/past?of=site:eve-site-x") == 200, "administrators read the archive"
        assert eve.get("/account/boxes") == 200 and "You had" in eve.text and "/past?box=1&" in eve.text
        for page in ("/boxes/1", "/past?box=1", *groups, "/report"):
            assert eve.get(page) == 200, page
        form = {"name": "bobs", "privacy": "nothing", "site": "bobs"}
        assert bob.post(settings, settings, **form, since="2020-01-01") == 400
        assert "before the Box was yours" in bob.text
        assert bob.post(settings, settings, **form) == 303
        record = store.box("1")
        assert record is not None and record.at(began_ms * MS).site == "eve-site-x"
        assert record.site and "bobs" in record.site


def test_a_hidden_box_changes_no_feed_name() -> None:
    """Nothing in the name of a page's feed depends on a hidden Box that changes hands."""
    before = Visitor(public=frozenset("1"))
    hidden, shown = (BoxSpans.of({each: ((7, LAST_NS),)}) for each in ("9", "1"))
    assert replace(before, since=hidden).feed_name == before.feed_name
    assert replace(before, since=shown).feed_name != before.feed_name
