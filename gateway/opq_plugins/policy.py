"""The server's policy for plug-ins, passed in: origins, sizes, signers and rights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from opq_proto.kit.address_guard import Network

MIB = 1 << 20
PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
NETWORK = rf"(tcp|listen):{PORT}|udp|unix|can"
"""Rights that a plug-in may get: to connect to a TCP port, to listen on one, datagrams (names need them),
sockets that are files, a CAN bus.
"""
UIDS = (61184, 65519)
"""User ids of workers where the server is root: the range that systemd reserves for dynamic users."""


def network_setting(section: str, files: Sequence[Path] = ()) -> str:
    """Names the setting `network` and the files that may have it, for people."""
    where = " or ".join(str(each.absolute()) for each in files) or "the configuration"
    return f"[{section}] network of {where}"


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """One worker's process. The memory includes the mappings of Python (about 200 MiB with NumPy)."""

    memory_bytes: int = 512 * MIB
    cpu_s: int = 0
    """CPU seconds over the whole life; 0: no limit."""
    file_bytes: int = 64 * MIB
    open_files: int = 256
    processes: int = 64
    """Threads count too: 10 of the worker's own, one per open source."""
    call_s: float = 5.0
    """Longest call into the plug-in; after that its process is killed and started again."""
    function_s: float = 1.0
    """The same for a function; all rules stop meanwhile."""
    history_s: float = 600.0
    """Longest call with weeks of a Box, unless `call_s` is longer: its first one may load large libraries."""
    start_s: float = 60.0
    """From the start of the process to its handshake, and for one instance to configure itself."""
    lua_memory_bytes: int = 32 * MIB
    lua_instructions: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """Defaults: anyone who may call the API may install; code runs in its own confined process."""

    require_sha256: bool = False
    require_signature: bool = False
    keys: tuple[Path, ...] = ()
    """Ed25519 public keys (PEM) that may sign manifests."""
    trusted: frozenset[str] = frozenset()
    """Plug-ins that may run in this process, or unconfined, in addition to plug-ins signed by one of
    `keys`."""
    allow_private_addresses: bool = False
    """Allows downloads from all private addresses. Loopback is allowed where `server_on_loopback`."""
    private_networks: tuple[Network, ...] = ()
    """Allows downloads from these private networks."""
    server_on_loopback: bool = True
    file_roots: tuple[Path, ...] = ()
    """file:// is read only below these folders, and below the uploads folder."""
    max_zip_bytes: int = 64 * MIB
    max_unpacked_bytes: int = 256 * MIB
    max_files: int = 5_000
    download_s: float = 60.0
    max_redirects: int = 5
    trial_s: float = 10.0
    """During this time after a replacement, `trial_crashes` crashes bring the old version back."""
    trial_crashes: int = 2
    drain_s: float = 10.0
    """How long a replacement waits for an instance to finish its present record."""
    keep_versions: int = 3
    """Versions on disk, for each plug-in: the current one, the one before, and older ones."""
    worker_uid: int | None = None
    """Where started as root: the user of every worker. None: one of 61184..65519, by the plug-in's name."""
    readable: tuple[Path, ...] = ()
    """Folders and files that workers may read, if their user may, besides their own folder and libraries."""
    writable: tuple[Path, ...] = ()
    """Folders and files that workers may read and write, if their user may; the first is their TMPDIR."""
    network: tuple[str, ...] = ()
    """Rights of workers, each as in NETWORK; empty: no network."""
    network_place: str = network_setting("plugins")
    """Where `network` is set, for the error of a plug-in that lacks a right."""
    limits: ProcessLimits = field(default_factory=ProcessLimits)


def worker_uid(name: str) -> int:
    """User of this plug-in's process if the server is root and its policy does not name another."""
    low, high = UIDS
    return low + crc32(name.encode()) % (high - low + 1)
