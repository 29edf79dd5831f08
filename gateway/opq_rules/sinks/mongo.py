"""mongo: a document per row into a collection of MongoDB, acknowledged when a majority has it on disk.

With `exactlyOnce` (for rules with qos 1 or 2) a row's `_id` is its row id, `<rule>:<emission>/<row>`, so that
a row that is sent again is already stored. With `rowkindField` a column says insert, update, upsert or
delete; the last three find their document by `keyField`, and may be repeated without harm. The common
property `fields` picks the columns.

Source: MongoDB's manual on write concerns and on names of databases, collections and fields.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.settings import configured
from opq_rules.access import Access
from opq_rules.batch import JsonObject, Row
from opq_rules.delivery.transform import rows_of

_DATABASE = re.compile(r'[^/\\. "$*<>:|?\x00]{1,63}')
_COLLECTION = re.compile(r"(?!system\.)[^$\x00]{1,200}")
_COLUMN = re.compile(r"[^$.\x00][^.\x00]*")
_PASSING = frozenset({6, 7, 64, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031})
"""Server errors that may be temporary (connection, new primary, shutdown), from MongoDB's list."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of a MongoDB, and our credentials there."""

    url: str = field(metadata={"help": "mongodb://host:27017/database"})
    database: str = ""  # "": the one in the url
    username: str = ""  # not in the url, so that the password is not shown
    password: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("url  is no address; want mongodb://host:27017/database")

    def check(self, wait_s: float, access: Access) -> None:
        """Connects. ConnectionError: there is no answer, or no access."""
        try:
            import pymongo
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise ValueError("mongo needs a package: pip install 'opq-toolkit[mongo]'") from error
        wait_ms = round(wait_s * 600)  # leaves time to report the reason before the caller's limit
        try:
            with pymongo.MongoClient[JsonObject](
                self.url, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms, **_who(self)
            ) as client:
                client.admin.command("ping")
        except (PyMongoError, ValueError) as error:
            raise ConnectionError(f"{type(error).__name__}: {str(error)[:300]}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Connection):
    collection: str
    rowkindField: str = ""  # this column says insert, update, upsert or delete
    keyField: str = ""  # column by which update, upsert and delete find their document
    exactlyOnce: bool = False
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})


