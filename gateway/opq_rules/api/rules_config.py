"""Configuration of the rule engine's service: TOML or JSON, all problems reported at once."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from opq_plugins.policy import Policy
from opq_plugins.policy_section import RuleEngineSection, policy_of
from opq_proto.config import reading as configuration
from opq_proto.config.reading import Why
from opq_proto.errors import ConfigError
from opq_proto.kit.address_guard import AddressGuard, Network, networks_of
from opq_proto.kit.file_roots import FileRoots
from opq_proto.kit.origin_guard import is_loopback
from opq_proto.kit.ports import HOST_PORT
from opq_proto.kit.system_place import default_data_dir
from opq_proto.kit.whole_file import private_folder
from opq_rules.connections.access import Access

DEFAULT_PORT = 9081
_HASH = re.compile(r"[0-9a-fA-F]{64}")


@configuration.section
class Config(RuleEngineSection):
    """The service."""

    endpoint: Annotated[
        str,
        Field(
            description="address of REST; beyond loopback it needs token_file",
            pattern=HOST_PORT,
            examples=["127.0.0.1:9081"],
        ),
        Why("Set it beyond loopback where rules are managed from another machine."),
    ] = f"127.0.0.1:{DEFAULT_PORT}"
    most_body_mb: Annotated[
        int,
        Field(ge=1, le=1024, description="largest form; other bodies: 4 MiB"),
        Why("Raise it to upload larger plug-ins."),
    ] = 64


def load(
    path: Path | None, data_dir: Path | None = None, host: str | None = None, port: int | None = None
) -> Config:
    """The configuration; arguments override the file. Raises ConfigError with all problems."""
    config = configuration.load(Config, path) if path is not None else Config()
    if data_dir is not None:
        config = replace(config, data_dir=data_dir)
    own_host, own_port = address(config)
    host = own_host if not host else f"[{host}]" if ":" in host.strip("[]") and host[0] != "[" else host
    endpoint = f"{host}:{own_port if port is None else port}"
    try:
        return checked(replace(config, endpoint=endpoint))
    except ValueError as error:
        raise ConfigError(f"endpoint is {endpoint!r}; want host:port, e.g. 127.0.0.1:9081") from error


def checked(config: Config) -> Config:
    """Returns `config`. Raises ConfigError: no such port; an address beyond loopback without tokens."""
    _, port = address(config)
    if port > 65_535:
        raise ConfigError(f"endpoint has port {port}; want 0 to 65535")
    networks(config)
    if not _on_loopback(config) and not tokens(config):
        raise ConfigError(
            f"endpoint is {config.endpoint}, beyond loopback; that needs token_file with a token's SHA-256"
            " (printf %s TOKEN | sha256sum)"
        )
    return config


def address(config: Config) -> tuple[str, int]:
    host, _, port = config.endpoint.rpartition(":")
    return host, int(port)


def tokens(config: Config) -> list[str]:
    """The hashes of the tokens. Raises ConfigError: the file cannot be read, or a line is not SHA-256."""
    if config.token_file is None:
        return []
    try:
        lines = config.token_file.read_text().splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"token_file  {config.token_file} cannot be read: {error}") from error
    lines_used = [text for line in lines if (text := line.partition("#")[0].strip())]
    found = [
        text.removesuffix("-").rstrip() for text in lines_used
    ]  # sha256sum appends "-", the name of its input
    for number, text in enumerate(found, 1):
        if not _HASH.fullmatch(text):
            raise ConfigError(
                f"token_file  {config.token_file}: entry {number} is not SHA-256 (64 hex digits)"
            )
    return found


def _on_loopback(config: Config) -> bool:
    return is_loopback(address(config)[0])


def policy(config: Config) -> Policy:
    return replace(policy_of(config.plugins, _on_loopback(config)), private_networks=networks(config))


def networks(config: Config) -> tuple[Network, ...]:
    """The networks of `private_networks`. Raises ConfigError: one is neither."""
    try:
        return networks_of(config.private_networks)
    except ValueError as error:
        raise ConfigError(f"private_networks  {error}") from error


def folder(config: Config) -> Path:
    """The folder, absolute, because clients append paths of /config/uploads to `file://`."""
    return data_folder(config) / "rules"


def data_folder(config: Config) -> Path:
    return (config.data_dir or default_data_dir()).absolute()


def access(config: Config, private: Sequence[Path] = ()) -> Access:
    """The files and hosts that rules may use; makes the folder `exports`. Raises ConfigError: a root is in a
    private folder."""
    data = data_folder(config)
    exports = data / "exports"
    files = FileRoots(config.file_roots or [exports], [data, *private], own=exports)
    private_folder(exports)
    advice = '; the setting private_networks of the rules allows one, e.g. ["192.168.1.0/24"]'
    return Access(files, AddressGuard(networks=networks(config), advice=advice))
