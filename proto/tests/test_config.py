"""Configuration: all problems at once in the house's words, strict values, samples that load."""

import math
import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import field_validator
from pydantic.dataclasses import dataclass as plain_pydantic

from opq_proto.config.problems import Problem
from opq_proto.config.reading import Field, build, load, section
from opq_proto.config.sample import sample_toml
from opq_proto.errors import ConfigError


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


@section
class Uplink:
    """The way up."""

    endpoint: str = Field(description="where makai listens", pattern="^tcp://", examples=["tcp://makai:8194"])
    queue_windows: int = Field(default=1000, ge=1, le=100_000, description="windows kept while off line")


@section
class Clock:
    holdover_s: float = Field(default=60.0, ge=0.0, le=86_400.0)


@section
class Box:
    id: str = Field(pattern=r"^\d+$")
    port: Path = Path("/dev/ttyUSB0")
    baud: int = Field(default=921_600, gt=0)


@section
class Gateway:
    """A gateway beside its Boxes."""

    uplink: Uplink
    clock: Clock = Clock()
    box: tuple[Box, ...] = ()
    ring_hours: float = Field(default=1.0, gt=0, description="how long raw samples are kept")
    nominal_hz: Literal[50, 60] = 60
    trace: bool = False
    data_dir: Path | None = Field(default=None, description="where files go")
    limits_percent: tuple[float, float] = (90.0, 110.0)
    names: tuple[str, ...] = ()
    mode: Mode = Mode.FAST
    settings: dict[str, Any] = Field(default_factory=dict, description="handed on as they are")


GOOD = {"uplink": {"endpoint": "tcp://makai:8194"}}


def problems(document: dict[str, Any], cls: type = Gateway) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(cls, document, "x.toml")
    head, *lines = str(caught.value).split("\n")
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    assert head == f"x.toml: {count}, nothing was started"
    assert caught.value.exit_code == 2
    return [" ".join(line.split()) for line in lines]


def test_the_houses_example_is_reported_word_for_word(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[uplink]\nendpont = "x"\nqueue_windows = "many"\n[clock]\nholdover_s = 1e9\n')
    with pytest.raises(ConfigError) as caught:
        load(Gateway, path)
    assert str(caught.value) == (
        "gateway.toml: 4 problems, nothing was started\n"
        '  uplink.endpont           unknown key; did you mean "endpoint"?\n'
        "  uplink.endpoint          missing: where makai listens, e.g. tcp://makai:8194\n"
        "  uplink.queue_windows     is 'many'; want a whole number from 1 to 100_000\n"
        "  clock.holdover_s         is 1000000000.0; want 0.0 to 86_400.0"
    )


def test_a_good_file_gives_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        'ring_hours = 2\nnominal_hz = 50\ntrace = true\ndata_dir = "/var/opq"\nlimits_percent = [85, 115.5]\n'
        'mode = "slow"\n[uplink]\nendpoint = "tcp://m:1"\n[[box]]\nid = "1"\n'
        '[[box]]\nid = "7"\nport = "/dev/x"\n'
        "[settings]\nanything = { at = 'all' }\n"
    )
    config = load(Gateway, path)
    assert config.ring_hours == 2.0
    assert isinstance(config.ring_hours, float)
    assert (config.nominal_hz, config.trace, config.data_dir) == (50, True, Path("/var/opq"))
    assert config.limits_percent == (85.0, 115.5)
    assert config.mode is Mode.SLOW
    assert config.box == (Box(id="1"), Box(id="7", port=Path("/dev/x")))
    assert config.clock == Clock(holdover_s=60.0)
    assert config.settings == {"anything": {"at": "all"}}


