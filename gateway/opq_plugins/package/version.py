"""Versions of plug-ins: semantic versioning 2.0, a leading v is dropped."""

import re
from dataclasses import dataclass
from functools import total_ordering

from opq_proto.errors import PluginError

FORM = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]{1,64}))?(?:\+[0-9A-Za-z.-]{1,64})?")


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """Ordered as semver orders: 1.0.0-rc.1 is below 1.0.0; what stands behind + does not count."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    def __str__(self) -> str:
        tail = f"-{'.'.join(self.pre)}" if self.pre else ""
        return f"{self.major}.{self.minor}.{self.patch}{tail}"

    def __lt__(self, other: "Version") -> bool:
        return self._rank() < other._rank()

    def _rank(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        parts = tuple((not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in self.pre)
        return self.major, self.minor, self.patch, not self.pre, parts


def parse_version(text: str) -> Version:
    """Raises PluginError for what is no version."""
    match = FORM.fullmatch(text)
    if match is None or not text.isascii():
        raise PluginError(f"version {text[:80]!r}; want three numbers as in 1.0.0")
    major, minor, patch, pre = match.groups()
    return Version(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else ())
