"""mongo: a MongoDB, and who we are there."""

from dataclasses import dataclass, field

from opq_rules.batch import JsonObject

USERS = frozenset({("sinks", "mongo")})


@dataclass(frozen=True, slots=True)
class Config:
    url: str = field(metadata={"help": "mongodb://host:27017/database"})
    database: str = ""  # that of the url
    username: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("url  is no address; want mongodb://host:27017/database")


def check(config: Config, wait_s: float) -> None:
    """ConnectionError: nobody answers, or does not let us in."""
    try:
        import pymongo
        from pymongo.errors import PyMongoError
    except ImportError as error:
        raise ValueError("mongo needs a package: pip install 'opq-toolkit[mongo]'") from error
    wait_ms = round(wait_s * 600)  # to say why, before nobody listens any more
    who: JsonObject = {"username": config.username, "password": config.password} if config.username else {}
    try:
        with pymongo.MongoClient[JsonObject](
            config.url, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms, **who
        ) as client:
            client.admin.command("ping")
    except (PyMongoError, ValueError) as error:
        raise ConnectionError(f"{type(error).__name__}: {str(error)[:300]}") from None
