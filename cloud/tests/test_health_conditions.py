"""The pure part of health: readings of documents, verdicts of readings, with a clock of their own."""

import itertools
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.backend.peer_watch import NOBODY
from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.service_conditions import CONDITIONS, QUEUES, HealthJudge, Reading, Verdict
from opq_cloud.health.readings import Answer, AnswerReader, fits, out_of_service

STEP_S = 2.0
START_S = 1_800_000_000.0
Change = Callable[[float, dict[str, Answer]], None]


def part(name: str, ok: bool = True, now_s: float = START_S, **more: Any) -> dict[str, Any]:
    return {"name": name, "ok": ok, "timestamp": int(now_s), "info": None, "subcomponents": None, **more}


def apart(now_s: float) -> dict[str, Answer]:
    """Each service in a process of its own, with two Boxes at a gateway: all well, as they answer."""
    boxes = [part(name, now_s=now_s - 1, received=int(now_s)) for name in ("1", "2")]
    held = [part(name, now_s=now_s, levels={"measurements_held": 1}) for name in ("1", "2")]
    inside = {
        "triggering-broker": [part("triggering-broker", levels={"waiting_bytes_now": 300}), part("health")],
        "makai": [part("triggering-service"), part("rules"), *boxes],
        "mauka": [part("mauka.bus"), part("StatusPlugin")],
        "notifications": [part("notifications", levels={"notifications_overdue_now": 0})],
        "gateway": held,
    }
    found = {}
    for name, parts in inside.items():
        levels = {"open_descriptors": 120, "most_descriptors": 1024}
        document = part(name, now_s=now_s, subcomponents=parts, levels=levels, version="0.1.3")
        found[name] = Answer(name, document, "", now_s - 0.01, now_s, name == "gateway")
    return found


class Broker:
    """A service that counts."""

    name = "broker"

    def __init__(self) -> None:
        self.counters = ServiceCounters()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None: ...


def kill(name: str) -> Change:
    def change(_: float, answers: dict[str, Answer]) -> None:
        answers[name] = Answer(name, None, "refused")

    return change


def boxes_of(answer: Answer) -> list[dict[str, Any]]:
    return [each for each in (answer.document or {})["subcomponents"] if each["name"].isdigit()]


def silent(now_s: float, answers: dict[str, Answer]) -> None:
    """Box 1 is not heard; its gateway says so first."""
    boxes_of(answers["gateway"])[0].update(ok=False, info="no samples for 8 s")
    boxes_of(answers["makai"])[0].update(ok=now_s < ILL_S + 20, timestamp=int(ILL_S - 1), received=int(ILL_S))


def clock_off(now_s: float, answers: dict[str, Answer]) -> None:
    document = answers["gateway"].document
    assert isinstance(document, dict)
    document["timestamp"] = int(now_s - 5)


def cloud_clock_off(now_s: float, answers: dict[str, Answer]) -> None:
    """Boxes whose gateways are not asked; this machine's clock is behind."""
    del answers["gateway"]
    for box in boxes_of(answers["makai"]):
        box.update(timestamp=int(now_s + 5))


def grows(now_s: float, answers: dict[str, Answer]) -> None:
    for box in boxes_of(answers["gateway"]):
        box["levels"] = {"measurements_held": now_s - ILL_S}


def old_data(now_s: float, answers: dict[str, Answer]) -> None:
    """Box 1 sends each second, and what comes is an hour old."""
    boxes_of(answers["makai"])[0].update(timestamp=int(now_s - 3600))


def broker_dies(now_s: float, answers: dict[str, Answer]) -> None:
    """Everything that follows from a broker that is gone."""
    kill("triggering-broker")(now_s, answers)
    grows(now_s, answers)
    for box in boxes_of(answers["makai"]):
        box.update(ok=now_s < ILL_S + 20, received=int(ILL_S))
    own, *_ = (answers["makai"].document or {})["subcomponents"]
    own.update(ok=now_s < ILL_S + 7, info=f"measurement_endpoint tcp://127.0.0.1:9881 (SUB): {NOBODY}")


def store_away(now_s: float, answers: dict[str, Answer]) -> None:
    """Makai cannot store, and then Mauka cannot read."""
    makai, mauka = ((answers[name].document or {})["subcomponents"] for name in ("makai", "mauka"))
    makai[0].update(ok=False, info="the store has not answered for 7 s")
    mauka[1].update(ok=now_s < ILL_S + 20, info="on_idle: StoreError: MongoDB: timed out")


def crashing(now_s: float, answers: dict[str, Answer]) -> None:
    """A plug-in that is started again and again, and runs for a moment each time."""
    parts = (answers["mauka"].document or {})["subcomponents"]
    parts[1].update(ok=int((now_s - ILL_S) / STEP_S) % 7 == 6)


ILL_S, WELL_S, END_S = START_S + 100, START_S + 200, START_S + 400


