"""sql: a database that SQLAlchemy speaks to."""

from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from opq_rules.sinks.sql import url_of

USERS = frozenset({("sinks", "sql")})


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(metadata={"help": "mysql+pymysql://user:word@host/base, sqlite:///file, or Go's form"})

    def __post_init__(self) -> None:
        _read(self.url)


def check(config: Config, wait_s: float) -> None:
    """A file of SQLite has to be there: connecting would make one."""
    url = _read(config.url)
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not Path(file).is_file():
        raise FileNotFoundError(f"{file} is not there")
    try:
        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("SELECT 1"))
        finally:
            engine.dispose()
    except DBAPIError as error:
        raise ConnectionError(f"{type(error.orig).__name__}: {error.orig}") from None
    except (ImportError, SQLAlchemyError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _read(text: str) -> sqlalchemy.URL:
    try:
        return sqlalchemy.make_url(url_of(text))
    except (SQLAlchemyError, ValueError) as error:
        raise ValueError(f"url  is no database's address: {type(error).__name__}") from None
