"""The plan of a roll-out: which version, for which groups, for what share of the gateways. Pure.

A plan is the custom fields of the TUF target `rollout-gateway` or `rollout-firmware`, which has no bytes. Its
role can only choose among releases that the release keys have signed (docs/updates.md).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from opq_proto.errors import OpqError

KINDS = ("gateway", "firmware")
WHOLE_SHARE = 10_000
"""A share of all gateways, in parts of 10,000."""
_VERSION = re.compile(r"\d{1,5}(\.\d{1,5}){1,3}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)


class ReleaseError(OpqError):
    """A release, a plan or a repository is wrong."""


class NoReleaseError(ReleaseError):
    """A release does not exist for this Python, processor or hardware."""


def version_key(version: str) -> tuple[int, ...]:
    """`0.10.2` as numbers, for comparison. Raises ReleaseError."""
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version[:40]!r} is not a version; want numbers with dots, such as 0.2.0")
    numbers = [int(each) for each in version.split(".")]
    while numbers[-1] == 0 and len(numbers) > 1:
        numbers.pop()
    return tuple(numbers)


def target_name(kind: str, version: str, tag: str) -> str:
    """The target of a release: `gateway-0.2.0-cp311-x86_64.zip`, `firmware-1.4.0-opqbox3.opqfw`.

    Raises ReleaseError: a part would not be safe in a file's name.
    """
    version_key(version)
    if kind not in KINDS or not _TAG.fullmatch(tag):
        raise NoReleaseError(f"{kind[:20]!r} for {tag[:60]!r} cannot be a target; want {' or '.join(KINDS)}")
    return f"{kind}-{version}-{tag}.{'zip' if kind == 'gateway' else 'opqfw'}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One roll-out."""

    kind: str
    version: str
    groups: tuple[str, ...] = ()
    """Groups of gateways; empty: all."""
    percent: int = 100
    """The largest share of the gateways that may have it."""
    share: int = WHOLE_SHARE
    """The share that may have it now, in parts of WHOLE; the update server raises it step by step."""
    paused: bool = False
    stopped: str = ""
    """Why the roll-out ended early; empty: it did not."""
    at_once: int = 1
    """Most gateways that have begun and not ended."""
    stop_at: int = 1
    """The roll-out stops at this number of gateways that failed."""

    def fields(self) -> dict[str, Any]:
        """The custom fields of the target."""
        return {**asdict(self), "groups": list(self.groups)}


def plan_from(kind: str, custom: Mapping[str, Any]) -> Plan:
    """Reads custom fields; unknown ones, of a later version, are left out. Raises ReleaseError."""
    known = {each.name: each for each in fields(Plan)}
    values: dict[str, Any] = {name: value for name, value in custom.items() if name in known}
    groups = values.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise ReleaseError(f"the plan of {kind} has groups {groups!r:.60}; want a list of names")
    values["groups"] = tuple(groups)
    for name, default in asdict(Plan(kind, "0.0")).items():
        if name in values and type(values[name]) is not type(default):
            raise ReleaseError(
                f"the plan of {kind} has {name} {values[name]!r:.60}; want a value such as {default!r}"
            )
    if values.get("kind") != kind or "version" not in values:
        raise ReleaseError(
            f"the plan of {kind} names no version, or another kind; want kind {kind} and a version"
        )
    version_key(values["version"])
    if bad := [each for each in values["groups"] if not _NAME.fullmatch(each)]:
        raise ReleaseError(f"{bad[0][:40]!r} is not a group; want letters, digits, - and _")
    return Plan(**values)


def place(gateway: str, version: str) -> int:
    """The gateway's place in the roll-out of this version, 0 to WHOLE - 1: for each version another order."""
    digest = hashlib.sha256(f"{version} {gateway}".encode()).digest()
    return int.from_bytes(digest[:4], "big") * WHOLE_SHARE >> 32


def is_turn(plan: Plan, gateway: str, group: str) -> bool:
    """Whether this gateway may have the plan's version now."""
    if plan.paused or plan.stopped or (plan.groups and group not in plan.groups):
        return False
    return place(gateway, plan.version) < min(plan.share, plan.percent * WHOLE_SHARE // 100)
