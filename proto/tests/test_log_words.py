"""A Box's codes have words here; one that is not known still says its numbers."""

from opq_proto.link import log_codes
from opq_proto.link.messages import Log


def test_a_known_code_gives_event_and_facts() -> None:
    assert log_codes.words(Log(40, 3100, 3950, 77)) == (
        "box.on_battery",
        True,
        {"supply_mv": 3100, "battery_mv": 3950, "uptime_ms": 77},
    )


def test_a_start_says_why_in_words() -> None:
    event, warns, facts = log_codes.words(Log(1, 9, 2, 5))
    assert (event, warns) == ("box.started", False)
    assert facts == {"boot_id": 9, "reset_cause": "brown-out", "uptime_ms": 5}
    assert log_codes.words(Log(1, 9, 77, 5))[2]["reset_cause"] == "77"


def test_states_slots_and_reasons_have_words_too() -> None:
    assert log_codes.words(Log(20, 1, 2, 0))[2] == {"before": "acquiring", "now": "locked", "uptime_ms": 0}
    assert log_codes.words(Log(14, 1, 0, 0))[2]["reason"] == "battery"
    assert log_codes.words(Log(53, 1, 0, 0))[2]["slot"] == "B"
    named = {key for code in log_codes.CODES.values() for key in (code.a, code.b)}
    assert set(log_codes.WORDS) <= named


def test_a_code_from_the_future_keeps_its_numbers() -> None:
    assert log_codes.words(Log(60_000, -1, 2, 3)) == (
        "box.log",
        False,
        {"code": 60_000, "a": -1, "b": 2, "uptime_ms": 3},
    )


def test_names_events_and_facts_are_unique() -> None:
    codes = log_codes.CODES.values()
    assert len({code.name for code in codes}) == len({code.event for code in codes}) == len(codes)
    for code in codes:
        assert code.event.startswith("box.")
        assert code.a or not code.b
        assert code.a != code.b or not code.a
