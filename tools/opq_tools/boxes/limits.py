"""`opq-tools limits`: edits `makai_config`, on a running or a stopped cloud.

It is in the store, which a running Makai reads every second, so that a change or removal takes effect within
two seconds without a restart.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from opq_cloud.makai.judging.trigger_settings import (
    TriggerSetting,
    built_in_triggers,
    setting_from_text,
    setting_problems,
    shown_setting,
    trigger_settings,
)
from opq_cloud.operations.command_audit import note_command
from opq_cloud.store.documents.makai_documents import (
    MakaiConfig,
    SettingValue,
    TriggeringLimits,
    limits_document,
    makai_config_from_document,
    settings_document,
)
from opq_proto.errors import OpqError, PluginError
from opq_proto.keys.key_files import checked_box_id
from opq_proto.kit.command_line import CommandGroup, text_table
from opq_proto.kit.shared_options import data_dir_option, json_option, mongo_option
from opq_tools.shared import values
from opq_tools.shared.opened_store import check_known_boxes, opened_store

F = TypeVar("F", bound=Callable[..., object])
LIMIT_NAMES = tuple(each.name for each in fields(TriggeringLimits))
REFERENCES = ("ref_v", "ref_hz")
DEFAULT = "default"
"""The value that removes a limit or a setting."""
AS_BUILT_IN = TriggeringLimits(
    percent_hz_low=100.0,
    percent_hz_high=1000.0,
    percent_v_low=10.0,
    percent_v_high=10.0,
    percent_thd_high=100.0,
)
"""Initial values of the first limits: those of `threshold` without limits, not the original's 2.5 %."""


