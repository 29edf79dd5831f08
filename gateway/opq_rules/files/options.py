"""Properties of the source `file`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from opq_proto.settings import configured


@dataclass(frozen=True, slots=True)
class Config:
    path: str = ""
    fileType: Literal["json", "csv", "lines"] = "json"
    interval: int = field(default=0, metadata={"minimum": 0, "maximum": 86_400_000, "ms": True})
    sendInterval: int = field(default=0, metadata={"minimum": 0, "maximum": 3_600_000, "ms": True})
    follow: bool = False  # of lines: waits for more
    actionAfterRead: Literal["keep", "remove", "move"] = "keep"
    moveTo: str = ""
    columns: tuple[str, ...] = ()  # of csv
    hasHeader: bool = False
    delimiter: str = ","
    ignoreStartLines: int = field(default=0, metadata={"minimum": 0})
    ignoreEndLines: int = field(default=0, metadata={"minimum": 0})
    decompression: Literal["", "gzip"] = ""


def options(datasource: str, properties: Mapping[str, object]) -> tuple[Config, Path]:
    """Checked, and the file or folder that is meant. Raises ValueError naming what is wrong."""
    config: Config = configured(Config, properties)
    if config.actionAfterRead == "move" and not config.moveTo:
        raise ValueError("moveTo  missing: actionAfterRead is move")
    if config.follow and (config.fileType != "lines" or config.interval):
        raise ValueError("follow  is for fileType lines with interval 0")
    if config.follow and (config.decompression or config.ignoreEndLines):
        raise ValueError("follow  is without decompression and ignoreEndLines: the file has no end")
    if not (datasource or config.path):
        raise ValueError("DATASOURCE  is empty; want the file's name")
    base = Path(config.path) if config.path else Path()
    name = datasource.lstrip("/") if config.path else datasource
    if config.path and ".." in Path(name).parts:
        raise ValueError(f"DATASOURCE  is {datasource!r}; it may not leave {config.path}")
    return config, base / name if name else base
