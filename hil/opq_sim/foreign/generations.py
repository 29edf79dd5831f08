"""Foreign Boxes by the name of their generation, with keys of a data folder."""

from collections.abc import Mapping
from pathlib import Path

from opq_proto.keys.key_files import KeyFolder, KeyPair, read_key_file, read_secret_file
from opq_proto.kit.ports import endpoint
from opq_sim.box.source import SampleSource
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.host import COUNTS_PER_VOLT, ConnectedBox, ForeignEndpoints, ForeignHost
from opq_sim.foreign.leg_box import LegBox
from opq_sim.foreign.peer import ForeignBoxError, ForeignPeer

GENERATIONS = {
    "cur": "the original's Rust generation, since 2019 (opqbox3.proto)",
    "leg": "the original's C++ generation, to January 2019 (opq.proto)",
}

MAX_NOMINAL_V = 150.0
"""A higher voltage would clip: its peak is just within the original's converter."""


def foreign_peer(generation: str, box_id: str, calibration: float, pair: KeyPair) -> ForeignPeer:
    """One Box; `calibration` in counts per volt.

    Raises:
        ForeignBoxError: no such generation, or the id is not a number of the wire.
    """
    if generation == "cur":
        return CurBox(box_id, calibration, pair.public)
    if generation == "leg":
        return LegBox(box_id, calibration)
    raise ForeignBoxError(f"generation is {generation!r}; want one of {', '.join(GENERATIONS)}")


def foreign_host(
    generation: str,
    sources: Mapping[str, SampleSource],
    keys: KeyFolder,
    port_offset: int = 0,
    endpoints: ForeignEndpoints | None = None,
) -> ForeignHost:
    """Boxes with samples by id, on the brokers of this machine unless `endpoints` name others.

    Boxes without keys in the folder get new ones; a broker of that folder admits them within a second.

    Raises:
        ForeignBoxError: as `foreign_peer` and `ForeignHost`.
        KeyFileError: a key file cannot be read or made, or the server has none.
        ValueError: a moved port is outside 1 .. 65535.
    """
    if not keys.server_public.exists():
        raise ForeignBoxError(
            f"{keys.server_public} is missing, so the brokers are unknown. Start `opq-tools up` or "
            "`opq-cloud all` "
            "with this --data-dir first, or make the keys with opq-tools keygen --server"
        )
    for box_id, source in sources.items():
        if source.nominal_v > MAX_NOMINAL_V:
            raise ForeignBoxError(
                f"Box {box_id}: {source.nominal_v:g} V would be clipped at "
                f"{32767 / COUNTS_PER_VOLT:.0f} V peak; "
                f"an original Box measures nominal voltages up to {MAX_NOMINAL_V:g} V"
            )
    keys.ensure(sources)
    places = endpoints or ForeignEndpoints(
        endpoint("triggering_box", port_offset),
        endpoint("command_box", port_offset),
        endpoint("response_box", port_offset),
        read_key_file(keys.server_public).public,
    )
    boxes = []
    for box_id, source in sources.items():
        pair = read_secret_file(keys.box_secret(box_id))
        boxes.append(ConnectedBox(foreign_peer(generation, box_id, COUNTS_PER_VOLT, pair), source, pair))
    return ForeignHost(places, boxes)


def key_folder(data_dir: Path) -> KeyFolder:
    """The key folder of `up` and `opq-cloud all`."""
    return KeyFolder(data_dir / "curve")
