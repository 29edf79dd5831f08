"""Re-analysis over REST: a job in a process of its own, whom it is for, its report, its line in the audit."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import demo
import httpx
import numpy as np
import pytest
from account_scene import FormBrowser
from waiting import wait_for

from opq_cloud import reanalysis_jobs
from opq_cloud.config import CloudConfig
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.reanalysis_jobs import ReanalysisJob, ReanalysisJobs
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.store import open_store
from opq_cloud.store.records.keyed_documents import KeyedDocuments
from opq_cloud.view.accounts.links import make_ticket
from opq_cloud.view.accounts.sign_in import SignIn
from opq_cloud.view.accounts.visitors import SESSION_COOKIE
from opq_proto.errors import StoreError
from opq_proto.messages import Finding, TimeSource, Trigger, Waveform

S = 10**9
WAIT_S = 100.0
"""A process imports everything, on a machine that may be busy."""


class People:
    """Tokens of three roles; an event whose finding says 75 % of a dip to 70 %."""

    def __init__(self, folder: Path) -> None:
        self.scene = demo.Scene(folder, poll_s=30.0)
        self.folder = folder
        store = self.scene.store
        self.jobs = ReanalysisJobs(CloudConfig(data_dir=folder), lambda: store.people.documents)
        self.scene.view._reanalyses = self.jobs
        self.ids = {}
        for role in ("admin", "researcher", "owner"):
            made = store.people.add_account(f"{role}@example.org", role, role, "no-hash")
            assert made is not None
            self.ids[role] = made.account_id
        self.put_event(1)

    def put_event(self, hours_ago: int) -> None:
        store = self.scene.store
        t_s = np.arange(12_000) / 12_000
        volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
        volts[6000:7200] *= 0.7
        start_ns = time.time_ns() - hours_ago * 3600 * S
        trigger = Trigger(f"t{hours_ago}", start_ns, start_ns + S, ("1",), "1", "test")
        event_id = store.open_event(trigger, "test")
        counts = np.round(volts / 0.02).astype(np.int16)
        store.put_waveform(
            event_id, Waveform("1", start_ns, 1000, TimeSource.GPS, 12_000_000, 0.02, 0, counts)
        )
        store.finish_event(event_id)
        old = Finding("sag", "1", start_ns + S // 2, start_ns + 6 * S // 10, 1000, True, 90.0, 75.0, 6.0)
        put_findings(store, event_id, [old])
        store.mark_analysed(event_id)

    def client(self, role: str, *scopes: str) -> httpx.Client:
        secret = make_ticket(
            self.scene.store.people, "token", 600, account_id=self.ids[role], scopes=("read", *scopes)
        )
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.Client(base_url=f"{self.scene.url}/api/v1", headers=headers, timeout=60)

    def percent(self) -> float:
        (incident,) = self.scene.store.incidents(limit=10)
        return incident.residual_percent or 0.0


@pytest.fixture
def people(tmp_path: Path, without_rest_limits: None) -> Iterator[People]:
    made = People(tmp_path)
    with made.scene:
        yield made


def over(client: httpx.Client, number: int) -> dict[str, Any]:
    """The job, when it is over."""
    found: dict[str, Any] = {}

    def asked() -> bool:
        found.update(client.get(f"/reanalyses/{number}").json())
        return bool(found["state"] != "running")

    assert wait_for(asked, WAIT_S), found
    return found


def test_a_dry_run_shows_and_the_run_replaces_for_whom_it_is_meant(people: People) -> None:
    ask = {"from": "now-1d", "analyses": ["rms_voltage"], "settings": {"rms_voltage": {"sag_percent": 88}}}
    with people.client("owner", "write") as owner:
        assert owner.post("/reanalyses", json=ask).status_code == 403
        assert owner.get("/reanalyses").status_code == 404
    with people.client("researcher") as reads:
        assert reads.post("/reanalyses", json=ask).status_code == 403
    with people.client("researcher", "write") as researcher:
        assert researcher.post("/reanalyses", json=ask | {"dry_run": False}).status_code == 403
        unclear = researcher.post("/reanalyses", json=ask | {"dry_run": 0})
        assert unclear.status_code == 400 and "dry_run" in unclear.json()["detail"]
        wrong = researcher.post("/reanalyses", json=ask | {"from": "noon"})
        assert wrong.status_code == 400 and "noon" in wrong.json()["detail"]
        made = researcher.post("/reanalyses", json=ask)
        assert (made.status_code, made.headers["location"]) == (202, "/api/v1/reanalyses/1")
        job = over(researcher, 1)
        assert (job["state"], job["done"], job["of"], job["dry_run"]) == ("done", 1, 1, True), job
        assert (job["report"]["events"], job["report"]["findings"]["gone"]) == (1, 0)
    assert people.percent() == 75.0, "a dry run writes nothing"
    with people.client("admin", "write") as admin:
        del ask["analyses"]
        assert admin.post("/reanalyses", json=ask | {"dry_run": False}).status_code == 202
        job = over(admin, 2)
        assert job["state"] == "done" and job["report"]["findings"]["figures"] == 1, job
        assert people.percent() == pytest.approx(70.0, abs=0.5)
        assert [each["id"] for each in admin.get("/reanalyses").json()["items"]] == [2, 1]
    said = [(each.what, each.subject) for each in people.scene.store.people.changes.entries(limit=3)]
    assert [what for what, _ in reversed(said)] == [
        "ordered a re-analysis by a token", "ordered a re-analysis by a token", "re-analysis done",
    ]  # fmt: skip
    assert said[0][1] == "re-analysis 2, replacing, from now-1d to now: 1 events; findings: 1 figures"


def test_one_runs_at_a_time_and_can_be_ended(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "import time; time.sleep(600)")
    with people.client("admin", "write") as admin, people.client("researcher", "write") as researcher:
        assert admin.post("/reanalyses", json={"from": "now-1d"}).status_code == 202
        busy = researcher.post("/reanalyses", json={"from": "now-1d"})
        assert busy.status_code == 409 and "Re-analysis 1 runs" in busy.json()["detail"]
        assert researcher.post("/reanalyses/1/end").status_code == 403
        assert researcher.post("/reanalyses/2/end").status_code == 404
        assert admin.post("/reanalyses/1/end").status_code == 200
        assert over(admin, 1)["state"] == "ended"
        assert admin.post("/reanalyses/1/end").status_code == 409
        assert wait_for(
            lambda: researcher.post("/reanalyses", json={"from": "now-1d"}).status_code == 202, 20
        )
        # the end of View ends its process


KILLED = """
import time
from pathlib import Path
from opq_cloud import reanalysis_jobs
from opq_cloud.config import CloudConfig
from opq_cloud.store import open_store
reanalysis_jobs.PROGRAM = {program!r}
folder = Path({folder!r})
store = open_store(None, folder)
jobs = reanalysis_jobs.ReanalysisJobs(CloudConfig(data_dir=folder), lambda: store.people.documents)
order = reanalysis_jobs.ReanalysisOrder(0, dry_run=False)
print(jobs.start(order, {account!r}, lambda job: None).number, flush=True)
time.sleep(600)
"""
NOTING = """
import sys, time
from pathlib import Path
from opq_cloud.mauka.reanalysis.run import BulkProgress
from opq_cloud.mauka.reanalysis.process import main
note_done, file = BulkProgress.note_done, Path({file!r})
def noting(self, event_ids, said):
    note_done(self, event_ids, said)
    with file.open("a") as out:
        out.write(f"{{event_ids}}\\n")
    if len(file.read_text().splitlines()) == {hangs_after}:
        time.sleep(600)
