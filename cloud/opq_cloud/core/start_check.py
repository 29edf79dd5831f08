"""Checks a configuration for missing files of this machine, before a start: `opq-tools config check`. Short,
and separate from `settings/config.py`, which reads only its own file.
"""

import os
from collections.abc import Iterator

from opq_cloud.core.backend.addresses import in_clear, missing_backend_keys, own_folder, placed
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_proto.errors import KeyFileError
from opq_proto.keys.key_files import read_secret_file
from opq_proto.kit.system_place import default_data_dir


def backend_findings(config: CloudConfig) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns (key, text) of missing keys that would end services at a start, and of notes.

    Where only the server's private key is missing, the folder may be that of another machine, which binds
    nothing: that is only a note.
    """
    folder = config.data_dir or default_data_dir()
    with_keys = placed(config, folder)
    note = in_clear("all", with_keys)
    made = own_folder(with_keys, folder)
    missing = [each for each in missing_backend_keys("all", with_keys) if f"{made}/" not in each[1]]
    notes = [] if note is None else [("backend_keys", note)]
    if len(missing) == 1 and "opqserver_secret" in missing[0][1]:
        key, text = missing.pop()
        notes.append((key, f"{text}; only the service that binds this address needs it"))
    return missing, notes


def missing_keys(config: CloudConfig, data_dir_named: bool) -> Iterator[tuple[str, str]]:
    """Yields (key, problem) of key files without which the brokers would end.

    Those of the default folder are checked only where `--data-dir` names it: they may be made later.
    """
    named = config.keys
    if not (data_dir_named or named.folder or named.server_secret or named.public_keys):
        return
    keys = CloudKeys(named, config.data_dir or default_data_dir())
    try:
        read_secret_file(keys.server_secret)
    except KeyFileError as error:
        yield "keys.server_secret", str(error)
    if not keys.public_keys.is_dir():
        yield (
            "keys.public_keys",
            f"{keys.public_keys} is not a folder: no Box would be admitted until it is there",
        )


def without_effect(config: CloudConfig) -> Iterator[tuple[str, str]]:
    """Yields (key, problem) of sections of a part that is off: what they state would not happen."""
    rules, mqtt, mail = config.triggering_service.rules, config.notifications.mqtt, config.view.mail
    reports = config.reports
    for key, section, is_on, why in (
        ("triggering_service.rules", rules, rules.enabled, "triggering_service.rules.enabled is not set"),
        ("notifications.mqtt", mqtt, mqtt.host is not None, "notifications.mqtt.host is missing"),
        ("view.mail", mail, mail.server is not None, "view.mail.server is missing"),
        ("reports", reports, reports.day != "never", "reports.day is never"),
    ):
        if not is_on and section != type(section)():
            yield key, f"is without effect: {why}"


def missing_secrets(config: CloudConfig) -> Iterator[tuple[str, str]]:
    """Yields (key, problem) of files with a password without which View would end."""
    path = config.view.mail.password_file
    if path is not None and not os.access(path, os.R_OK):
        yield "view.mail.password_file", f"{path} is not there, or may not be read"
