"""Names of properties as users write them: in any case of letters, and with some that only eKuiper has.

A key that no type of ours has is passed over and reported, so that a rule of eKuiper runs unchanged; one that
is close to a known key is refused by the type itself, with "did you mean".
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import fields

from opq_rules.batch import JsonObject
from opq_rules.built_in import module_of
from opq_rules.delivery.transform import NAMES

NEAR = 0.75
"""Likeness, 0 to 1, from which a key is a misspelt one."""


def spelled(
    kind: str, type_name: str, given: Mapping[str, object], keep: Collection[str] = ()
) -> tuple[JsonObject, list[str]]:
    """The properties under the names of the type, and the keys that are passed over; plug-ins get all.

    `keep`: further keys that are not passed over.
    """
    module = module_of(kind, type_name)
    if module is None:
        return dict(given), []
    own = {each.name for each in fields(module.Config)}
    names = {name.lower(): name for name in (*(NAMES if kind == "sink" else ()), *own)}
    found: JsonObject = {}
    passed_over: list[str] = []
    for key, value in given.items():
        name = key if key in own or key in keep else names.get(key.lower(), key)
        if name.lower() in names or name in keep or _is_near(key, names):
            found[name] = value
        else:
            passed_over.append(key)
    return found, passed_over


def _is_near(key: str, names: Mapping[str, str]) -> bool:
    return bool(difflib.get_close_matches(key.lower(), names, n=1, cutoff=NEAR))
