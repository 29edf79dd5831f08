"""The versions of other people's sources that firmware and emulator are built from, with their checksums.

Debian's source packages are checked by apt, against the keys of the archive; pip checks the hash given here.
A tarball or a git checkout that a user names is compared with the sums below. (Renode: hil/renode.lock.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pinned:
    """A package: the series that we build with, its suite in Debian, the releases that we know."""

    name: str
    series: str
    """Point releases of it are accepted."""
    suite: str
    tarballs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 -> the maker's file name."""
    commits: Mapping[str, str] = field(default_factory=dict)
    """Commit -> tag in the maker's repository."""


QEMU = Pinned(
    "qemu",
    "10.0",
    "trixie",  # Debian 13; bookworm's 7.2 lacks the parts that our machine needs
    {"22c075601fdcf8c7b2671a839ebdcef1d4f2973eb6735254fd2e1bd0f30b3896": "qemu-10.0.0.tar.xz"},
    {"7c949c53e936aa3a658d84ab53bae5cadaa5d59c": "v10.0.0"},
)
MICROPYTHON = Pinned(
    "micropython",
    "1.25",
    "trixie",
    {"9fe99ad5808e66bb40d374f5cad187c32c7d1c49cf47f72b38fd453c28c2aebe": "micropython-1.25.0.tar.xz"},
    {"f498a16c7db6d4b2de200b3e0856528dfe0613c3": "v1.25.0"},
)
PYMONOCYPHER_VERSION = "4.0.3.4"
MONOCYPHER_VERSION = "4.0.3"
PYMONOCYPHER_SHA256 = "5e56e3d3eb770a53e0b9f6274146663c11a11f3d0de5cd48e3be0428d1b07a4a"
"""Checksum of pymonocypher-4.0.3.4.tar.gz, which contains Monocypher 4.0.3."""
