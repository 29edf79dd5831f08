"""file: rows appended as lines of JSON, as CSV, or as Parquet files; rolled by age or size.

Lines and CSV: one write per emission, so that a kill leaves whole emissions. `idField` writes each row's id
into that column. Rows whose ids are at the file's end are not written again after a restart (lines only), so
that a rule with qos 1 or 2 doubles nothing. Parquet: one file per emission, which appears complete; it needs
a `batchSize`.
"""

import csv
import errno
import io
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_rules.connections.access import Guarded
from opq_rules.delivery.transform import encoded, rows_of

_TAIL_BYTES = 1 << 20
"""Bytes at a file's end that are searched for ids."""


@dataclass(frozen=True, slots=True)
class Config:
    path: str
    fileType: Literal["lines", "json", "csv", "parquet"] = "lines"
    hasHeader: bool = True  # for csv
    separator: str = ","  # for csv
    columns: tuple[str, ...] = ()  # for csv; () means those of the first row
    rollingInterval: int = field(default=0, metadata={"minimum": 0, "ms": True})
    rollingSize: int = field(default=0, metadata={"minimum": 0, "help": "bytes of a file"})
    keepFiles: int = field(
        default=0, metadata={"minimum": 0, "help": "number of rolled files that are kept; 0: all"}
    )
    idField: str = ""


class Sink(Guarded, SinkOfSdk):
    def configure(self, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        if "\0" in config.path or not Path(config.path).name:
            raise ValueError(f"path  is {config.path!r}; want a file's path")
        if "{{" in config.path:
            raise ValueError(f"path  is {config.path!r}; a file's path cannot contain a column")
        if config.idField and config.fileType not in ("lines", "json"):
            raise ValueError("idField  is for fileType lines")
        if config.fileType == "parquet":
            _parquet()
        self.wants = "rows" if config.idField or config.fileType in ("csv", "parquet") else "text"
        self._config, self._path = config, self.access.files.checked(config.path)
        self.access.files.checked(str(self._path.parent))  # a root itself is not a file
        self._rolled_ms = 0

    def open(self, context: Context) -> None:
        self._columns: Sequence[str] = self._config.columns
        self._seen: set[str] = set()
        with ExitStack() as opened:
            self._folder = opened.enter_context(self.access.files.folder(self._path.parent, make=True))
            if self._config.fileType != "parquet":
                self._open_file()
            self._opened = opened.pop_all()

    def collect(self, context: SinkContext, data: object) -> None:
        if self._config.fileType == "parquet":
            self._write_parquet(data)
            return
        rows = self._with_ids(data, context.row_ids)
        if not rows:
            return
        if self._is_due():
            self._roll()
        text = self._lines(rows)
        written = os.write(self._file, text)
        if written != len(text):  # the disk is full: no partial row may stay
            os.ftruncate(self._file, self._bytes)
            raise OSError(28, f"{self._path}: only {written} of {len(text)} bytes went to disk")
        self._bytes += written

    def close(self, context: Context) -> None:
        with self._opened:
            if self._config.fileType != "parquet":
                os.close(self._file)

    def _open_file(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self._path.name, flags, 0o600, dir_fd=self._folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):  # a pipe without a reader would block for ever
                raise OSError(errno.EINVAL, "is not a regular file", str(self._path))
            size = os.fstat(file).st_size
            tail = os.pread(file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
            if tail and not tail.endswith(b"\n"):  # a power cut left half a line: it stays a line
                size += os.write(file, b"\n")
        except OSError:
            os.close(file)
            raise
        self._file, self._bytes, self._opened_s = file, size, time.monotonic()
        if self._config.idField:
            self._seen |= _ids(tail, self._config.idField)

    def _with_ids(self, data: object, row_ids: Sequence[str]) -> list[object]:
        rows = data if isinstance(data, list) else [data]
        name = self._config.idField
        if not name:
            return rows
        if len(row_ids) != len(rows) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("idField wants rows; leave out dataTemplate and format")
        new = [(i, row) for i, row in zip(row_ids, rows, strict=True) if i not in self._seen]
        return [{**row, name: i} for i, row in new]

    def _lines(self, rows: Sequence[object]) -> bytes:
        if self._config.fileType != "csv":
            return b"".join(encoded(row).rstrip(b"\n") + b"\n" for row in rows)
        if not self._columns:
            first = rows[0]
            self._columns = list(first) if isinstance(first, dict) else []
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._config.separator, lineterminator="\n")
        if self._bytes == 0 and self._config.hasHeader:
            writer.writerow(self._columns)
        for row in rows_of("csv", rows):
            writer.writerow([row.get(name) for name in self._columns])
        return text.getvalue().encode()

    def _is_due(self) -> bool:
        config = self._config
        return bool(self._bytes) and (
            (0 < config.rollingSize <= self._bytes)
            or (
                config.rollingInterval > 0
                and time.monotonic() - self._opened_s >= config.rollingInterval / 1000
            )
        )

    def _roll(self) -> None:
        """Renames the file with the time in its name, and begins a new one. OSError: all is as it was."""
        full, target = self._file, self._rolled_name(time.time_ns() // 1_000_000)
        self._rename(self._path.name, target)
        try:
            self._open_file()
        except OSError:
            self._rename(target, self._path.name)
            raise
        os.close(full)
        if self._config.keepFiles:
            for old in self._rolled()[: -self._config.keepFiles]:
                self._remove(old)

    def _rename(self, name: str, target: str) -> None:
        os.rename(name, target, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def _rolled_name(self, now_ms: int) -> str:
        stem, suffix = self._path.stem, self._path.suffix
        now_ms = max(now_ms, self._rolled_ms + 1)  # names rise even where an older file was deleted
        while True:
            name = f"{stem}_{now_ms}{suffix}"
            try:
                os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            except FileNotFoundError:
                self._rolled_ms = now_ms
                return name
            now_ms += 1

    def _rolled(self) -> list[str]:
        """The rolled files, the oldest first."""
        stem, suffix = self._path.stem, self._path.suffix
        found = {
            int(digits): name
            for name in os.listdir(self._folder)  # noqa: PTH208  # of the folder that is open
            if name.startswith(f"{stem}_")
            and name.endswith(suffix)
            and (digits := name.removeprefix(f"{stem}_").removesuffix(suffix)).isdecimal()
        }
        return [name for _, name in sorted(found.items())]

    def _write_parquet(self, data: object) -> None:
        arrow, parquet = _parquet()
        rows = data if isinstance(data, list) else [data]
        if not rows:
            return
        name = self._rolled_name(time.time_ns() // 1_000_000)
        part = f"{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(part, flags, 0o600, dir_fd=self._folder), "wb") as file:  # noqa: PTH123
                parquet.write_table(arrow.Table.from_pylist(rows), file)
            self._rename(part, name)
        except OSError:
            self._remove(part)
            raise


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("fileType parquet needs pyarrow: pip install 'opq-toolkit[parquet]'") from error
    return pyarrow, pyarrow.parquet


def _ids(tail: bytes, name: str) -> set[str]:
    ids = set()
    for line in tail.splitlines():
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError:  # the first line of the tail may be cut
            continue
        if isinstance(row, dict) and isinstance(row.get(name), str):
            ids.add(row[name])
    return ids