class Sink(SinkOfSdk):
    wants = "rows"

    def configure(self, properties: Mapping[str, object]) -> None:
        config: Config = configured(Config, properties)
        in_url = _database_of(config.url)
        database = config.database or in_url
        if not _DATABASE.fullmatch(database):
            raise ValueError(f"database  is {database!r}; want a name in `database` or behind the url's host")
        if not _COLLECTION.fullmatch(config.collection):
            raise ValueError(
                f"collection  is {config.collection!r}; want 1 to 200 characters without $, not system."
            )
        if bool(config.rowkindField) != bool(config.keyField):
            raise ValueError("rowkindField and keyField  go together: the operation, and the document's key")
        self._config, self._database = config, database

    def open(self, context: Context) -> None:
        import pymongo

        config = self._config

        def connect() -> None:
            self._client: pymongo.MongoClient[JsonObject] = pymongo.MongoClient(
                config.url,
                appname="opq-rules",
                serverSelectionTimeoutMS=config.timeout,
                connectTimeoutMS=config.timeout,
                socketTimeoutMS=config.timeout,
                tz_aware=True,
                **_who(config),
            )

        _answered(connect)
        durable = pymongo.WriteConcern("majority", j=True)
        self._rows = self._client[self._database].get_collection(config.collection, write_concern=durable)

    def collect(self, context: SinkContext, data: object) -> None:
        rows = rows_of("mongo", data)
        ids = context.row_ids if len(context.row_ids) == len(rows) else [""] * len(rows)
        new: list[JsonObject] = []
        for kind, document in [self._read(row, row_id) for row, row_id in zip(rows, ids, strict=True)]:
            if kind == "insert":
                new.append(document)
            else:
                self._insert(new)
                new = []
                self._change(kind, document)
        self._insert(new)

    def close(self, context: Context) -> None:
        self._client.close()

    def _read(self, row: Row, row_id: str) -> tuple[str, JsonObject]:
        """The operation and its document. ValueError, before anything is sent: MongoDB cannot store it."""
        import bson

        config = self._config
        kind = row.get(config.rowkindField, "insert") if config.rowkindField else "insert"
        if kind not in ("insert", "update", "upsert", "delete"):
            raise ValueError(f"{config.rowkindField} is {kind!r}; want insert, update, upsert or delete")
        document = {name: value for name, value in row.items() if name != config.rowkindField}
        for name in document:
            if not _COLUMN.fullmatch(name):
                raise ValueError(f"column {name!r} is no field's name in MongoDB; give it another one by AS")
        if kind != "insert" and document.get(config.keyField) is None:
            raise ValueError(f"{kind} of a row without {config.keyField}, by which its document is found")
        if config.exactlyOnce and kind == "insert":
            if "_id" in document:
                raise ValueError("exactlyOnce puts the row's id into _id; give that column another name")
            if not row_id:
                raise ValueError("exactlyOnce needs numbered rows: leave out dataTemplate, dataField")
            document["_id"] = row_id
        try:
            bson.encode(document)
        except (bson.errors.BSONError, OverflowError) as error:
            raise ValueError(
                f"a row that MongoDB cannot hold: {type(error).__name__}: {error}"[:300]
            ) from None
        return kind, document

    def _insert(self, documents: Sequence[JsonObject]) -> None:
        if not documents:
            return
        from pymongo.errors import BulkWriteError

        try:
            _answered(lambda: self._rows.insert_many(documents, ordered=False))
        except BulkWriteError as error:
            self._check_errors(dict(error.details))

    def _check_errors(self, details: JsonObject) -> None:
        """Raises the error of a refused insert, unless all refused rows are stored under their own ids."""
        waiting = details.get("writeConcernErrors") or ()
        refused = details.get("writeErrors") or ()
        again = [each["op"]["_id"] for each in refused if each.get("code") == 11000]
        stored: set[object] = set()
        if again and self._config.exactlyOnce:
            found = _answered(lambda: list(self._rows.find({"_id": {"$in": again}}, {"_id": 1})))
            stored = {each["_id"] for each in found}
        left = [each for each in refused if each["op"]["_id"] not in stored]
        if left:
            raise _sorted(left[0].get("code"), f"{len(left)} rows are refused: {left[0].get('errmsg', '')}")
        if waiting:
            raise ConnectionError(f"MongoDB: {waiting[0].get('errmsg', 'not confirmed')}"[:300])

    def _change(self, kind: str, document: JsonObject) -> None:
        where = {self._config.keyField: document[self._config.keyField]}
        if kind == "delete":
            _answered(lambda: self._rows.delete_one(where))
        elif kind == "upsert":
            _answered(lambda: self._rows.replace_one(where, document, upsert=True))
        else:
            _answered(lambda: self._rows.update_one(where, {"$set": document}))


def _who(given: Connection) -> JsonObject:
    return {"username": given.username, "password": given.password} if given.username else {}


def _database_of(url: str) -> str:
    """The database in the address, or "". Raises ValueError where it is no address; the text is not shown."""
    try:
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri
    except ImportError as error:
        raise ValueError("mongo needs pymongo: pip install 'opq-toolkit[mongo]'") from error
    wanted = "url  is no address; want mongodb://host:27017/database or mongodb+srv://host/database"
    if url.startswith("mongodb+srv://"):  # parsing the original would query the network
        url = url.replace("mongodb+srv://", "mongodb://", 1)
    try:
        return str(parse_uri(url)["database"] or "")
    except (PyMongoError, ValueError) as error:
        raise ValueError(f"{wanted} ({type(error).__name__})") from None


def _answered(call: Callable[[], T]) -> T:
    """Runs `call`; temporary errors become ConnectionError, others ValueError; BulkWriteError stays."""
    from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError

    try:
        return call()
    except BulkWriteError:
        raise
    except ConnectionFailure as error:
        raise ConnectionError(f"MongoDB: {_short(error)}") from None
    except OperationFailure as error:
        if error.has_error_label("RetryableWriteError"):
            raise ConnectionError(f"MongoDB: {_short(error)}") from None
        raise _sorted(error.code, _short(error)) from None
    except PyMongoError as error:
        raise ValueError(f"MongoDB: {type(error).__name__}: {_short(error)}") from None


def _sorted(code: Any, text: str) -> Exception:
    words = f"MongoDB: {text[:300]}"
    return ConnectionError(words) if code in _PASSING else ValueError(words)


def _short(error: Exception) -> str:
    """The message without pymongo's description of the cluster and the server's whole answer."""
    return (
        str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition(" (configured")[0][:300]
    )