def _box(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return checked_box_id(text)
    except OpqError as error:
        raise click.BadParameter(str(error)) from error


def _store_options(command: F) -> F:
    for option in (json_option, data_dir_option, mongo_option):
        command = option(command)
    return command


_box_option = click.option(
    "--box",
    "box_id",
    metavar="BOX",
    callback=_box,
    shell_complete=values.boxes,
    help="Only the limits of this Box.",
)
_trigger_option = click.option(
    "--trigger", metavar="NAME", help="Settings of this built-in trigger, e.g. frequency."
)


@click.group(
    "limits",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Limits in the store at which Makai triggers: for all Boxes, for single ones, and for each trigger.

    \b
    Examples: opq-tools limits list
              opq-tools limits set ref_v=230 ref_hz=50 percent_v_low=10
              opq-tools limits set --box 4 percent_v_low=15
              opq-tools limits set --trigger frequency deviation_percent=0.4
              opq-tools limits set --box 4 default
    """


@command.command("list", short_help="List the limits in the store's makai_config.")
@click.option(
    "--allowed",
    is_flag=True,
    help="List what may be set instead: default, range and meaning of each setting of the built-in triggers.",
)
@click.option("--trigger", "triggers", multiple=True, metavar="NAME", help="With --allowed: only this one.")
@_store_options
def list_limits(
    allowed: bool, triggers: tuple[str, ...], as_json: bool, data_dir: Path | None, mongo_uri: str | None
) -> None:
    """List the limits in the store's makai_config; without one, Makai's configuration file applies.

    \b
    Examples: opq-tools limits list --json
              opq-tools limits list --allowed --trigger frequency
    """
    if allowed:
        _list_triggers(triggers, as_json)
        return
    if triggers:
        raise click.UsageError("--trigger goes with --allowed; without it, all limits are listed")
    with opened_store(mongo_uri, data_dir) as store:
        config = store.makai_config()
    _echo(config, as_json)


@command.command("set", short_help="Set limits, or give them their defaults again.")
@click.argument("values", nargs=-1, required=True, metavar="NAME=VALUE...|default")
@_box_option
@_trigger_option
@_store_options
def set_limits(
    values: tuple[str, ...],
    box_id: str | None,
    trigger: str | None,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
) -> None:
    """Set limits; others stay. A running Makai uses them within two seconds.

    NAME is ref_v, ref_hz, percent_v_low, percent_v_high, percent_hz_low, percent_hz_high or percent_thd_high;
    with --trigger a setting of that trigger (`limits list --allowed` lists them); none turns a limit off.
    The first limits need ref_v and ref_hz. They apply to every Box without limits of its own.

    NAME=default removes one limit or setting: the one for all Boxes, the built-in or the configured one
    holds. The word default alone removes all of the Box or of the trigger; without either the whole
    makai_config.

    \b
    Examples: opq-tools limits set ref_v=120 ref_hz=60 percent_v_low=8
              opq-tools limits set --trigger flicker swing_percent=1.5
              opq-tools limits set --trigger flicker swing_percent=default
              opq-tools limits set --box 4 default
    """
    if box_id is not None and trigger is not None:
        raise click.UsageError(
            "--box and --trigger: a trigger's settings hold for all Boxes; give one of the two options"
        )
    if DEFAULT in values:
        if len(values) > 1:
            raise click.UsageError(f"{DEFAULT} removes everything; give it alone, or NAME={DEFAULT}")
        _change(_removal(box_id, trigger), "removed limits", as_json, data_dir, mongo_uri)
        return
    given = _given(values)
    back = [name for name, value in given.items() if value == DEFAULT]
    rest = {name: value for name, value in given.items() if value != DEFAULT}
    if trigger is not None:
        change = _trigger_change(trigger, rest, back)
    else:
        change = _limit_change(box_id, _numbers(rest), _known(back))
    what = "set limits" if rest else "removed limits"
    _change(change, what, as_json, data_dir, mongo_uri, box_id or "")


def _list_triggers(names: tuple[str, ...], as_json: bool) -> None:
    try:
        rows = [each for name in names or built_in_triggers() for each in trigger_settings(name)]
        if not as_json:
            _echo_settings(rows)
            return
    except PluginError as error:
        raise click.UsageError(str(error)) from error
    documents = [{**asdict(each), "kind": each.kind.__name__} for each in rows]
    click.echo(json.dumps(documents, indent=1))


def _echo_settings(rows: Sequence[TriggerSetting]) -> None:
    """Prints one line per setting, in columns."""
    cells = [(each.trigger, each.name, shown_setting(each.default), each.allowed, each.help) for each in rows]
    click.echo(text_table(("trigger", "setting", "default", "allowed", "what"), cells))


Change = Callable[[MakaiConfig | None], MakaiConfig | None]


def _removal(box_id: str | None, trigger: str | None) -> Change:
    """Removes all limits of a Box, all settings of a trigger, or everything."""

    def change(config: MakaiConfig | None) -> MakaiConfig | None:
        if config is None or (box_id is None and trigger is None):
            return None
        if trigger is not None:
            return _with_settings(config, trigger, {}, tuple(_settings_of(config, trigger)))
        if box_id not in config.overrides:
            raise click.UsageError(f"Box {box_id} has no limits of its own; {_those_with(config)}")
        rest = {key: value for key, value in config.overrides.items() if key != box_id}
        return replace(config, overrides=rest)

    return change


def _limit_change(box_id: str | None, given: Mapping[str, float], back: Sequence[str]) -> Change:
    """`back`: limits that become those of all Boxes, or without a Box the built-in ones."""

    def change(config: MakaiConfig | None) -> MakaiConfig | None:
        limited = config is not None and config.limited
        if not limited and box_id is not None:
            raise click.UsageError("there are no limits of all Boxes yet; set those first, without --box")
        if box_id is None and (fixed := [name for name in REFERENCES if name in back]):
            raise click.UsageError(f"{' and '.join(fixed)}: there is no default for all Boxes; give a number")
        if not limited and (missing := [name for name in REFERENCES if name not in given]):
            raise click.UsageError(
                f"the first limits hold for all Boxes: give {' and '.join(missing)} too, as in "
                "ref_v=230 ref_hz=50"
            )
        before = config or MakaiConfig(AS_BUILT_IN)
        default = before.default if limited else AS_BUILT_IN
        source = AS_BUILT_IN if box_id is None else default
        new = {**given, **{name: getattr(source, name) for name in back}}
        if box_id is None:
            changed = replace(before, default=replace(default, **new), limited=True)
        else:
            own = replace(before.overrides.get(box_id, default), **new)
            changed = replace(before, overrides={**before.overrides, box_id: own})
        return _checked(changed)

    return change


def _trigger_change(trigger: str, given: Mapping[str, SettingValue], back: Sequence[str]) -> Change:
    def change(config: MakaiConfig | None) -> MakaiConfig | None:
        if config is None and not given:
            return None
        before = config or MakaiConfig(AS_BUILT_IN, limited=False)
        try:
            problems = (
                setting_problems(trigger, {**before.triggers.get(trigger, {}), **given}) if given else []
            )
        except PluginError as error:
            raise click.UsageError(str(error)) from error
        if problems:
            raise click.UsageError("; ".join(problems))
        return _with_settings(before, trigger, given, back)

    return change


def _settings_of(config: MakaiConfig, trigger: str) -> Mapping[str, SettingValue]:
    settings = config.triggers.get(trigger)
    if settings is None:
        known = ", ".join(config.triggers) or "none"
        raise click.UsageError(f"no setting of {trigger!r} is stored; settings are stored of: {known}")
    return settings


def _with_settings(
    config: MakaiConfig, trigger: str, given: Mapping[str, SettingValue], back: Sequence[str]
) -> MakaiConfig:
    settings = _settings_of(config, trigger) if back else config.triggers.get(trigger, {})
    if wrong := [name for name in back if name not in settings]:
        raise click.UsageError(
            f"{', '.join(wrong)}: not stored for {trigger}; stored are {', '.join(settings)}"
        )
    rest = {key: value for key, value in {**settings, **given}.items() if key not in back}
    others = {key: value for key, value in config.triggers.items() if key != trigger}
    return replace(config, triggers={**others, trigger: rest} if rest else others)


def _change(
    change: Change,
    what: str,
    as_json: bool,
    data_dir: Path | None,
    mongo_uri: str | None,
    limited_box: str = "",
) -> None:
    with opened_store(mongo_uri, data_dir) as store:
        before = store.makai_config()
        check_known_boxes(store, [limited_box], before.overrides if before else ())
        after = change(before)
        store.put_makai_config(after)
        note_command(store.people, what, "makai", _flat(before), _flat(after))
        found = store.makai_config()
    _echo(found, as_json)


def _given(values: Sequence[str]) -> dict[str, SettingValue]:
    found: dict[str, SettingValue] = {}
    for each in values:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{each!r}: want NAME=VALUE, e.g. percent_v_low=10")
        found[name] = setting_from_text(text)
    return found


def _known(names: Collection[str]) -> list[str]:
    if wrong := [name for name in names if name not in LIMIT_NAMES]:
        raise click.UsageError(f"{', '.join(wrong)}: is not a limit; want one of {', '.join(LIMIT_NAMES)}")
    return list(names)


def _numbers(given: Mapping[str, SettingValue]) -> dict[str, float]:
    _known(given)
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise click.UsageError(f"{name} is {shown_setting(value)!r}; want a number above 0")
    return {name: float(value) for name, value in given.items() if isinstance(value, int | float)}


def _checked(config: MakaiConfig) -> MakaiConfig:
    """Refuses settings that a reader would ignore."""
    read = makai_config_from_document(limits_document(config), settings_document(config))
    if read is not None and (new := [each for each in read.problems if each not in config.problems]):
        raise click.UsageError("; ".join(new))
    return replace(config, problems=())


def _those_with(config: MakaiConfig) -> str:
    return f"these have: {', '.join(config.overrides)}" if config.overrides else "no Box has"


def _document(config: MakaiConfig | None) -> dict[str, Any]:
    limited = config is not None and config.limited
    return {
        "limits": asdict(config.default) if config and limited else None,
        "overrides": {key: asdict(value) for key, value in config.overrides.items()} if config else {},
        "triggers": {key: dict(value) for key, value in config.triggers.items()} if config else {},
        "problems": list(config.problems) if config else [],
    }


def _flat(config: MakaiConfig | None) -> dict[str, object]:
    """The limits as flat names and values, for the log of changes."""
    document = _document(config)
    tables = {"": document["limits"] or {}}
    tables |= {f"box {key} ": value for key, value in document["overrides"].items()}
    tables |= {f"{key} ": value for key, value in document["triggers"].items()}
    return {prefix + name: value for prefix, table in tables.items() for name, value in table.items()}


def _echo(config: MakaiConfig | None, as_json: bool) -> None:
    document = _document(config)
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    if config is None:
        click.echo("no makai_config: the configuration of Makai holds")
        return
    rows = [("all Boxes", document["limits"])] if config.limited else []
    rows += [(f"Box {key}", value) for key, value in document["overrides"].items()]
    rows += document["triggers"].items()
    if rows:
        click.echo(text_table(("for", "limits"), ((what, _line(value)) for what, value in rows)))
    for problem in config.problems:
        click.echo(f"ignored: {problem}")


def _line(values: Mapping[str, SettingValue]) -> str:
    return "  ".join(f"{name}={shown_setting(value)}" for name, value in values.items())
