"""Settings of a part: types, ranges, durations and choices; every problem at once."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from opq_proto.config.settings import checked_config, configured, milliseconds


@dataclass(frozen=True)
class Config:
    url: str
    share: float = field(default=0.9, metadata={"minimum": 0.0, "maximum": 1.0})
    retries: int = 3
    timeout: int = field(default=1000, metadata={"ms": True})
    method: Literal["POST", "PUT"] = "POST"
    topics: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        if self.retries and not self.share:
            raise ValueError("share  is 0: nothing would be tried again")


def test_settings_become_a_config() -> None:
    given = {"url": "x", "share": 1, "timeout": "1m30s", "method": "put", "topics": ["a"], "note": None}
    assert configured(Config, given) == Config("x", 1.0, 3, 90_000, "PUT", ("a",), {}, None)


def test_every_problem_is_reported_at_once() -> None:
    config, problems = checked_config(
        Config,
        {
            "retris": 1,
            "share": 2,
            "retries": True,
            "timeout": "soon",
            "method": "GET",
            "topics": "a",
            "headers": 1,
            "note": 5,
        },
    )
    assert config is None
    assert problems == [
        'retris  unknown key; did you mean "retries"?',
        "url  missing",
        "share  is 2; want from 0 to 1",
        "retries  is True; want a whole number",
        'timeout  is \'soon\'; want ms as a whole number, or text such as "500ms", "10s", "1h30m"',
        "method  is 'GET'; want one of 'POST', 'PUT'",
        "topics  is 'a'; want a list",
        "headers  is 1; want a table",
        "note  is 5; want text or want nothing",
    ]


def test_a_rule_over_fields_is_a_problem() -> None:
    with pytest.raises(ValueError, match="nothing would be tried again"):
        configured(Config, {"url": "x", "share": 0})


def test_a_plain_class_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="int is not a dataclass"):
        checked_config(int, {})


@pytest.mark.parametrize(
    ("value", "ms"), [(0, 0), (250, 250), ("250", 250), ("500ms", 500), ("1.5s", 1500), ("1h30m", 5_400_000)]
)
def test_durations_are_read(value: Any, ms: int) -> None:
    assert milliseconds(value) == ms


@pytest.mark.parametrize("value", [-1, True, 1.5, "", "10 s", "10d", "s", None, "-1s"])
def test_a_wrong_duration_names_the_form(value: Any) -> None:
    with pytest.raises(ValueError, match="want ms as a whole number"):
        milliseconds(value)
