"""sql: a table's row per row, in any database that SQLAlchemy supports.

Values are bound, never written into the text; names of tables and columns are checked. With `exactlyOnce`
(for rules with qos 1 or 2) the number of each rule's last emission is stored in the table `opq_rules_taken`,
in the transaction of the rows, so that repeated rows are not stored again.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from opq_plugins.sdk import Context, PermanentError, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_proto.kit.file_roots import FileRoots
from opq_rules.connections.access import Guarded
from opq_rules.delivery.transform import rows_of
from opq_rules.values.batch import JsonObject

MEMORY = ":memory:"
_SERVERS = frozenset({"mysql", "mariadb", "postgresql"})
"""Without a host these connect to a server of this machine."""
_OF_SQLITE = ("timeout", "isolation_level")
_READING = frozenset(
    {"local_infile", "allow_local_infile", "read_default_file", "read_default_group", "option_files"}
    | {"client_flag", "client_flags", "init_command", "passfile", "service", "servicefile"}
)
"""Options of a server's address by which it, or the driver, reads files of this machine."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_GO_MYSQL = re.compile(r"(?:(?P<user>[^:@/]*)(?::(?P<word>[^@]*))?@)?tcp\((?P<at>[^)]+)\)/(?P<base>[^?]*)")
_MYSQL_PASSING = frozenset({1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 2002, 2003, 2006, 2013, 2055})
"""MariaDB's errors that may be temporary: too many connections, shutdown, connection, a lock."""

