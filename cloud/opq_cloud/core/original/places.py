"""The places of the original's configuration when no file is named (docs/reference/opq-interop.md part C).

An environment variable holds the whole JSON text and wins over the file of the published guide.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from opq_cloud.core.original.original_settings import ConfigSource
from opq_proto.config.reading import read_document
from opq_proto.errors import ConfigError

FOLDER = Path("/etc/opq")
FOLDER_VARIABLE = "OPQ_CONFIG_FOLDER"
"""Our variable for another folder than /etc/opq, in a container or without root; empty means no folder."""
PLACES = (
    ("triggering_broker", "TRIGGERING_BROKER_SETTINGS", "triggering_broker.json"),
    ("acquisition_broker", "ACQUISITION_BROKER_SETTINGS", "acquisition_broker_config.json"),
    ("makai", "MAKAI_SETTINGS", "makai.conf"),
    ("mauka", "MAUKA_SETTINGS", None),
    ("health", "HEALTH_SETTINGS", None),
)
"""Kind of original configuration, its variable, its file in /etc/opq."""
READ_BY = {
    "all": ("triggering_broker", "acquisition_broker", "makai", "mauka", "health"),
    "all-but-brokers": ("triggering_broker", "acquisition_broker", "makai", "mauka", "health"),
    "triggering-broker": ("triggering_broker",),
    "acquisition-broker": ("acquisition_broker",),
    "triggering-service": ("makai",),
    "event-service": ("makai",),
    "mauka": ("mauka",),
    "view": ("makai",),
    "notifications": ("makai",),
    "health": ("health",),
    "update": ("makai",),
}
"""`opq-cloud NAME` -> kinds that it reads; View, notifications and update read the store's address."""


def original_sources(command: str, environment: Mapping[str, str] | None = None) -> list[ConfigSource]:
    """Returns the sources for this command that exist, in the order of PLACES.

    Raises:
        ConfigError: a variable or a file that exists cannot be read.
    """
    variables = os.environ if environment is None else environment
    named = variables.get(FOLDER_VARIABLE)
    folder = FOLDER if named is None else Path(named) if named else None
    found = []
    for kind, variable, file in PLACES:
        if kind not in READ_BY.get(command, ()):
            continue
        if variables.get(variable, "").strip():
            found.append(ConfigSource(f"${variable}", _from_text(variable, variables[variable]), kind))
        elif folder is not None and file is not None and (folder / file).is_file():
            found.append(ConfigSource(str(folder / file), read_document(folder / file), kind))
    return found


def broker_sources(files: Sequence[Path], environment: Mapping[str, str] | None = None) -> list[ConfigSource]:
    """Returns the brokers' configuration for a service that reads only their ports.

    Their files beside `files` come last, so they win over the variables and /etc/opq. A broker reports
    itself what cannot be read: here it is left out.
    """
    found: list[ConfigSource] = []
    for command in ("triggering-broker", "acquisition-broker"):
        with suppress(ConfigError):
            found += original_sources(command, environment)
    names = [file for kind, _, file in PLACES if file is not None and kind != "makai"]
    for path in (each.parent / name for each in files for name in names):
        if path not in files and path.is_file():
            with suppress(ConfigError):
                found.append(ConfigSource(str(path), read_document(path)))
    return found


def _from_text(variable: str, text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"${variable}: is not JSON: {error}, nothing was started") from error
    if not isinstance(document, dict):
        raise ConfigError(f"${variable}: want a table of keys at the top, nothing was started")
    return document
