"""The input of rules at the edge: values and disturbances as flat rows, raw samples as pieces.

A row of an interval (`kind` window, 3s, 10s, 10min, 2h): `box`, `kind`, `timestamp_ms` (its end), `start_ms`,
`end_ms`, `uncertainty_ns`, `source`, `flagged`, each quantity by its name (`rms_v`, `harmonics_v` ...), and
`rms`, `rms_min`, `rms_max`, `f`, `thd`, `trans`, `rocof` and `h2` to `h50` as in a Measurement, so that one
rule runs here and in Makai. Crossings are those that go to Makai. A row of a
disturbance (`kind` dip, swell, interruption): `entering`, `timestamp_ms`, `rms`. Unknown values are absent.

On their way to measuring, pieces are also given to sources `opqwave` here and to subscribers.
"""

import math
from collections.abc import Mapping, Sequence

from opq_gateway.blocks import SampleBlock
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import DisturbanceNotice, PhasorReport, Values
from opq_gateway.serial_side.outputs import Outputs
from opq_gateway.uplink.box_uplink import crossing_measurement
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Crossing, Hello
from opq_proto.measurement.fields import HARMONICS, edge_columns
from opq_proto.measurement.intervals import AT_INSTANTS
from opq_proto.messages import Gap, Measurement, known_uncertainty_ns
from opq_proto.time_units import NS_PER_MS
from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.feeds.wave_windows import WavePiece
from opq_rules.streams.columns import KnownColumns
from opq_rules.values.batch import Row


class SampleTap:
    """Passes all outputs on, and copies samples and crossings to the rules; never waits."""

    def __init__(
        self,
        behind: Outputs,
        waves: LocalFeed[WavePiece],
        crossings: LocalFeed[Measurement],
        statuses: Mapping[str, BoxStatus],
    ) -> None:
        self._behind, self._waves, self._crossings, self._statuses = behind, waves, crossings, statuses

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        self._behind.accept_blocks(box_id, blocks)
        if self._waves.wanted:
            for block in blocks:
                self._waves.offer(piece_of(box_id, block))

    def restart(self, box_id: str, hello: Hello) -> None:
        self._behind.restart(box_id, hello)

    def gap(self, box_id: str, gap: Gap) -> None:
        self._behind.gap(box_id, gap)

    def figures(self, box_id: str, figures: BoxMeasurement | ChannelValue) -> None:
        self._behind.figures(box_id, figures)

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        self._behind.crossing(box_id, crossing)
        if self._crossings.wanted:
            status = self._statuses[box_id]
            nominal = (status.hello.nominal_v, status.hello.nominal_hz) if status.hello else (None, None)
            found = crossing_measurement(crossing, box_id, status.rate_hz, *nominal)
            if found is not None:
                self._crossings.offer(found)


def piece_of(box_id: str, block: SampleBlock) -> WavePiece:
    return WavePiece(
        box_id,
        block.start_id,
        block.first_sample,
        block.t_ns,
        block.uncertainty_ns,
        block.source.name.lower(),
        block.rate_millihz,
        block.v_per_lsb,
        block.counts,
    )


MEASUREMENT_COLUMNS = edge_columns()
"""Name of a value -> its column in a Measurement."""
EDGE_COLUMNS = KnownColumns(
    (
        *("box", "kind", "timestamp_ms", "start_ms", "end_ms", "uncertainty_ns", "source", "flagged"),
        *("entering", *MEASUREMENT_COLUMNS.values(), *HARMONICS),
        *(name for name, column in MEASUREMENT_COLUMNS.items() if name != column),
        *("harmonics_v", "interharmonics_v", "rms_min_v", "rms_max_v", "f_min_hz", "f_max_hz"),
        *("thd_max_ratio", "signalling_v", "signalling_max_v"),
        *("under_ratio", "over_ratio", "coverage_ratio", "pinst_max", "plt"),
        *AT_INSTANTS,
        *("u2_ratio", "u0_ratio", "positive_v", "clock_ratio", "angle_b_deg", "angle_c_deg"),
    )
)


def rows_of(items: Sequence[Values | PhasorReport | DisturbanceNotice]) -> list[Row]:
    """The items as rows, in order; phasors are left out, because they have the C37.118 stream."""
    return [_row(item) for item in items if not isinstance(item, PhasorReport)]


def _row(item: Values | DisturbanceNotice) -> Row:
    row: Row = {
        "box": item.box_id,
        "kind": item.kind,
        "uncertainty_ns": known_uncertainty_ns(item.uncertainty_ns),
        "source": item.source.name.lower(),
    }
    if isinstance(item, DisturbanceNotice):
        row["timestamp_ms"] = item.t_ns // NS_PER_MS
        row["entering"] = item.entering
        if item.rms_v is not None:
            row["rms"] = item.rms_v
        return row
    row["timestamp_ms"] = row["end_ms"] = item.end_ns // NS_PER_MS
    row["start_ms"], row["flagged"] = item.start_ns // NS_PER_MS, item.flagged
    for name, value in item.values.items():
        row[name] = list(value) if isinstance(value, tuple) else value
        if name in AT_INSTANTS and isinstance(value, tuple):
            row[name] = [each if math.isfinite(each) else None for each in value]
        elif name in MEASUREMENT_COLUMNS:
            row[MEASUREMENT_COLUMNS[name]] = value
        elif name == "harmonics_v" and isinstance(value, tuple) and value[0] > 0:
            row |= {f"h{order}": volts / value[0] for order, volts in enumerate(value[1:], 2)}
    return row
