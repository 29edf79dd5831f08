"""mongo: a document per row into a collection of MongoDB, acknowledged when a majority has it on disk.

With `exactlyOnce` (for rules with qos 1 or 2) a row's `_id` is its row id, `<rule>:<emission>/<row>`, so that
what is sent again is found stored. With `rowkindField` a column says insert, update, upsert or delete, the
last three by `keyField`, which repeated do no harm. The common property `fields` picks the columns.
Source: MongoDB's manual on write concerns and on names of databases, collections and fields.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.settings import configured
from opq_rules.batch import JsonObject, Row
from opq_rules.delivery.transform import rows_of

_DATABASE = re.compile(r'[^/\\. "$*<>:|?\x00]{1,63}')
_COLLECTION = re.compile(r"(?!system\.)[^$\x00]{1,200}")
_COLUMN = re.compile(r"[^$.\x00][^.\x00]*")
_PASSING = frozenset({6, 7, 64, 89, 91, 112, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031})
"""Server errors that may pass: the line, a new primary, shut down, a write conflict, a full disk. MongoDB's
list of error codes."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """A MongoDB, and who we are there."""

    url: str = field(metadata={"help": "mongodb://host:27017/database"})
    database: str = ""  # that of the url
    username: str = ""  # beside the url, so that the password is not shown
    password: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("url  is no address; want mongodb://host:27017/database")

    def check(self, wait_s: float) -> None:
        """ConnectionError: nobody answers, or does not let us in."""
        try:
            import pymongo
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise ValueError("mongo needs a package: pip install 'opq-toolkit[mongo]'") from error
        wait_ms = round(wait_s * 600)  # to say why, before nobody listens any more
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
    keyField: str = ""  # by which update, upsert and delete find their document
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
            raise ValueError("rowkindField and keyField  go together: what to do, and with which document")
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
        """What to do, and the document. ValueError for what MongoDB cannot hold, before any is sent."""
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
            self._look_at(dict(error.details))

    def _look_at(self, details: JsonObject) -> None:
        """At a refusal: what is stored under its own row id already is none."""
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
    """As the address says it, "" where it does not. Raises ValueError: it is none; its text is not shown."""
    try:
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri
    except ImportError as error:
        raise ValueError("mongo needs pymongo: pip install 'opq-toolkit[mongo]'") from error
    wanted = "url  is no address; want mongodb://host:27017/database or mongodb+srv://host/database"
    if url.startswith("mongodb+srv://"):  # parsed whole it would ask the network
        url = url.replace("mongodb+srv://", "mongodb://", 1)
    try:
        return str(parse_uri(url)["database"] or "")
    except (PyMongoError, ValueError) as error:
        raise ValueError(f"{wanted} ({type(error).__name__})") from None


def _answered(call: Callable[[], T]) -> T:
    """What may pass as ConnectionError, what will not as ValueError; BulkWriteError as it is."""
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
    """Without pymongo's account of the cluster and of the server's whole answer."""
    return (
        str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition(" (configured")[0][:300]
    )
