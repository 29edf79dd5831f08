"""file: a JSON, CSV or lines file, or a folder of them; can be rewound, so that nothing is lost or doubled.

DATASOURCE is the file's name below `path`, or the file itself. With `interval` 0 it is read once; above 0 it
is read again from the start every so many ms. An offset is `[file name, records read of it]`. Unreadable
records are reported and skipped.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_rules.connections.access import Guarded
from opq_rules.files.records import (
    BrokenFileError,
    Record,
    file_options,
    open_plain_file,
    records,
)
from opq_rules.files.records import Config as Config
from opq_rules.values.batch import JsonObject

_RECORDS_PER_CALL = 500
"""Records emitted in one call."""
_POLL_S = 1.0
_STILL_POLLS = 5
"""A broken file of a folder delays the others until so many checks have found it unchanged."""
_MAX_POLLS = 60
"""A broken file that still changes delays the others for at most so many checks."""


class Source(Guarded, SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config, self._at = file_options(datasource, properties, self.access.files)
        self._open_file = partial(open_plain_file, self.access.files)
        self._done: tuple[str, int] = ("", 0)
        self._why = ""
        """The present problem, which is reported only once."""
        self._passed_over: dict[str, tuple[int, ...]] = {}
        """Broken files of the folder: name -> stamp."""

    def rewind(self, offset: object) -> None:
        if not isinstance(offset, list):
            raise TypeError("want a list of a file's name and the number of records read from it")
        self._done = (str(offset[0]), int(offset[1]))

    def open(self, context: SourceContext) -> None:
        while not context.stopped:
            try:
                self._read_all(context)
            except OSError as error:
                self._down(context, f"{self._at}: {error}")
                context.wait(_POLL_S)
                continue
            if context.stopped:
                return
            self._up(context)
            if not self._config.interval:
                break
            self._done = ("", 0)
            context.wait(self._config.interval / 1000)
        while not context.wait(60.0):
            pass

    def _files(self) -> list[Path]:
        if not self._at.is_dir():
            return [self._at]
        return sorted(each for each in self._at.iterdir() if each.is_file())

    def _read_all(self, context: SourceContext) -> None:
        files = self._files()
        names = {each.name for each in files}
        self._passed_over = {name: stamp for name, stamp in self._passed_over.items() if name in names}
        for path in files:
            if path.name < self._done[0]:
                continue  # read before the restart
            whole = self._read(path, context)
            if context.stopped:
                return
            if whole:
                self._after(path)

    def _read(self, path: Path, context: SourceContext) -> bool:
        """Reads a file; returns whether it was read to its end.

        A broken file is tried again when it has changed; in a folder only for a while.
        """
        still = polls = 0
        while True:
            stamp = _stamp(path)
            if self._passed_over.get(path.name) == stamp:
                return False
            taken = self._done[1] if path.name == self._done[0] else 0
            try:
                found = records(
                    path, self._open_file, self._config, taken, context.emit_error, lambda: context.stopped
                )
                return self._hand_on(path, found, context)
            except (BrokenFileError, PermissionError) as error:
                if path == self._at and isinstance(error, OSError):
                    raise
                self._down(context, str(error))
            changed = False
            while not changed:
                if context.wait(_POLL_S):
                    return False
                changed = _stamp(path) != stamp
                still, polls = 0 if changed else still + 1, polls + 1
                if path != self._at and (still >= _STILL_POLLS or polls >= _MAX_POLLS):
                    self._passed_over[path.name] = stamp
                    context.emit_error(f"{path}: the file is skipped")
                    return False

    def _hand_on(self, path: Path, found: Iterator[Record], context: SourceContext) -> bool:
        """Emits the records; returns whether it came to their end."""
        most = 1 if self._config.sendInterval else _RECORDS_PER_CALL
        number, batch = 0, list[JsonObject]()
        try:
            for record in found:
                number += 1
                if record is not None:
                    batch.append(record)
                if len(batch) < most:
                    if not number % _RECORDS_PER_CALL and context.stopped:
                        return False
                    continue
                if not self._emit(path, batch, number, context):
                    return False
                batch = []
        except BrokenFileError:
            self._emit(path, batch, number, context)
            raise
        if not self._emit(path, batch, number, context):
            return False
        self._done = (path.name, number)
        return True

    def _emit(self, path: Path, batch: list[JsonObject], number: int, context: SourceContext) -> bool:
        """Emits a batch; returns whether to continue. `number`: records of the file up to its last one."""
        if not batch:
            return not context.stopped
        self._done = (path.name, number)
        self._up(context)
        meta = {"file": str(path)}
        if not context.emit_many(batch, [meta] * len(batch), offset=[path.name, number]):
            return False
        if self._config.sendInterval:
            context.wait(self._config.sendInterval / 1000)
        return not context.stopped

    def _after(self, path: Path) -> None:
        if self._config.actionAfterRead == "keep":
            return
        files = self.access.files
        with files.folder(path.parent) as folder:
            if self._config.actionAfterRead == "remove":
                os.unlink(path.name, dir_fd=folder)
                return
            with files.folder(files.checked(self._config.moveTo), make=True) as target:
                os.replace(path.name, path.name, src_dir_fd=folder, dst_dir_fd=target)

    def _up(self, context: SourceContext) -> None:
        self._why = ""
        context.connected(True)

    def _down(self, context: SourceContext, why: str) -> None:
        if why != self._why:
            context.connected(False, why)
        self._why = why


def _stamp(path: Path) -> tuple[int, ...]:
    """Values that change when the file is written, replaced, or made readable."""
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
