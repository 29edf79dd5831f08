"""`makai_config` and `makai_metrics`: both stores, and the original's documents."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from opq_cloud.store import CloudStore
from opq_cloud.store.documents.makai_documents import (
    BrokerTraffic,
    MakaiConfig,
    TriggeringLimits,
    limits_document,
    makai_config_from_document,
    traffic_from_document,
)

CONFIG = MakaiConfig(
    TriggeringLimits(50.0, 230.0, 0.4, 0.6, 5.0, 6.0, 4.0),
    {"1001": TriggeringLimits(60.0, 120.0, 0.5, 0.5, 10.0, 10.0, 8.0)},
)
# docs/reference/opq-interop.md D.7, with the figures of its test fixture
ORIGINAL: dict[str, Any] = {
    "triggering": {
        "default_ref_f": 60,
        "default_ref_v": 120,
        "default_threshold_percent_f_low": 0.5,
        "default_threshold_percent_f_high": 0.5,
        "default_threshold_percent_v_low": 2.5,
        "default_threshold_percent_v_high": 2.5,
        "default_threshold_percent_thd_high": 3,
        "triggering_overrides": [
            {
                "box_id": "1000",
                "ref_f": 60.0,
                "ref_v": 120.0,
                "threshold_percent_f_low": 0.5,
                "threshold_percent_f_high": 0.5,
                "threshold_percent_v_low": 5.0,
                "threshold_percent_v_high": 2.5,
                "threshold_percent_thd_high": 3.0,
            },
        ],
    },
}


def test_a_makai_config_is_optional(store: CloudStore) -> None:
    """A Makai configuration exists once it is put, and can be removed again."""
    assert store.makai_config() is None
    store.put_makai_config(CONFIG)
    assert store.makai_config() == CONFIG
    without = MakaiConfig(CONFIG.default)
    store.put_makai_config(without)  # the override is taken away
    assert store.makai_config() == without
    store.put_makai_config(None)
    assert store.makai_config() is None


def test_trigger_settings_are_independent_of_limits(store: CloudStore) -> None:
    """Settings of triggers can be put with or without limits, and removed again."""
    triggers = {"frequency": {"deviation_percent": 0.4, "low_hz": None}, "steady_state": {"harmonics": False}}
    both = replace(CONFIG, triggers=triggers)
    store.put_makai_config(both)
    assert store.makai_config() == both
    store.put_makai_config(CONFIG)  # the settings are taken away
    assert store.makai_config() == CONFIG
    alone = MakaiConfig(TriggeringLimits(), triggers=triggers, limited=False)
    store.put_makai_config(alone)  # and here the limits
    assert store.makai_config() == alone
    store.put_makai_config(replace(alone, triggers={}))
    assert store.makai_config() is None


def test_a_store_has_one_lasting_name(open_again: Callable[[], CloudStore]) -> None:
    names = {open_again().identity() for _ in range(3)}
    assert len(names) == 1 and len(*names) == 16 and int(*names, 16) > 0


def test_another_process_reads_what_was_put(open_again: Callable[[], CloudStore]) -> None:
    ours, theirs = open_again(), open_again()
    assert theirs.makai_config() is None
    ours.put_makai_config(CONFIG)
    assert theirs.makai_config() == CONFIG


def test_traffic_keeps_its_order_and_expires(store: CloudStore) -> None:
    """Traffic comes back in its order and goes with its time."""
    rows = [BrokerTraffic("tb", 2000 + at, 10_000, {"bytes": 2**40 + at}) for at in range(3)]
    rows.append(BrokerTraffic("ab", 9000, 10_000, {"sent": 7, "recv": 0}))
    for row in reversed(rows):
        store.put_traffic(row)
    assert store.traffic(2000, 9001) == rows
    assert store.traffic(2001, 2002) == rows[1:2]
    while store.expire(2**40):
        continue
    assert store.traffic(0, 2**62) == []


def test_the_original_document_is_read_and_written() -> None:
    config = makai_config_from_document(ORIGINAL)
    assert config is not None
    assert config.default == TriggeringLimits() and not config.problems
    assert config.overrides == {"1000": TriggeringLimits(percent_v_low=5.0)}
    assert limits_document(config) == ORIGINAL
    assert traffic_from_document({"name": "tb", "bytes": 5}) == BrokerTraffic("tb", 0, 0, {"bytes": 5})


def test_an_invalid_limit_is_named_and_ignored() -> None:
    """A value that is not a limit is named, and the default holds."""
    document = {
        "triggering": {
            "default_ref_v": "230",
            "default_threshold_percent_v_low": float("nan"),
            "default_ref_f": 50,
            "triggering_overrides": [{"box_id": "7", "ref_f": -1}, {"ref_v": 230}, 9],
        }
    }
    config = makai_config_from_document(document)
    assert config is not None
    assert config.default == TriggeringLimits(ref_hz=50.0)
    assert config.overrides == {"7": config.default}
    assert len(config.problems) == 5
    assert any("override of Box 7: ref_f is -1" in problem for problem in config.problems)


def strange(random_: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random_.choice((True, False)),
        lambda: random_.randint(-(2**70), 2**70),
        lambda: random_.choice((float("nan"), float("inf"), -0.0, 1e308, 2.5)),
        lambda: random_.choice(("", "1000", "ref_v", "\x00", "💥")),
    ]
    names = list(ORIGINAL["triggering"]) + list(ORIGINAL["triggering"]["triggering_overrides"][0])
    if depth < 4:
        kinds += 2 * [
            lambda: [strange(random_, depth + 1) for _ in range(random_.randrange(4))],
            lambda: {random_.choice(names): strange(random_, depth + 1) for _ in range(random_.randrange(9))},
        ]
    return random_.choice(kinds)()


@pytest.mark.parametrize("documents", [300, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_document_breaks_the_reader(documents: int) -> None:
    random_ = random.Random(7)
    for _ in range(documents):
        config = makai_config_from_document({"triggering": strange(random_)})
        assert config is not None
        for limits in (config.default, *config.overrides.values()):
            assert 0 < limits.ref_v <= 1e6 and 0 < limits.percent_thd_high <= 100