_TAKEN = sqlalchemy.Table(
    "opq_rules_taken",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("rule", sqlalchemy.String(200), primary_key=True),
    sqlalchemy.Column("emission", sqlalchemy.BigInteger, nullable=False),
    sqlalchemy.Column("row", sqlalchemy.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    url: str = field(metadata={"help": "mysql+pymysql://user:word@host/base, sqlite:///file, or Go's form"})
    table: str
    rowkindField: str = ""  # this column says insert, update or delete
    keyField: str = ""  # column by which update and delete find their row
    exactlyOnce: bool = False

    def __post_init__(self) -> None:
        address_of(self.url)


class Sink(Guarded, SinkOfSdk):
    wants = "rows"

    def configure(self, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        _checked("table", config.table)
        if config.rowkindField and not config.keyField:
            raise ValueError("keyField  missing; rowkindField needs it to find rows")
        self._url = allowed_address(config.url, self.access.files)
        self._config = config

    def open(self, context: Context) -> None:
        try:
            self._engine = _engine(self._url, self.access.files)
            with self._engine.connect():  # a wrong password is refused now, before any row is sent
                pass
            if self._config.exactlyOnce:
                self._make_marks()
        except DBAPIError as error:
            raise _sorted_out(error) from error
        except (ImportError, SQLAlchemyError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def collect(self, context: SinkContext, data: object) -> None:
        rows = rows_of("sql", data)
        ids = list(context.row_ids) if len(context.row_ids) == len(rows) else [""] * len(rows)
        for row in rows:
            for name in row:
                _checked("column", name)
        try:
            with self._engine.begin() as connection:
                for row in self._new(connection, rows, ids):
                    connection.execute(self._statement(row))
        except DBAPIError as error:
            raise _sorted_out(error) from error

    def close(self, context: Context) -> None:
        self._engine.dispose()

    def _make_marks(self) -> None:
        """Makes the table of emission numbers; another rule's sink may do the same at the same time."""
        try:
            _TAKEN.metadata.create_all(self._engine)
        except DBAPIError:
            if not sqlalchemy.inspect(self._engine).has_table(_TAKEN.name):
                raise

    def _new(
        self, connection: sqlalchemy.Connection, rows: Sequence[JsonObject], ids: Sequence[str]
    ) -> list[JsonObject]:
        """The rows that were not stored before; their numbers are stored in the same transaction."""
        if not self._config.exactlyOnce:
            return list(rows)
        new: list[JsonObject] = []
        stored: dict[str, tuple[int, int] | None] = {}
        taken: dict[str, tuple[int, int]] = {}
        for row, row_id in zip(rows, ids, strict=True):
            rule, emission, number = _numbers(row_id)
            if rule not in stored:
                statement = sqlalchemy.select(_TAKEN.c.emission, _TAKEN.c.row).where(_TAKEN.c.rule == rule)
                found = connection.execute(statement).one_or_none()
                stored[rule] = None if found is None else (found[0], found[1])
            last = taken.get(rule, stored[rule])
            if last is None or (emission, number) > last:
                taken[rule] = emission, number
                new.append(row)
        for rule, (emission, number) in taken.items():
            mark = {"emission": emission, "row": number}
            connection.execute(
                _TAKEN.insert().values(rule=rule, **mark)
                if stored[rule] is None
                else _TAKEN.update().where(_TAKEN.c.rule == rule).values(**mark)
            )
        return new

    def _statement(self, row: JsonObject) -> Any:
        config = self._config
        kind = row.get(config.rowkindField, "insert") if config.rowkindField else "insert"
        names = tuple(name for name in row if name != config.rowkindField)
        values = {name: _plain(row.get(name)) for name in names}
        wanted = dict.fromkeys((*names, config.keyField) if config.keyField else names)
        table = sqlalchemy.table(config.table, *(sqlalchemy.column(name) for name in wanted))
        if kind == "insert":
            return table.insert().values(values)
        where = table.c[config.keyField] == _plain(row.get(config.keyField))
        if kind == "delete":
            return table.delete().where(where)
        if kind == "update":
            return table.update().where(where).values(values)
        raise ValueError(f"{config.rowkindField} is {kind!r}; want insert, update or delete")


def address_of(text: str) -> sqlalchemy.URL:
    """The address. Raises ValueError if it is not the address of a database."""
    try:
        return sqlalchemy.make_url(url_of(text))
    except (SQLAlchemyError, ValueError) as error:
        raise ValueError(f"url  is not the address of a database: {type(error).__name__}") from None


def allowed_address(text: str, files: FileRoots) -> sqlalchemy.URL:
    """The address; a file of SQLite is below the folders of rules' files. Raises ValueError."""
    url = address_of(text)
    kind, file = url.get_backend_name(), url.database or MEMORY
    if kind == "sqlite":
        if file.startswith("file:") or url.query.keys() - set(_OF_SQLITE):
            raise ValueError(f"url  of SQLite is sqlite:///FILE, with {', '.join(_OF_SQLITE)} as options")
        return url if file == MEMORY else url.set(database=str(files.checked(file)))
    if kind not in _SERVERS and not url.host:
        raise ValueError(f"url  of {kind} has no host; only sqlite takes a file")
    if reading := _READING.intersection(name.lower() for name in url.query):
        raise ValueError(
            f"url  has {', '.join(sorted(reading))}; options that read files of this machine are not allowed"
        )
    return url


def _engine(url: sqlalchemy.URL, files: FileRoots) -> sqlalchemy.Engine:
    """An engine; the place of a SQLite file is checked before and after each connection to it."""
    engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != MEMORY:

        def check_before(*_: object) -> None:
            try:
                os.close(files.open(Path(file), os.O_RDWR | os.O_CREAT))
            except OSError as error:
                raise ConnectionError(f"unable to open {file}: {error.strerror or error}") from error

        def check_opened(connection: Any, _: object) -> None:
            for *_row, opened in connection.execute("PRAGMA database_list"):
                files.checked(opened)  # SQLite has followed all links

        sqlalchemy.event.listen(engine, "do_connect", check_before)
        sqlalchemy.event.listen(engine, "connect", check_opened)
    return engine


def url_of(text: str) -> str:
    """Converts Go's form of a MySQL address (`user:word@tcp(host:port)/base`); others stay unchanged."""
    found = _GO_MYSQL.match(text)
    if found is None:
        return text
    host, _, port = found["at"].partition(":")
    url = sqlalchemy.URL.create(
        "mysql+pymysql", found["user"] or None, found["word"], host, int(port or 3306), found["base"] or None
    )
    return url.render_as_string(hide_password=False)


def _checked(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what}  is {name!r}; want letters, digits and _, a letter first, at most 63")


def _plain(value: object) -> Any:
    """Lists and objects as JSON text; other values unchanged."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value


def _numbers(row_id: str) -> tuple[str, int, int]:
    """Splits a row id `<rule>:<emission>/<row>`."""
    emission_id, _, number = row_id.rpartition("/")
    rule, _, emission = emission_id.rpartition(":")
    if not (emission.isdigit() and number.isdigit()):
        raise ValueError("exactlyOnce needs numbered emissions: give the rule qos 1 or 2")
    return rule, int(emission), int(number)


def _sorted_out(error: DBAPIError) -> Exception:
    """The error to raise, without values: ConnectionError if it passes, else PermanentError."""
    cause = error.orig
    text = f"{type(cause).__name__}: {cause}"
    number = cause.args[0] if cause is not None and cause.args else None
    passing = error.connection_invalidated or (isinstance(number, int) and number in _MYSQL_PASSING)
    if isinstance(number, str) and re.search(r"locked|unable to open|disk|readonly|refused|timeout", number):
        passing = True  # SQLite and PostgreSQL report it as text
    return ConnectionError(text) if passing else PermanentError(text)