def test_a_config_is_frozen() -> None:
    config = build(Gateway, GOOD)
    with pytest.raises(AttributeError):
        config.trace = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trace": 1}, "trace is 1; want true or false"),
        ({"trace": "yes"}, "trace is 'yes'; want true or false"),
        ({"ring_hours": True}, "ring_hours is true; want a number, above 0.0"),
        ({"ring_hours": 0}, "ring_hours is 0; want a number, above 0.0"),
        ({"ring_hours": "1"}, "ring_hours is '1'; want a number, above 0.0"),
        ({"ring_hours": math.nan}, "ring_hours is nan; want a number, above 0.0"),
        ({"ring_hours": math.inf}, "ring_hours is inf; want a number, above 0.0"),
        ({"nominal_hz": 55}, "nominal_hz is 55; want one of 50, 60"),
        ({"data_dir": 5}, "data_dir is 5; want a path"),
        ({"limits_percent": [1.0]}, "limits_percent[1] missing: a number"),
        ({"limits_percent": 90.0}, "limits_percent is 90.0; want a list of 2 numbers"),
        ({"names": ["a", 5]}, "names[1] is 5; want text"),
        ({"names": "abc"}, "names is 'abc'; want a list of text"),
        ({"mode": "warp"}, "mode is 'warp'; want one of 'fast', 'slow'"),
        ({"clock": 5}, "clock is 5; want a table"),
        ({"box": {"id": "1"}}, "box is a table; want a list of tables"),
        ({"box": [5]}, "box[0] is 5; want a table"),
        ({"box": [{"id": "one"}]}, r"box[0].id is 'one'; want text of another form"),
        (
            {"uplink": {"endpoint": "makai"}},
            "uplink.endpoint is 'makai'; want text such as 'tcp://makai:8194'",
        ),
        ({"box": [{"id": "1"}, {"id": "2", "baud": 0}]}, "box[1].baud is 0; want a whole number, above 0"),
        ({"box": [{"id": "1", "bad": 1}]}, 'box[0].bad unknown key; did you mean "baud"?'),
        ({"settings": []}, "settings is []; want a table"),
        ({"zzz": 1}, "zzz unknown key; allowed: uplink, clock,"),
        ({"trace": None}, "trace is null; want true or false"),
        ({"data_dir": ""}, "data_dir is empty; leave the key out, or give a value: where files go"),
        ({"data_dir": " \t"}, "data_dir is empty; leave the key out, or give a value: where files go"),
        ({"names": ["a", ""]}, "names[1] is empty; leave the key out, or give a value: text"),
        (
            {"box": [{"id": "1", "port": ""}]},
            "box[0].port is empty; leave the key out, or give a value: text",
        ),
        ({"box": [{"id": ""}]}, "box[0].id is ''; want text of another form"),
    ],
)
def test_each_mistake_names_found_and_wanted(change: dict[str, Any], says: str) -> None:
    [line] = problems({**GOOD, **change})
    assert line.startswith(says)


def test_only_an_empty_default_may_be_empty() -> None:
    @section
    class Page:
        title: str = ""
        place: str = "north"

    assert build(Page, {"title": ""}).title == ""
    assert problems({"place": ""}, Page) == ["place is empty; leave the key out, or give a value: text"]


def test_long_values_are_cut() -> None:
    [line] = problems({**GOOD, "trace": "x" * 1000})
    assert len(line) < 120


def test_a_missing_section_says_so() -> None:
    assert problems({}) == ["uplink missing: a table"]


def test_all_problems_come_in_field_order() -> None:
    told = problems({"trace": 5, "box": [{"id": 1}, {"prt": 1}], "uplink": {"endpoint": 1}, "bad": 1})
    assert [line.split()[0] for line in told] == [
        "bad",
        "uplink.endpoint",
        "box[0].id",
        "box[1].prt",
        "box[1].id",
        "trace",
    ]


def test_overrides_win_and_none_is_not_given() -> None:
    config = build(
        Gateway,
        {**GOOD, "trace": True, "clock": {"holdover_s": 5.0}},
        overrides={
            "uplink.endpoint": "tcp://other:1",
            "clock": {"holdover_s": None},
            "trace": None,
            "data_dir": Path("/d"),
            "names": ("a", "b"),
            "box": [{"id": "3"}],
        },
    )
    assert config.uplink.endpoint == "tcp://other:1"
    assert (config.clock.holdover_s, config.trace, config.data_dir) == (5.0, True, Path("/d"))
    assert config.names == ("a", "b")
    assert config.box == (Box(id="3"),)


