"""`opq-tools config`: checks a configuration file before anything is started with it.

Files of the toolkit and of the original are recognised by their keys, and loaded as their services load them.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from opq_gateway.surroundings import Found
from opq_proto.config.fields import fields_of
from opq_proto.config.reading import read_document
from opq_proto.config.sample import sample_toml
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.kit.command_line import data_dir_option, json_option

ORIGINAL_BOX = {
    "box_id": "box.id",
    "trg_push_ep": "uplink.trigger_endpoint",
    "cmd_sub_ep": "uplink.command_endpoint",
    "cmd_push_ep": "uplink.response_endpoint",
    "windows_per_measurements": "measurement_cycles",
    "windows_per_measurement": "measurement_cycles",
    "windows_in_storage_buffer": "ring_hours",
}
"""Keys of the original's triggering.json / opqbox_config.json (docs/reference/opq-interop.md G.1) -> ours."""
ELSEWHERE = {
    "calibration": "counts per volt; here each Box reports its gain: opq-tools calibrate",
    "device_path": "a kernel device of the original's SPI line; here box.port, a serial port",
    "server_public_key": "a key in text; here a file: curve/public_keys/opqserver.key",
    "box_secret_key": "a key in text; here a file: curve/private_keys/opqbox<ID>_secret",
    "box_public_key": "a key in text; here a file: curve/public_keys/opqbox<ID>.key",
    "plugins": "shared libraries; here the features are the measurement core's",
    "updates_ep": "here firmware comes signed, over the uplink or by opq-tools flash",
    "sse_interface": "here [mqtt], and /measured on the health address",
}
UP, ROOMS = "up", frozenset({"gateway", "cloud"})
"""Kind of a file for `up --config`, and the tables that it may hold."""
MONGO_SCHEMES = ("mongodb://", "mongodb+srv://")
CYCLE_HOURS = 1 / 60 / 3600
"""The length of one window of the original: 200 samples."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Kind of a file and all findings; problems prevent a start, notes do not."""

    kind: str
    problems: tuple[Found, ...] = ()
    notes: tuple[Found, ...] = ()


def kind_of(document: Mapping[str, Any]) -> str:
    """Kind of a file: `gateway`, `cloud`, `rules`, `up`, `original Box`, or `original <service>`."""
    if document and all(key in ROOMS and isinstance(document[key], Mapping) for key in document):
        return UP
    if {"trg_push_ep", "cmd_sub_ep", "cmd_push_ep"} & document.keys():
        return "original Box"
    from opq_cloud.core.settings.config import CloudConfig
    from opq_cloud.original import config as original_config
    from opq_gateway.config import Config
    from opq_rules.api.config import Config as RulesConfig

    original = original_config.kind_of(document)
    if original is not None:
        return f"original {original.replace('_', ' ')}"
    scores = {
        name: len(document.keys() & fields_of(cls).keys())
        for name, cls in (("gateway", Config), ("cloud", CloudConfig), ("rules", RulesConfig))
    }
    return max(scores, key=lambda name: scores[name])  # gateway where no key is known


def _check(path: Path, document: Mapping[str, Any], kind: str, data_dir: Path | None) -> Checked:
    """Loads the file as its service does, and checks keys, ports and folders.

    Raises:
        ConfigError: the file is wrong; the text has every problem.
    """
    if kind == "original Box":
        return Checked(kind, notes=box_of_original(document))
    if kind == UP:
        return _up(path)
    if kind == "rules":
        from opq_rules.api.config import load

        load(path, data_dir)
        return Checked(kind)
    if kind != "gateway":
        return _cloud(path, kind, data_dir)
    from opq_gateway import config
    from opq_gateway.surroundings import check

    found = check(config.load(path, data_dir))
    return Checked(
        kind, tuple(item for item in found if item.fatal), tuple(item for item in found if not item.fatal)
    )


def _up(path: Path) -> Checked:
    """Has both rooms check their tables as `up --config` lays them over its own settings, with one Box.

    Raises:
        ConfigError: with all problems of both.
    """
    from opq_cloud.makai.judging.triggers_in_use import judged_triggers
    from opq_cloud.mauka.service import judged_analyses
    from opq_cloud.original.config import ConfigNotice, read_config
    from opq_tools.up.plan import HardwareBox, UpPlan
    from opq_tools.up.plan import read_config as read_tables

    notices: list[ConfigNotice] = []
    with TemporaryDirectory() as folder:
        plan = UpPlan(Path(folder), 0, None, (HardwareBox("1", "/dev/ttyACM0"),), read_tables(path), False)
        plan.prepare()
        found = plan.room_problems()
        if not found:
            config = read_config([Path(folder) / "config" / "cloud.toml"], {}, notify=notices.append)
            judged_triggers(config.triggering_service)
            judged_analyses(config)
    lines = []
    for room, text in found.items():
        head, *rest = text.splitlines()
        lines += [f"  {room}.{line.strip()}" for line in rest] or [
            f"  {room}  {head.removeprefix(f'{room}.toml: ')}"
        ]
    if lines:
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise ConfigError("\n".join([f"{path}: {count}, nothing was started", *lines]))
    return Checked(UP, notes=tuple(Found(f"cloud.{each.key}", each.text, False) for each in notices))