def judged(change: Change, jitter: random.Random | None = None) -> Iterator[tuple[float, Verdict]]:
    """Verdicts that changed while something is wrong from ILL_S to WELL_S."""
    judge, reader, now_s = HealthJudge(), AnswerReader("0.1.0"), START_S
    while now_s < END_S:
        answers = apart(now_s)
        if ILL_S <= now_s < WELL_S:
            change(now_s, answers)
        readings = reader.readings(list(answers.values()), {}, now_s, now_s)
        for verdict in judge.accept(readings, now_s):
            yield now_s, verdict
        now_s += STEP_S + (jitter.random() if jitter else 0.0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *((kill(name), name) for name in ("triggering-broker", "makai", "mauka", "notifications", "gateway")),
        (broker_dies, "triggering-broker"),
        (store_away, "makai"),
        (silent, "1"),
        (clock_off, "clock of gateway"),
        (cloud_clock_off, "clock of the cloud"),
        (crashing, "StatusPlugin of mauka"),
        (grows, "measurements held of gateway"),
        (old_data, "time of Box 1"),
    ],
)
def test_an_illness_gives_one_alert_within_32_s(change: Change, name: str) -> None:
    """One recovery follows."""
    (ill_s, ill), (well_s, well) = judged(change, random.Random(7))
    assert (ill.reading.name, ill.ill, well.reading.name, well.ill) == (name, True, name, False)
    assert ill_s - ILL_S < 32 and well_s - WELL_S < 30


def test_an_hour_of_health_gives_no_alert() -> None:
    """Recorded cadence and all that is usual: late answers, one that is missing, queues that breathe."""
    judge, reader, chance, now_s = HealthJudge(), AnswerReader("0.1.0"), random.Random(11), START_S
    while now_s < START_S + 3600:
        answers = apart(now_s)
        for box in boxes_of(answers["gateway"]):
            box["levels"] = {"measurements_held": chance.choice([1, 1, 1, 2, 12])}
        for box in boxes_of(answers["makai"]):
            heard_s = now_s - 5 * chance.random()
            box.update(received=int(heard_s), timestamp=int(heard_s - 2 * chance.random()))
        if chance.random() < 0.02:  # a request of 2 s that was too short
            kill(chance.choice(list(answers)))(now_s, answers)
        readings = reader.readings(list(answers.values()), {}, now_s, now_s)
        disk = Reading("disk", "disk of the cloud", 0.93 + 0.019 * chance.random())
        assert [each.reading for each in judge.accept([*readings, disk], now_s)] == []
        now_s += STEP_S + chance.random()


def test_late_boxes_of_a_gateway_catch_up() -> None:
    """Late Boxes of an unknown gateway that catch up are not a clock fault."""

    def late(now_s: float, answers: dict[str, Answer]) -> None:
        del answers["gateway"]
        for box in boxes_of(answers["makai"]):
            box.update(timestamp=int(now_s - 5 - 2 * (WELL_S - now_s)))

    assert list(judged(late)) == []


def test_a_figure_around_its_limit_alerts_once() -> None:
    """A figure that goes up and down around its limit gives one alert."""
    judge = HealthJudge()
    course = itertools.chain(
        [0.9], itertools.islice(itertools.cycle([0.96, 0.945, 0.95, 0.951]), 200), [0.92] * 20
    )
    found = [
        each.ill
        for step, share in enumerate(course)
        for each in judge.accept([Reading("disk", "disk", share)], step * STEP_S)
    ]
    assert found == [], "it never stays above the limit for 5 s"
    course = itertools.chain([0.96] * 5, itertools.islice(itertools.cycle([0.94, 0.955]), 100), [0.92] * 20)
    found = [
        each.ill
        for step, share in enumerate(course)
        for each in judge.accept([Reading("disk", "disk", share)], 1000 + step * STEP_S)
    ]
    assert found == [True, False]


def test_a_starting_service_may_be_unreadable() -> None:
    """A service that was never well may still start; an unreadable answer changes nothing."""
    judge = HealthJudge()
    ills = [
        (at_s, each.ill)
        for at_s in range(0, 100, 2)
        for each in judge.accept([Reading("service", "mauka", 1.0)], at_s)
    ]
    assert ills == [(60, True)]
    assert judge.accept([Reading("service", "mauka", None)], 200) == []
    assert [each.ill for each in judge.verdicts] == [True]
    for at_s in range(210, 4000, 10):
        judge.accept([], at_s)
    assert judge.verdicts == [], "it was removed"


def test_a_paused_machine_reports_nothing_ill() -> None:
    """It cannot know whether anything was ill."""
    judge = HealthJudge()
    for at_s, value in ((0, 0.0), (2, 1.0), (4, 0.0), (60, 1.0), (500, 1.0)):
        assert judge.accept([Reading("hang", "mauka", value)], at_s) == []


