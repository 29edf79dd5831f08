"""The files of D/gateway/update: journal and link, each replaced in one step and flushed to the disk."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from opq_gateway.update.decide import STEPS, TREES, Journal
from opq_proto.kit.whole_file import PRIVATE_MODE, flush_to_disk, write_whole_file

PROGRAM = Path("bin/opq-gateway")


class UpdateFolder:
    """The folder of one gateway's update."""

    def __init__(self, data_folder: Path) -> None:
        """`data_folder`: D/gateway."""
        self.path = data_folder.absolute() / "update"
        self.link = self.path / "current"
        self.root = self.path / "root.json"
        self.metadata = self.path / "tuf"
        self.bundle = self.path / "bundle.zip"
        self.wheels = self.path / "wheels"

    def tree(self, name: str) -> Path:
        return self.path / name

    def name_of(self, place: Path | str) -> str:
        """`a` or `b` for a tree of this folder; "" for any other place."""
        found = Path(os.path.realpath(place))
        return found.name if found.parent == self.path.resolve() and found.name in TREES else ""

    @property
    def linked(self) -> str:
        """The tree that the link names; "" where it names another place, or is not there."""
        return self.name_of(self.link) if self.link.is_symlink() else ""

    def read(self) -> Journal:
        """The journal; a missing or unreadable journal means that no update is under way."""
        try:
            document = json.loads((self.path / "journal.json").read_bytes())
            names = {each.name for each in fields(Journal)}
            values = {name: value for name, value in document.items() if name in names}
            for name in ("well", "acknowledged"):
                values[name] = tuple(values.get(name, ()))
            journal = Journal(**values)
        except (OSError, ValueError, TypeError, AttributeError):
            return Journal()
        return journal if journal.step in STEPS and journal.tree in (*TREES, "") else Journal()

    def write(self, journal: Journal) -> None:
        """Raises OSError."""
        write_whole_file(self.path / "journal.json", [json.dumps(asdict(journal)).encode()], PRIVATE_MODE)
        flush_to_disk(self.path)

    def point(self, to: Path) -> None:
        """Points the link to another tree, in one step. Raises OSError."""
        beside = self.path / ".current.new"
        with suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(to)
        beside.replace(self.link)
        flush_to_disk(self.path)


def sync_tree(top: Path) -> None:
    """Flushes every file and folder below `top`, and `top` itself, to the disk."""
    for path in _below(top):
        flush_to_disk(path)


def _below(top: Path) -> Iterator[str]:
    for folder, _, names in os.walk(top, topdown=False):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - 20,000 files
            if not os.path.islink(path):  # noqa: PTH114
                yield path
        yield folder
