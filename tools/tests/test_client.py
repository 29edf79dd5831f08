"""`opq_tools.client` against a real View: what docs/api.md shows, and what it does when View refuses."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import demo
import httpx
import numpy as np
import pytest

from opq_cloud.actions.incident_edits import IncidentEditor
from opq_tools.client import (
    ApiRefusedError,
    AsyncOpqClient,
    LiveNews,
    OpqClient,
    RemoteBox,
    RemoteIncident,
    ViewUnreachableError,
)
from opq_tools.client.calls import NewsReader, RestCall, live_values, wait_of
from opq_tools.client.remote_records import AnswerNotReadError, RemoteWaveform, read_record

API_MD = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOTEBOOK = API_MD.parent / "examples" / "first-dip" / "first_dip.ipynb"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path_factory.mktemp("client"), poll_s=0.2)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def ten_lines() -> str:
    """The first Python of docs/api.md."""
    found = re.search(r"```python\n(.*?)```", API_MD.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_ten_lines_connect_and_plot_a_dip(
    scene: demo.Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ten_lines()
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(program.replace("http://127.0.0.1:8888", scene.url), found)
    assert (tmp_path / "dip.png").read_bytes()[:4] == b"\x89PNG"
    wave, dip = found["wave"], found["dip"]
    assert isinstance(wave, RemoteWaveform) and isinstance(dip, RemoteIncident)
    event = scene.store.event(1)
    assert event is not None
    assert np.allclose(wave.volts, event.waveforms[0].volts)
    assert wave.seconds[-1] == pytest.approx(
        (event.waveforms[0].end_ns - event.waveforms[0].start_ns) / 1e9, abs=1e-4
    )


def test_the_notebook_runs_completely(scene: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    programs = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len([line for line in programs[0].splitlines() if line.strip()]) <= 10
    found: dict[str, object] = {}
    for program in programs:
        exec(program.replace("http://127.0.0.1:8888", scene.url), found)
    dip = found["dip"]
    assert isinstance(dip, RemoteIncident) and dip.residual_percent is not None
    assert found["residual_percent"] == pytest.approx(dip.residual_percent, abs=0.1)


def test_both_clients_read_the_same(scene: demo.Scene, tmp_path: Path) -> None:
    async def by_asyncio() -> tuple[object, ...]:
        async with AsyncOpqClient(f"{scene.url}/api/v1/") as opq:
            size = await opq.save("/incidents/1/export", tmp_path / "async.cff", format="csv")
            return (
                await opq.boxes(),
                [each async for each in opq.incidents()],
                await opq.incident(1),
                [each async for each in opq.findings(box="1")],
                [each async for each in opq.events()],
                len([each async for each in opq.measurements("1")]),
                await opq.trend("1", level="1h"),
                (await opq.waveform(1, "4")).counts,
                size,
            )

    with OpqClient(scene.url) as opq:
        size = opq.save("/incidents/1/export", str(tmp_path / "sync.cff"), format="csv")
        one = (
            opq.boxes(),
            list(opq.incidents()),
            opq.incident(1),
            list(opq.findings(box="1")),
            list(opq.events()),
            len(list(opq.measurements("1"))),
            opq.trend("1", level="1h"),
            opq.waveform(1, "4").counts,
            size,
        )
    other = asyncio.run(by_asyncio())
    assert [box.box_id for box in one[0]] == ["1", "2", "4"] and one[5] == 60
    assert one[1:] == other[1:]
    assert (tmp_path / "sync.cff").read_bytes() == (tmp_path / "async.cff").read_bytes()


def test_the_blocking_client_works_inside_a_loop(scene: demo.Scene) -> None:
    async def in_a_notebook() -> list[int]:
        with OpqClient(scene.url) as opq:
            return [next(opq.incidents()).id, opq.incident(1).id]

    assert len(asyncio.run(in_a_notebook())) == 2
    public = {name for name in vars(AsyncOpqClient) if not name.startswith("_")}
    assert {name for name in vars(OpqClient) if not name.startswith("_")} == public
    assert OpqClient.trend.__doc__ == AsyncOpqClient.trend.__doc__


def test_a_refused_download_says_why_without_file(scene: demo.Scene, tmp_path: Path) -> None:
    with OpqClient(scene.url) as opq:
        with pytest.raises(ApiRefusedError, match=r"no incident 99\. \(404\)") as refused:
            opq.incident(99)
        assert refused.value.status == 404
        with pytest.raises(ApiRefusedError, match=r"query\.format"):
            opq.save("/events/1/export", tmp_path / "x", format="pdf")
        with pytest.raises(ApiRefusedError):
            opq.waveform(1, "../../boxes")
    assert list(tmp_path.iterdir()) == []


def test_nobody_there() -> None:
    with OpqClient("http://127.0.0.1:9") as opq, pytest.raises(ViewUnreachableError, match="no answer"):
        opq.boxes()


def test_live_news_of_one_box(scene: demo.Scene) -> None:
    with OpqClient(scene.url) as opq:
        feed = opq.live(boxes=["4"])
        news = next(feed)
        feed.close()  # type: ignore[attr-defined]
    assert (news.event, news.facts["box_id"]) == ("measurement", "4")

    async def first() -> LiveNews:
        async with AsyncOpqClient(scene.url) as opq:
            async for each in opq.live(boxes=["2"], rate=1):
                return each
        raise AssertionError("the feed ended")

    assert asyncio.run(first()).facts["box_id"] == "2"


def test_a_busy_view_is_asked_again_later() -> None:
    answers = iter(
        [httpx.Response(429, headers={"Retry-After": "2"}), httpx.Response(200, json={"items": []})]
    )
    waited: list[float] = []
    opq = OpqClient("http://view", sleep_s=waited.append)
    view = httpx.MockTransport(lambda _: next(answers))
    opq._client._http = httpx.AsyncClient(base_url="http://view", transport=view)
    assert opq.boxes() == [] and waited == [2.0]
    opq.close()


@pytest.mark.parametrize(
    ("status", "after", "tries", "wait_s"),
    [
        (429, "2", 1, 2.0),
        (503, None, 1, 1.0),
        (429, "2", 4, None),
        (429, "900", 1, None),
        (500, "1", 1, None),
    ],
)
def test_who_is_asked_again(status: int, after: str | None, tries: int, wait_s: float | None) -> None:
    headers = {} if after is None else {"Retry-After": after}
    assert wait_of(httpx.Response(status, headers=headers), tries) == wait_s


def test_lines_of_the_feed() -> None:
    reader = NewsReader()
    lines = [
        "retry: 1000",
        "",
        ": nothing new",
        "",
        "id: 3-ab",
        "event: incident",
        'data: {"a":',
        "data: 1}",
        "",
    ]
    news = [each for line in lines for each in reader.accept_line(line)]
    assert news == [LiveNews("incident", {"a": 1}, "3-ab")]
    assert list(reader.accept_line("data: nonsense")) == list(reader.accept_line("")) == []


def test_incomplete_records_are_reported() -> None:
    facts = {"box_id": "1", "name": "a", "nominal_v": 120.0, "nominal_hz": 60.0, "newer": 1}
    assert read_record(RemoteBox, facts) == RemoteBox("1", "a", 120.0, 60.0)
    with pytest.raises(AnswerNotReadError, match="not a RemoteBox: it has no nominal_hz"):
        read_record(RemoteBox, {"box_id": "1", "name": "a", "nominal_v": 1.0})
    with pytest.raises(AnswerNotReadError, match="not a RemoteBox but"):
        read_record(RemoteBox, [])


def test_a_gap_is_time_that_passes() -> None:
    gap = {"first_sample": 12, "samples": 1000, "reason": "lost"}
    wave = RemoteWaveform(1, "1", 1000.0, 1_000_000, 0.1, 0, 10, "gps", (gap,), (1, 2, 3))
    assert wave.seconds.tolist() == [0.0, 0.001, 1.002]


def test_what_is_none_is_not_sent() -> None:
    call: RestCall[object] = RestCall("/x", lambda answer: answer, {"a": None, "b": ("1", "2"), "c": 3})
    assert str(call.params()) == "b=1&b=2&c=3"
    assert live_values(["1", "4"], None, 0.5, None) == {"box": "1,4", "rate": "0.5"}
    assert json.dumps(live_values((), None, None, None)) == "{}"


def test_an_old_incident_number_leads_to_its_successor(scene: demo.Scene) -> None:
    """An incident that was joined to another still has its address."""
    now_ns = time.time_ns()
    made = [
        demo.put_event(scene.store, [demo.waveform_of(demo.OUTLETS[0], now_ns - hours * 3600 * 10**9)], token)
        for hours, token in ((2, "one"), (1, "other"))
    ]
    numbers = [each.incident_id for each in made if each is not None]
    kept = IncidentEditor(scene.store).merge_incidents(numbers)

    async def by_asyncio() -> set[int]:
        async with AsyncOpqClient(scene.url) as opq:
            return {(await opq.incident(number)).id for number in numbers}

    with OpqClient(scene.url) as opq:
        assert {opq.incident(number).id for number in numbers} == asyncio.run(by_asyncio()) == {kept}
