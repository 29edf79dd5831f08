"""What the two rooms find wrong in the files that `up` wrote for them; for `up` and `config check`, which
both use it only where there is a file of the user."""

from pathlib import Path

from opq_cloud.core import start_check
from opq_cloud.core.original.original_settings import read_config as read_cloud
from opq_gateway.config import load as read_gateway
from opq_gateway.setup import setup_surroundings
from opq_proto.errors import ConfigError


def room_problems(folder: Path) -> dict[str, str]:
    """Room -> all problems that it finds in its file."""
    problems = {}
    for room, read in (
        ("gateway", lambda: read_gateway(folder / "gateway.toml")),
        ("cloud", lambda: read_cloud([folder / "cloud.toml"], {}, None)),
    ):
        try:
            read()
        except ConfigError as error:
            problems[room] = str(error)
    return problems


def idle_sections(folder: Path) -> list[tuple[str, str]]:
    """(key, problem) of sections without effect."""
    of_gateway = setup_surroundings.without_effect(read_gateway(folder / "gateway.toml"))
    of_cloud = start_check.without_effect(read_cloud([folder / "cloud.toml"], {}, notify=lambda _: None))
    found = [(f"gateway.{each.key}", each.text) for each in of_gateway]
    return [*found, *((f"cloud.{key}", text) for key, text in of_cloud)]