BulkProgress.note_done = noting
sys.exit(main(sys.argv[1:]))
"""


def test_a_job_whose_service_was_killed_goes_on_and_analyses_each_event_once(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in (2, 3, 4):
        people.put_event(hours)
    noted = tmp_path / "noted.txt"
    noted.touch()
    program = NOTING.format(file=str(noted), hangs_after=2)
    text = KILLED.format(folder=str(people.folder), account=people.ids["admin"], program=program)
    service = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        assert service.stdout is not None and service.stdout.readline() == b"1\n"
        with people.client("admin", "write") as admin:
            assert admin.get("/reanalyses/1").json()["state"] == "running", "another View shows it"
            busy = admin.post("/reanalyses", json={"from": "now-1d"})
            assert busy.status_code == 409 and "Re-analysis 1 runs" in busy.json()["detail"]
        assert wait_for(lambda: len(noted.read_text().splitlines()) == 2, WAIT_S)
    finally:
        service.kill()
        service.wait()
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", NOTING.format(file=str(noted), hangs_after=99))
    people.jobs._lease_s = 1.0
    monkeypatch.setattr(reanalysis_jobs, "ALIVE_S", 0.5)
    with people.client("admin", "write") as admin:
        assert wait_for(lambda: admin.get("/reanalyses/1").json().get("resumed") == 1, WAIT_S)
        people.jobs._lease_s = reanalysis_jobs.LEASE_S
        job = over(admin, 1)
    assert (job["state"], job["done"], job["of"], job["error"]) == ("done", 4, 4, None), job
    assert (job["report"]["events"], job["report"]["findings"]["figures"]) == (4, 4), "of both parts"
    assert sorted(noted.read_text().splitlines()) == [f"[{number}]" for number in (1, 2, 3, 4)]
    percents = [one.residual_percent or 0.0 for one in people.scene.store.incidents(limit=10)]
    assert percents == pytest.approx([70.0] * 4, abs=0.5)
    said = people.scene.store.people.changes.entries(limit=1)[0]
    assert said.what == "re-analysis done" and "4 events; findings: 4 figures" in said.subject
    store = people.scene.store
    later = ReanalysisJobs(CloudConfig(data_dir=people.folder), lambda: store.people.documents)
    assert [(each.number, each.state, each.resumed) for each in later.jobs()] == [(1, "done", 1)]


def test_a_job_is_left_to_the_next_service_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "import time; time.sleep(600)")
    ends: list[str] = []
    with closing(open_store(None, tmp_path)) as store:

        def service() -> ReanalysisJobs:
            return ReanalysisJobs(CloudConfig(data_dir=tmp_path), lambda: store.people.documents)

        def note(job: ReanalysisJob) -> None:
            ends.append(job.state)

        first = service()
        first.start(ReanalysisOrder(0), "ada", note)
        assert service().resume(note) is None, "it runs"
        first.close()
        for times in range(1, reanalysis_jobs.MAX_RESUMED + 1):
            job = service().job(1)
            assert job is not None and (job.state, job.error) == ("interrupted", reanalysis_jobs.INTERRUPTED)
            following = service()
            resumed = following.resume(note)
            assert resumed is not None and (resumed.number, resumed.resumed) == (1, times)
            following.close()
        job = service().job(1)
        assert job is not None and (job.state, job.error) == ("interrupted", reanalysis_jobs.LEFT)
        assert service().resume(note) is None and ends == []
        last = service()
        assert last.start(ReanalysisOrder(0), "ada", note).number == 2
        assert last.end(2) and wait_for(lambda: ends == ["ended"], 20)
        assert wait_for(lambda: [each.state for each in last.jobs()] == ["ended", "interrupted"], 20)
        last.close()
        assert service().resume(note) is None, "somebody ended it"


def test_a_job_is_gone_on_with_when_nothing_is_noted_and_who_only_stood_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(reanalysis_jobs, "ALIVE_S", 0.1)
    ends, away, now_s = list[str](), list[str](), [0.0]
    with closing(open_store(None, tmp_path)) as store:

        def documents() -> KeyedDocuments:
            if away:
                raise StoreError("the database is away")
            return store.people.documents

        def noted_ms() -> int:
            return int(store.people.documents.newest(reanalysis_jobs.REANALYSES, "", 1)[0]["alive_ms"])

        stood = ReanalysisJobs(CloudConfig(data_dir=tmp_path), documents)
        other = ReanalysisJobs(  # by whose wall clock all that is noted is old
            CloudConfig(data_dir=tmp_path), lambda: store.people.documents, -1.0, lambda: now_s[0]
        )

        def resumed() -> ReanalysisJob | None:
            now_s[0] += 100.0
            return other.resume(lambda job: ends.append(f"other {job.state}"))

        stood.start(ReanalysisOrder(0), "ada", lambda job: ends.append(f"stood {job.state}"))
        for _ in range(3):
            assert resumed() is None, "it is noted again and again"
            assert wait_for(lambda: (1, noted_ms()) != other._seen[0], 20)
        away.append("from here on")
        assert wait_for(resumed, 20)
        away.clear()
        assert stood._running is not None and wait_for(lambda: not stood._running.is_alive(), 20)
        assert [(each.state, each.resumed) for each in stood.jobs()] == [("running", 1)] and not ends
        assert stood.end(1) and wait_for(lambda: ends == ["other ended"], 20)
        for each in (stood, other):
            each.close()
        assert [(each.state, each.resumed) for each in stood.jobs()] == [("ended", 1)]


def test_a_view_that_began_again_goes_on_with_jobs_and_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "import time; time.sleep(600)")
    ends: list[str] = []
    with closing(open_store(None, tmp_path)) as store:
        jobs = ReanalysisJobs(CloudConfig(data_dir=tmp_path), lambda: store.people.documents)
        jobs.watch(lambda job: ends.append(job.state))
        jobs.start(ReanalysisOrder(0), "ada", lambda job: ends.append(job.state))
        jobs.close()  # its service has failed, and its runner begins it again
        assert [each.state for each in jobs.jobs()] == ["interrupted"]
        jobs.watch(lambda job: ends.append(job.state))
        assert wait_for(lambda: [each.state for each in jobs.jobs()] == ["running"], 20)
        assert jobs.end(1) and wait_for(lambda: ends == ["ended"], 20)
        assert wait_for(lambda: [each.state for each in jobs.jobs()] == ["ended"], 20)
        jobs.close()


def test_the_end_of_view_waits_for_no_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "")
    away: list[str] = []
    with closing(open_store(None, tmp_path)) as store:
        documents = store.people.documents
        change = documents.change

        def changed(*values: Any) -> bool:
            if away:
                away.append("refused")
                raise StoreError("the database is away")
            return change(*values)

        monkeypatch.setattr(documents, "change", changed)
        jobs = ReanalysisJobs(CloudConfig(data_dir=tmp_path), lambda: documents)
        jobs.start(ReanalysisOrder(0), "ada", lambda job: away.append(job.state))
        assert wait_for(lambda: len(away) > 1, 20)
        jobs.close()
        assert len(away) < 10, "it tries 30 times, a second apart"


def test_the_page_shows_a_dry_run_carries_it_out_and_ends_what_runs(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "/admin/reanalyses"
    store = people.scene.store
    account = store.people.account(people.ids["admin"])
    assert account is not None
    session = SignIn(store.people).begin_session(account, "127.0.0.1", "page")
    admin = FormBrowser(people.scene.url, {SESSION_COOKIE: session})
    assert admin.get(page) == 200 and "Nothing was analysed again yet." in admin.text
    assert admin.post(page, page, **{"from": "noon", "to": "now"}) == 400 and "noon" in admin.text
    assert admin.post(page, page, **{"from": "now-1d", "to": "now", "analyses": "a/b"}) == 400
    assert admin.post(f"{page}/7/end", page) == 404
    ask = {"from": "now-1d", "to": "now", "analyses": "", "dry_run": "on"}
    assert admin.post(page, page, **ask) == 303

    def done(number: int) -> bool:
        job = people.jobs.job(number)
        return job is not None and job.state != "running"

    assert wait_for(lambda: done(1), WAIT_S)
    admin.get(page)
    for said in ("Dry run 1", "1 with other figures", "1 of 1", ">admin <", "Carry out"):
        assert said in admin.text, said
    assert people.percent() == 75.0, "a dry run writes nothing"
    assert admin.post(f"{page}/1/run", page) == 303
    assert wait_for(lambda: done(2), WAIT_S)
    admin.get(page)
    assert "Replaces 2" in admin.text and people.percent() == pytest.approx(70.0, abs=0.5)
    assert admin.post(f"{page}/2/run", page) == 409, "that was no dry run"
    monkeypatch.setattr(reanalysis_jobs, "PROGRAM", "import time; time.sleep(600)")
    assert admin.post(page, page, **ask) == 303 and admin.post(page, page, **ask) == 409
    admin.get(page)
    assert ">End<" in admin.text and "Load the page again" in admin.text
    assert admin.post(f"{page}/3/end", page) == 303
    assert wait_for(lambda: done(3), WAIT_S)
    assert admin.post(f"{page}/3/end", page) == 409
    words = [each.what for each in store.people.changes.entries(limit=6)]
    assert words == [
        "ended a re-analysis", "ordered a re-analysis", "re-analysis done", "ordered a re-analysis",
        "ordered a re-analysis",
    ]  # fmt: skip