def _cloud(path: Path, kind: str, data_dir: Path | None) -> Checked:
    """Checks a file as `opq-cloud` does at its start: corrected or ignored values, keys, plug-ins."""

    from opq_cloud.core.start_check import backend_findings, missing_keys, missing_secrets
    from opq_cloud.makai.judging.triggers_in_use import judged_triggers
    from opq_cloud.mauka.service import judged_analyses
    from opq_cloud.original.config import ConfigNotice, read_config
    from opq_cloud.original.places import broker_sources

    notices: list[ConfigNotice] = []
    overrides = None if data_dir is None else {"data_dir": str(data_dir)}
    config = read_config([path], overrides, notify=notices.append, brokers=broker_sources([path]))
    judged_triggers(config.triggering_service)
    judged_analyses(config)
    backend_keys, findings = backend_findings(config)
    missing = [*missing_keys(config, data_dir is not None), *missing_secrets(config), *backend_keys]
    if config.store.mongo_uri and not config.store.mongo_uri.startswith(MONGO_SCHEMES):
        missing.append(("store.mongo_uri", "is no address; want mongodb://host:port/database"))
    notes = [*((each.key, each.text) for each in notices), *findings]
    return Checked(
        kind,
        tuple(Found(key, text, True) for key, text in missing),
        tuple(Found(key, text, False) for key, text in notes),
    )


def box_of_original(document: Mapping[str, Any]) -> tuple[Found, ...]:
    """Where each setting of an original Box's file belongs in ours; no value of a secret key is shown."""
    notes = []
    for key, value in document.items():
        if key == "windows_in_storage_buffer" and isinstance(value, int | float):
            text = f"{value * CYCLE_HOURS:.3g} h would be the same; the default is 24 h"
            notes.append(Found(key, f"-> ring_hours: {text}", False))
        elif key in ORIGINAL_BOX:
            shown = f'"{value}"' if key == "box_id" else repr(value).replace("'", '"')
            notes.append(Found(key, f"-> {ORIGINAL_BOX[key]} = {shown}", False))
        elif key in ELSEWHERE:
            notes.append(Found(key, ELSEWHERE[key], False))
        else:
            notes.append(Found(key, "not known, and not needed here", False))
    return tuple(notes)


SAMPLES = ("gateway", "cloud", "rules")


@click.group("config")
def command() -> None:
    """Configuration files of gateway, cloud and rule engine.

    Example: opq-tools config check gateway.toml
    """


@command.command("check", short_help="Report everything that is wrong with a file; nothing is started.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--kind",
    type=click.Choice(SAMPLES),
    help="Program that the file is for.  [default: recognised by its keys]",
)
@data_dir_option
@json_option
@click.option(
    "--sample",
    type=click.Choice(SAMPLES),
    is_flag=False,
    flag_value="gateway",
    help="Print a file with every key, its meaning, range and default: gateway, cloud or rules.",
)
def check_command(
    file: Path | None, kind: str | None, data_dir: Path | None, as_json: bool, sample: str | None
) -> None:
    """Report everything that is wrong with FILE (TOML or JSON, ours or the original's); nothing is started.

    A file for `opq-tools up --config` has the tables [gateway] and [cloud]; each is checked.

    Checks keys and values, and what the machine must have: key files, ports, a folder to write
    in. Exit code 0: correct; 1: correct, but this machine lacks something; 2: wrong.

    Example: opq-tools config check gateway.toml; opq-tools config check --sample > gateway.toml
    """
    log.configure("opq-tools")
    if sample is not None:
        click.echo(_sample(sample), nl=False)
        return
    if file is None:
        raise click.UsageError("FILE is missing; an example: opq-tools config check gateway.toml")
    guessed = ""
    try:
        document = read_document(file)
        guessed = kind_of(document)
        checked = _check(file, document, kind or guessed, data_dir)
    except ConfigError as error:
        _show_error(file, error, as_json)
        if guessed and not (kind or as_json):
            click.echo(f"It was read as a file of {guessed}; --kind names another.", err=True)
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(_document(file, checked.kind, checked.problems, checked.notes)))
    else:
        _show(file, checked)
    sys.exit(1 if checked.problems else 0)


def _sample(which: str) -> str:
    if which == "cloud":
        from opq_cloud.core.settings.config import CloudConfig

        return sample_toml(CloudConfig)
    if which == "rules":
        from opq_rules.api.config import Config as RulesConfig

        return sample_toml(RulesConfig)
    from opq_gateway.config import Config

    return sample_toml(Config)


def _show(file: Path, checked: Checked) -> None:
    if checked.problems:
        count = "1 problem" if len(checked.problems) == 1 else f"{len(checked.problems)} problems"
        click.echo(f"{file}: {count} ({checked.kind})")
    else:
        click.echo(f"{file}: fine ({checked.kind})")
    found = [*checked.problems, *checked.notes]
    width = max((len(item.key) for item in found), default=0) + 2
    for item in checked.problems:
        click.echo(f"  {item.key.ljust(width)}{item.text}")
    for item in checked.notes:
        click.echo(f"  {item.key.ljust(width)}{item.text}")


def _show_error(file: Path, error: ConfigError, as_json: bool) -> None:
    if not as_json:
        click.echo(f"opq-tools: {error}", err=True)
        return
    head, *lines = str(error).splitlines()
    problems = []
    for line in lines or [head]:
        key, _, text = re.sub(r"\s{2,}", "\t", line.strip()).partition("\t")
        problems.append(Found(key if text else "", text or key, True))
    click.echo(json.dumps(_document(file, None, tuple(problems), ())))


def _document(
    file: Path, kind: str | None, problems: tuple[Found, ...], notes: tuple[Found, ...]
) -> dict[str, Any]:
    def listed(items: tuple[Found, ...]) -> list[dict[str, str]]:
        return [{"key": item.key, "text": item.text} for item in items]

    return {
        "file": str(file),
        "kind": kind,
        "ok": not problems,
        "problems": listed(problems),
        "notes": listed(notes),
    }
