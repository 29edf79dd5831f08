"""Sections of a configuration that several services have: a rule engine's, and the policy of its plug-ins."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from opq_plugins.policy import NETWORK, Policy, ProcessLimits
from opq_proto.config.reading import Why, section


@section
class PluginProcesses:
    """What the processes of plug-ins may do."""

    require_signature: Annotated[
        bool,
        Field(description="only signed plug-ins"),
        Why("Set it where more than one person may install plug-ins."),
    ] = False
    keys: Annotated[
        tuple[Path, ...],
        Field(description="public keys (Ed25519, PEM) that may sign plug-ins"),
        Why("Name the keys of the people whose plug-ins you trust."),
    ] = ()
    trusted: Annotated[
        tuple[str, ...],
        Field(description="plug-ins that may run inside this process, or unconfined"),
        Why("Name a plug-in that needs the speed of the process itself, or a right that no limit grants."),
    ] = ()
    readable: Annotated[
        tuple[Path, ...],
        Field(description="folders and files that plug-ins may read, besides their own and libraries"),
        Why("Name a folder with data that a plug-in needs, such as a model."),
    ] = ()
    writable: Annotated[
        tuple[Path, ...],
        Field(description="folders and files that plug-ins may write, if their user may"),
        Why("Name a folder where a plug-in writes its results."),
    ] = ()
    network: Annotated[
        tuple[
            Annotated[
                str,
                Field(pattern=f"^({NETWORK})$", examples=["tcp:1502", "listen:8080", "udp", "unix", "can"]),
            ],
            ...,
        ],
        Field(description="what plug-ins may use: tcp:PORT, listen:PORT, udp (names need it), unix, can"),
        Why("Name what a plug-in connects to, such as tcp:1502 for Modbus."),
    ] = ()
    memory_mb: Annotated[
        int,
        Field(ge=64, le=65_536, description="memory of the process of one plug-in"),
        Why("Raise it for a plug-in with a large model."),
    ] = 512


@section
class PluginRules(PluginProcesses):
    """What plug-ins may do, and which ones are installed."""

    require_sha256: Annotated[
        bool,
        Field(description="install only packages that list the sums of their files"),
        Why("Set it where packages come over networks that you do not trust."),
    ] = False
    allow_private_addresses: Annotated[
        bool,
        Field(description="download plug-ins from private addresses too"),
        Why("Set it where packages are on a server of your own network."),
    ] = False
    call_s: Annotated[
        float,
        Field(gt=0, le=600, description="longest call into a plug-in"),
        Why("Raise it for a plug-in whose device answers slowly."),
    ] = 5.0
    function_s: Annotated[
        float,
        Field(gt=0, le=60, description="longest call of a function; all rules wait for it"),
        Why("Lower it where no rule may wait, and raise it for a function that computes for long."),
    ] = 1.0


@section
class RuleEngineSection:
    """What every rule engine has: alone, in the gateway, in Makai."""

    data_dir: Annotated[
        Path | None,
        Field(description="folder that holds rules/ with rules, state and plug-ins"),
        Why("Set it where rules and their state are on another disk."),
    ] = None
    token_file: Annotated[
        Path | None,
        Field(description="file with the SHA-256 of a token in each line, hexadecimal; # begins a comment"),
        Why("Set it before programs of other machines use REST."),
    ] = None
    file_roots: Annotated[
        tuple[Path, ...],
        Field(description="folders below which rules read and write files; none: exports in data_dir"),
        Why("Name folders where rules read or write files of other programs."),
    ] = ()
    private_networks: Annotated[
        tuple[str, ...],
        Field(description="private networks that rules may reach, e.g. 192.168.1.0/24; none by default"),
        Why("Name networks whose devices a rule requests, which are refused otherwise."),
    ] = ()
    plugins: PluginRules = PluginRules()


def policy_of(rules: PluginRules, on_loopback: bool) -> Policy:
    """The policy of a section. `on_loopback`: the server listens there, and may download from there."""
    return Policy(
        require_signature=rules.require_signature,
        require_sha256=rules.require_sha256,
        keys=rules.keys,
        trusted=frozenset(rules.trusted),
        allow_private_addresses=rules.allow_private_addresses,
        readable=rules.readable,
        writable=rules.writable,
        network=rules.network,
        server_on_loopback=on_loopback,
        limits=ProcessLimits(
            memory_bytes=rules.memory_mb << 20, call_s=rules.call_s, function_s=rules.function_s
        ),
    )
