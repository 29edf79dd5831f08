"""A receiver's mutated messages under sanitizers, in worlds with known time: each stamp is judged."""

import json
import subprocess

import pytest
from clock_on_pc import CLOCK_SOURCES, DEVICE
from host_library import program

FORMS = ("nmea", "ubx")
WRONG = ("outside", "back", "without_fix", "senseless")


def fuzzed(form: str, mutated: int, first_seed: int = 1) -> dict[str, float]:
    """Counters of worlds from a seed on, until so many messages were mutated."""
    source = DEVICE / "tests" / "clock_fuzz.c"
    built = program("clock_fuzz", [*CLOCK_SOURCES, source], "-ffp-contract=off", optimise="-O2")
    command = [str(built), form, str(first_seed), str(mutated)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stderr
    counters: dict[str, float] = json.loads(done.stdout)
    return counters


def check(form: str, counters: dict[str, float]) -> None:
    """Nothing is wrong, and the worlds are not trivial: most lock, messages lie, stamps state a bound."""
    assert all(counters[name] == 0 for name in WRONG)
    assert counters["locked_worlds"] > 0.6 * counters["worlds"]
    assert counters["known"] > 0.6 * counters["stamps"] and counters["gps"] > 0
    assert counters["lies"] > 0.1 * counters["mutated"]
    assert (counters["leaps"] > 0) is (form == "ubx")


@pytest.mark.parametrize("form", FORMS)
def test_mutated_messages_keep_every_promise(form: str) -> None:
    check(form, fuzzed(form, 100_000))


def test_disputed_labels_may_jump_at_midnight() -> None:
    """A world of the ten million: what looked like a leap second was the end of a cold start."""
    assert fuzzed("nmea", 1, first_seed=1_008_120)["outside"] == 0


def test_labels_wrong_before_midnight_are_no_leap_second() -> None:
    """Another world: a receiver that had started again cold a minute before was 1 s late on 30 June."""
    assert fuzzed("ubx", 1, first_seed=1_011_797)["outside"] == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", FORMS)
def test_ten_million_mutated_messages(form: str) -> None:
    counters = fuzzed(form, 10_000_000)
    print(json.dumps(counters))
    check(form, counters)
