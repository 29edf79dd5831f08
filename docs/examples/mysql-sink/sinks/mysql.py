"""mysql: one row of a rule becomes one row of a table in MySQL or MariaDB.

Values are bound, never written into the SQL; names of the table and its columns are checked. With
`idColumn` (a unique column) each row is stored once, also when it is sent again after a fault.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from opq_plugins import sdk

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
GO_FORM = re.compile(r"(?:([^:@]*)(?::([^@]*))?@)?tcp\(([^:)]+)(?::(\d+))?\)/([^?]+)")
CONNECT_S = 5
PASSING = {1040, 1205, 1213, 2002, 2003, 2006, 2013}
"""Numbers of errors that may pass: too many connections, a lock, a deadlock, the connection."""


class Sink(sdk.Sink):
    def configure(self, properties: Mapping[str, Any]) -> None:
        self._server = parse_url(properties["url"])
        self._table = checked("table", properties["table"])
        self._id_column = properties.get("idColumn", "")
        if self._id_column:
            checked("idColumn", self._id_column)
        self._connection: Any = None

    def open(self, context: sdk.Context) -> None:
        """The connection is made by the first row: a server that is away now may come."""

    def collect(self, context: sdk.SinkContext, data: Any) -> None:
        rows = data if isinstance(data, list) else [data]
        try:
            if self._connection is None:
                self._connection = pymysql.connect(
                    **self._server, connect_timeout=CONNECT_S, charset="utf8mb4"
                )
            with self._connection.cursor() as cursor:
                for row, row_id in zip(rows, context.row_ids, strict=True):
                    self._insert(cursor, row, row_id)
            self._connection.commit()
        except pymysql.err.MySQLError as error:
            self._disconnect()  # what was not committed is gone with it
            if (error.args and error.args[0] in PASSING) or isinstance(error, pymysql.err.InterfaceError):
                raise ConnectionError(str(error)) from None  # comes again, in order
            raise sdk.PermanentError(str(error)) from None  # to the dead-letter file

    def close(self, context: sdk.Context) -> None:
        self._disconnect()

    def _insert(self, cursor: Any, row: dict[str, Any], row_id: str) -> None:
        values = {checked("column", name): plain(value) for name, value in row.items()}
        if self._id_column:
            values[self._id_column] = row_id
        names = ", ".join(f"`{name}`" for name in values)
        marks = ", ".join(["%s"] * len(values))
        once = "IGNORE " if self._id_column else ""
        cursor.execute(f"INSERT {once}INTO `{self._table}` ({names}) VALUES ({marks})", list(values.values()))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()


def parse_url(url: str) -> dict[str, Any]:
    """PyMySQL's arguments of either form; the password stays out of every error."""
    if found := GO_FORM.fullmatch(url):
        user, word, host, port, base = found.groups()
        return {
            "host": host,
            "port": int(port or 3306),
            "user": user or "",
            "password": word or "",
            "database": base,
        }
    parts = urlsplit(url)
    if parts.scheme not in ("mysql", "mysql+pymysql") or not parts.hostname or len(parts.path) < 2:
        raise ValueError(
            "url  is not an address; want user:word@tcp(host:3306)/base or mysql://user:word@host:3306/base"
        )
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path[1:],
    }


def checked(what: str, name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{what}  is {name!r}; want letters, digits and _, at most 64")
    return name


def plain(value: Any) -> Any:
    """Lists and objects as JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value
