"""`opq-tools limits`: what it says is in the store's `makai_config`, and in its JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.documents.makai_documents import MakaiConfig, TriggeringLimits
from opq_tools.boxes.limits import command


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [arguments[0], "--data-dir", str(folder), *arguments[1:]])


def said(folder: Path, *arguments: str) -> Any:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store that knows Box 4."""
    store = open_store(None, tmp_path)
    store.put_box(BoxRecord("4", "Box 4"))
    store.close()
    return tmp_path


def stored(folder: Path) -> MakaiConfig | None:
    store = open_store(None, folder)
    try:
        return store.makai_config()
    finally:
        store.close()


def test_settings_of_triggers_are_columns_for_people() -> None:
    answer = CliRunner().invoke(command, ["list", "--allowed", "--trigger", "frequency"])
    head, first, *_ = answer.stdout.splitlines()
    assert head.split() == ["trigger", "setting", "default", "allowed", "what"] and "|" not in answer.output
    assert first.index("of nominal") == head.index("what")


def test_limits_are_set_listed_and_removed(folder: Path) -> None:
    assert said(folder, "list") == {"limits": None, "overrides": {}, "triggers": {}, "problems": []}
    running = open_store(None, folder)  # another process has it open
    said(folder, "set", "ref_v=230", "ref_hz=50")
    found = said(folder, "set", "--box", "4", "percent_v_low=15")
    assert found["limits"]["ref_v"] == 230.0 and found["limits"]["percent_v_low"] == 10.0
    assert found["overrides"]["4"] == {**found["limits"], "percent_v_low": 15.0}
    assert said(folder, "list") == found
    config = running.makai_config()
    running.close()
    assert config is not None and config.overrides["4"].percent_v_low == 15.0
    assert "Box 4" in run(folder, "list").stdout
    assert said(folder, "set", "--box", "4", "default")["overrides"] == {}
    assert said(folder, "set", "default")["limits"] is None
    assert stored(folder) is None
    store = open_store(None, folder)
    whats = [each.what for each in store.people.changes.entries(limit=10)]
    store.close()
    assert whats == ["removed limits", "removed limits", "set limits", "set limits"]


def test_a_default_limit_falls_back_by_level(folder: Path) -> None:
    said(folder, "set", "ref_v=230", "ref_hz=50", "percent_v_low=8", "percent_v_high=7")
    said(folder, "set", "--box", "4", "ref_v=400", "percent_v_low=15", "percent_v_high=16")
    own = said(folder, "set", "--box", "4", "ref_v=default", "percent_v_low=default")["overrides"]["4"]
    assert (own["ref_v"], own["percent_v_low"], own["percent_v_high"]) == (230.0, 8.0, 16.0)
    limits = said(folder, "set", "percent_v_low=default", "percent_v_high=6")["limits"]
    assert (limits["percent_v_low"], limits["percent_v_high"]) == (10.0, 6.0)
    none = run(folder, "set", "--box", "9", "default")
    assert none.exit_code == 2 and "Box 9 has no limits of its own; these have: 4" in none.output
    none = run(folder, "set", "--trigger", "flicker", "windows=default")
    assert none.exit_code == 2 and "no setting of 'flicker' is stored" in none.output


def test_the_first_limits_are_the_default_ones(folder: Path) -> None:
    said(folder, "set", "ref_v=120", "ref_hz=60")
    config = stored(folder)
    assert config is not None
    assert (config.default.percent_v_low, config.default.percent_v_high) == (10.0, 10.0)


def test_settings_of_a_trigger_alone_set_no_limits(folder: Path) -> None:
    found = said(folder, "set", "--trigger", "frequency", "deviation_percent=0.4", "low_hz=none")
    assert found["limits"] is None
    assert found["triggers"] == {"frequency": {"deviation_percent": 0.4, "low_hz": None}}
    config = stored(folder)
    assert config is not None and not config.limited
    found = said(folder, "set", "--trigger", "frequency", "low_hz=default")
    assert found["triggers"] == {"frequency": {"deviation_percent": 0.4}}
    said(folder, "set", "--trigger", "frequency", "default")
    assert stored(folder) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("set", "percent_v_low=10"), "give ref_v and ref_hz too"),
        (("set", "--box", "4", "ref_v=230"), "set those first, without --box"),
        (("set", "ref_v=230", "ref_hz=50", "percent_v_low=0"), "percent_v_low is '0'; want a number above 0"),
        (("set", "ref_v=230", "ref_hz=nan"), "ref_hz is 'nan'; want"),
        (("set", "dip=3"), "dip: is not a limit; want one of ref_hz"),
        (("set", "ref_v"), "want NAME=VALUE"),
        (("set", "ref_v=none"), "ref_v is 'none'; want a number"),
        (("set", "--trigger", "frequenzy", "a=1"), "there is no such trigger; built in: threshold"),
        (("set", "--trigger", "sql", "sql=x"), "to change one live use opq-tools rules"),
        (
            ("set", "--trigger", "flicker", "windows=1"),
            "windows  is 1; want from 2 to 60",
        ),
        (("set", "--trigger", "flicker", "--box", "4", "windows=4"), "give one of the two"),
        (("set", "default", "ref_v=230"), "give it alone, or NAME=default"),
        (("set", "dip=default"), "dip: is not a limit"),
        (("set", "ref_v=default", "ref_hz=50"), "ref_v: there is no default for all Boxes"),
        (("set", "--trigger", "flicker", "default"), "nothing happened"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(
    folder: Path, arguments: tuple[str, ...], text: str
) -> None:
    result = run(folder, *arguments)
    if text == "nothing happened":  # there is no makai_config at all
        assert result.exit_code == 0
    else:
        assert result.exit_code == 2 and text in result.output
    assert stored(folder) is None


def test_a_wrong_limit_in_the_store_is_reported(folder: Path) -> None:
    store = open_store(None, folder)
    store.put_makai_config(MakaiConfig(TriggeringLimits(), {"4": TriggeringLimits(ref_v=1e9)}))
    store.close()
    assert any("ref_v" in each for each in said(folder, "list")["problems"])


def test_a_trigger_is_switched_by_its_setting_enabled(folder: Path) -> None:
    found = said(folder, "set", "--trigger", "frequency", "enabled=false")
    assert found["triggers"] == {"frequency": {"enabled": False}}
    wrong = ("set", "--trigger", "frequency", "enabled=often", "--data-dir", str(folder))
    assert "want true or false" in CliRunner().invoke(command, wrong).output


def test_trigger_settings_are_listed_with_ranges() -> None:
    rows = json.loads(
        CliRunner().invoke(command, ["list", "--allowed", "--trigger", "transient", "--json"]).stdout
    )
    assert {row["name"] for row in rows} == {"rise_percent", "trans_v"}
    assert rows[0]["minimum"] == 0.1 and rows[1]["may_be_off"]
    assert CliRunner().invoke(command, ["list", "--allowed", "--trigger", "absent"]).exit_code == 2
