"""Two events over one another: how they are laid, what is drawn, and who sees it."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import demo
import numpy as np
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.pages.drawing.charts import ChartLine
from opq_cloud.view.pages.examine import signal_figures
from opq_cloud.view.pages.examine.signals import BoxSignal, measured_run
from opq_cloud.view.pages.incidents.laid_event import crossing_ns
from opq_cloud.view.web.sign_in import SignIn
from opq_cloud.view.web.visitors import SESSION_COOKIE
from opq_proto.messages import Finding, TimeSource, Waveform

START_NS = 1_795_000_000_000_000_000
pytestmark = pytest.mark.usefixtures("cheap_argon2")


@pytest.mark.parametrize("begun_ms", [100.0, 104.0, 116.6])
@pytest.mark.parametrize("phase", [0.0, 0.25, 0.9])
def test_a_crossing_is_that_before_the_event(begun_ms: float, phase: float) -> None:
    """A 60 Hz sine that has a rising crossing at -phase cycles: the last one up to the event is found."""
    rate = 12_000
    at_s = np.arange(6000) / rate
    counts = np.round(10_000 * np.sin(2 * np.pi * (60 * at_s + phase))).astype(np.int16)
    wave = Waveform("1", START_NS, 1000, TimeSource.GPS, rate * 1000, 0.017, 0, counts)
    signal = BoxSignal("1", (measured_run(1, wave, 60.0),))
    found_ms = (crossing_ns(signal, START_NS + round(begun_ms * 1e6), 60.0) - START_NS) / 1e6
    crossings = (np.arange(60) - phase) * 1e3 / 60
    assert found_ms == pytest.approx(crossings[crossings <= begun_ms + 0.02].max(), abs=0.02)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[demo.Scene]:
    running = demo.Scene(tmp_path, poll_s=30.0)
    demo.fill(running.store, time.time_ns(), minutes=1)
    with running:
        yield running


def incident(scene: demo.Scene, box_id: str, hours_ago: int) -> int:
    start_ns = time.time_ns() - hours_ago * 3600 * 10**9
    wave = demo.waveform_of(replace(demo.OUTLETS[0], box_id=box_id), start_ns, 1.0, 20)
    made = demo.put_event(scene.store, [wave], f"overlay-{box_id}-{hours_ago}")
    assert made is not None
    return made.incident_id


def test_the_overlay_names_both_and_leads_on(scene: demo.Scene) -> None:
    """It begins with the event before at the same place; another is chosen by its number."""
    old, new, middle = (incident(scene, "1", hours) for hours in (9, 3, 6))
    visitor = FormBrowser(scene.url)
    visitor.get(f"/incidents/{middle}")
    assert f'href="/incidents/{middle}/overlay"' in visitor.text
    visitor.get(f"/incidents/{middle}/examine")
    assert f'href="/incidents/{middle}/overlay"' in visitor.text
    assert visitor.get(f"/incidents/{middle}/overlay") == 200
    assert f"#{middle} and #{old} over one another</h1>" in visitor.text
    assert re.findall(r">(Before|After) at [^<]*, #(\d+)<", visitor.text) == [
        ("Before", str(old)),
        ("After", str(new)),
    ]
    address = f"/incidents/{middle}/overlay?with={new}&align=crossing&t=-30ms..120ms"
    assert visitor.get(address) == 200
    assert address in visitor.text, "the link has both numbers"
    assert visitor.text.count('class="trace trace-0') == visitor.text.count('class="trace trace-1') == 2
    assert visitor.text.count('class="trace trace-2') == 1, "the difference"
    assert visitor.get(f"/incidents/{middle}/overlay?with=999") == 404
    assert visitor.get(f"/incidents/{middle}/overlay?align=magic") == 400


def test_class_and_length_are_of_the_box(scene: demo.Scene) -> None:
    """Another Box lost its voltage for 20 s, which is not what the waveform shows."""
    number = incident(scene, "1", 3)
    found = scene.store.incident(number)
    assert found is not None
    (own,) = found.findings
    begun_ns = own.finding.start_ns
    lost = Finding("interruption", "4", begun_ns, begun_ns + 20 * 10**9, 1000, residual_percent=0.0)
    (stored,) = put_findings(scene.store, own.event_id, [lost])
    assert stored.incident_id == number
    visitor = FormBrowser(scene.url)
    assert visitor.get(f"/incidents/{number}/overlay?box=1") == 200
    (row,) = re.findall(r"<tr><th scope=\"row\"><span class=\"named key-0\">.*?</tr>", visitor.text)
    assert "Box 1" in row and "Sag" in row and "20.00" not in row


def test_an_unseen_event_lies_over_nothing(scene: demo.Scene) -> None:
    """An event at Boxes that the visitor does not see is as one that does not exist."""
    mine, others = incident(scene, "1", 3), incident(scene, "4", 6)
    ids = add_people(scene, vera="viewer")
    scene.store.people.change_access("1", lambda _: BoxAccess("1", "", (ids["vera"],)))
    account = scene.store.people.account(ids["vera"])
    assert account is not None
    cookie = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    vera = FormBrowser(scene.url, {SESSION_COOKIE: cookie})
    assert vera.get(f"/incidents/{mine}/overlay") == 200 and "Box 4" not in vera.text
    assert vera.get(f"/incidents/{mine}/overlay?with={others}") == 404


def test_each_rms_is_computed_once(scene: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest value, the lines and their difference are of one reading for each of the two."""
    plain, origins = signal_figures.rms_lines, list[int]()

    def counted(
        signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
    ) -> list[ChartLine]:
        origins.append(origin_ns)
        return plain(signal, start_ms, end_ms, origin_ns, points)

    one, two = incident(scene, "1", 3), incident(scene, "1", 6)
    monkeypatch.setattr(signal_figures, "rms_lines", counted)
    visitor = FormBrowser(scene.url, {})
    assert visitor.get(f"/incidents/{one}/overlay?with={two}") == 200
    assert "Difference of rms" in visitor.text
    assert len(origins) == len(set(origins)) == 2