def test_an_override_is_checked_like_a_file() -> None:
    with pytest.raises(ConfigError, match="configuration: 1 problem") as caught:
        load(Gateway, None, {"uplink.endpoint": 5})
    assert "uplink.endpoint" in str(caught.value)


@section
class Range:
    low: float = 1.0
    high: float = 2.0

    @field_validator("low")
    @classmethod
    def _not_seven(cls, low: float) -> float:
        if low == 7.0:
            raise ValueError("seven, of all numbers")
        return low

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


@section
class WithRange:
    range: Range = Range()


def test_a_dataclass_check_is_a_problem() -> None:
    assert problems({"range": {"low": 3.0}}, WithRange) == ["range low 3.0 is above high 2.0"]
    assert problems({"low": 3.0}, Range) == ["(top) low 3.0 is above high 2.0"]
    assert problems({"low": 7.0}, Range) == ["low is 7.0; seven, of all numbers"]


@plain_pydantic(frozen=True)
class Foreign:
    inner: Clock = Clock()
    word: str = "a"


def test_a_plain_pydantic_dataclass_works() -> None:
    assert build(Foreign, {"inner": {"holdover_s": 1}}).inner.holdover_s == 1.0
    assert problems({"wrd": "x"}, Foreign) == ['wrd unknown key; did you mean "word"?']


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
own_keys = st.sampled_from(["uplink", "clock", "box", "ring_hours", "trace", "mode", "settings", "names"])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a loaded machine
@given(st.dictionaries(own_keys | st.text(max_size=8), json_values, max_size=6))
def test_any_document_is_a_config_or_problems(document: dict[str, Any]) -> None:
    try:
        build(Gateway, document)
    except ConfigError as error:
        head, *lines = str(error).split("\n")
        assert head.startswith(f"configuration: {len(lines)} problem")
        assert all(line.startswith("  ") for line in lines)


# Samples


def test_the_sample_shows_defaults_and_loads_back(tmp_path: Path) -> None:
    sample = sample_toml(Gateway)
    assert "# how long raw samples are kept (a number, above 0.0)\nring_hours = 1.0\n" in sample
    wanted = "where makai listens (text such as 'tcp://makai:8194'); required"
    assert f'# # {wanted}\n# # endpoint = "tcp://makai:8194"\n' in sample
    assert "[clock]\n# 0.0 to 86_400.0\nholdover_s = 60.0\n" in sample
    assert "# [[box]]\n" in sample
    assert "limits_percent = [90.0, 110.0]\n" in sample
    with pytest.raises(ConfigError) as caught:
        build(Gateway, tomllib.loads(sample))
    assert str(caught.value).count("\n") == 1  # only what is required is missing
    assert build(WithRange, tomllib.loads(sample_toml(WithRange))) == WithRange()
    assert build(Gateway, {**tomllib.loads(sample), **GOOD}) == build(Gateway, GOOD)


def test_a_cross_check_reports_together_with_the_fields() -> None:
    def no_zero(document: Mapping[str, Any]) -> list[Problem]:
        return [Problem(("ring_hours",), f"is {document['ring_hours']}; box 1 wants two hours")]

    document = GOOD | {"ring_hours": 1.0, "nominal_hz": 51, "rng_hours": 2}
    with pytest.raises(ConfigError) as raised:
        build(Gateway, document, cross_check=no_zero)
    text = str(raised.value)
    assert "3 problems" in text
    assert "box 1 wants two hours" in text
    with pytest.raises(ConfigError, match="box 1 wants"):
        build(Gateway, GOOD | {"ring_hours": 1.0}, cross_check=no_zero)