def test_after_a_pause_20_s_pass_before_silence() -> None:
    """After a pause health listens for 20 s before it calls a Box silent."""
    reader, judge = AnswerReader("1"), HealthJudge()

    def ill(at_s: float, heard_s: float) -> bool:
        box = {"name": "1", "ok": at_s - heard_s < 20, "timestamp": heard_s, "received": heard_s}
        whole = {"name": "opq", "ok": True, "timestamp": at_s, "subcomponents": [box]}
        judge.accept(reader.readings([Answer("opq", whole)], {}, at_s, at_s), at_s)
        return bool(next(each.ill for each in judge.verdicts if each.reading.name == "1"))

    for at_s in range(0, 100, 2):
        assert not ill(at_s, at_s)
    assert not ill(300, 98) and not ill(302, 98), "no alert while it stood still"
    assert not ill(304, 303)
    assert [ill(at_s, 98) for at_s in (312, 318, 320, 322)] == [False, False, True, True], "it is silent"
    assert [ill(at_s, at_s) for at_s in (330, 336, 340)] == [True, True, False], "and well again"


def test_a_box_that_is_unplugged_is_not_judged() -> None:
    reader = AnswerReader("0.1.0")
    without = {"1": "is unplugged here"}
    names = {each.name for each in reader.readings(list(apart(START_S).values()), without, 0, START_S)}
    assert "2" in names and "1" not in names and "Box 1 at gateway" in names


def test_a_silent_box_that_is_unplugged_is_well() -> None:
    """Its verdict would stay until it is forgotten, because nothing is read of it any more."""
    reader, judge, found = AnswerReader("0.1.3"), HealthJudge(), []
    for at_s in range(0, 200, 2):
        now_s = ILL_S + at_s
        answers = apart(now_s)
        boxes_of(answers["makai"])[0].update(
            ok=at_s < 20, timestamp=int(ILL_S + 19), received=int(ILL_S + 19)
        )
        boxes_of(answers["gateway"])[0].update(ok=at_s < 20)
        without = {"1": "is unplugged here"} if at_s > 100 else {}
        readings = reader.readings(list(answers.values()), without, now_s, now_s)
        changed = judge.accept([*readings, *out_of_service(judge.verdicts, without)], now_s)
        found += [(each.reading.name, each.ill) for each in changed]
    assert found == [("1", True), ("1", False)]


def test_a_part_listed_only_while_ill_recovers() -> None:
    """A part that a service lists no more is well after the time of its condition."""
    reader, judge, found = AnswerReader("1"), HealthJudge(), []
    for at_s in range(0, 200, 2):
        parts = [part("makai"), *([part("gateway of Box 1", False)] if 20 <= at_s < 100 else [])]
        document = part("makai", subcomponents=parts, now_s=at_s)
        readings = reader.readings([Answer("makai", document)], {}, at_s, at_s)
        found += [(at_s, each.reading.name, each.ill) for each in judge.accept(readings, at_s)]
    name = "gateway of Box 1 of makai"
    assert found == [(80, name, True), (116, name, False)]


def test_what_brokers_end_is_ill_for_a_minute() -> None:
    """Not a single connection, nor a total of before, nor one that begins again after a start."""
    reader, judge, found = AnswerReader("1"), HealthJudge(), []
    totals = {0: 40, 80: 41, 160: 42, 162: 43, 164: 44, 300: 0, 302: 2, 400: None, 480: 5}
    total: int | None = None
    for at_s in range(0, 600, 2):
        total = totals.get(at_s, total)
        levels = {} if total is None else {"connections_ended": total}
        own = part("triggering-broker", now_s=at_s, levels={"waiting_bytes_now": 0, **levels})
        document = part("triggering-broker", subcomponents=[own], now_s=at_s)
        readings = reader.readings([Answer("triggering-broker", document)], {}, at_s, at_s)
        found += [(at_s, each.reading.name, each.ill) for each in judge.accept(readings, at_s)]
    name = "ended connections of triggering-broker"
    assert found == [(164, name, True), (224, name, False), (480, name, True), (540, name, False)]


def test_a_service_reports_what_it_ended() -> None:
    """The first one is counted too: its name appears with it."""
    service, reader = Broker(), AnswerReader("1")
    board = ServiceBoard()
    board.add(service).up = True

    def values() -> dict[str, float | None]:
        answer = Answer("opq", board.health("opq").as_json())
        readings = reader.readings([answer], {}, 100.0, 100.0)
        return {each.name: each.value for each in readings if each.condition == "inflow"}

    assert values() == {}
    service.counters.add("connections_ended", 4, label="measurement_endpoint in all")
    service.counters.add("message_too_large", label="4")
    assert values() == {"ended connections of broker": 4, "too large messages of broker": 1}


def test_the_table_is_in_order() -> None:
    assert all(each.recovery < each.limit and each.for_s >= 0 <= each.well_s for each in CONDITIONS.values())
    assert all(limit > 0 for limit in QUEUES.values())
    assert fits("0.1.7", "0.1.0") and not fits("0.2.0", "0.1.9")


SIX_CELLS = re.compile(r"\|( [^|]+ \|){5} \d+ s \|")


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/operating.md").read_text(encoding="utf-8")
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if SIX_CELLS.fullmatch(line)}
    assert set(rows) == set(CONDITIONS)
    for name, each in CONDITIONS.items():
        figures = f"| {each.limit:g} | {each.for_s:g} s | {each.recovery:g} | {each.well_s:g} s |"
        assert rows[name].endswith(figures), rows[name]
