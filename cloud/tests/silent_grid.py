"""Boxes of one Measurement a second, some of which fall silent, for the tests of outages."""

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.outages.outage_plugin import OutagePlugin
from opq_cloud.store import BoxRecord, CloudStore
from opq_proto.messages import Incident, Measurement, Metric, TimeSource

S = 10**9
ZERO_NS = 1_795_000_000 * S + 600_000
"""A gateway rounds the milliseconds of a Measurement: here upwards."""
NOMINAL_V = 230.0


class SilentGrid:
    """Boxes of one Measurement a second, and the plug-in that watches them under a clock of the test."""

    def __init__(self, store: CloudStore, feeders: dict[str, str], **settings: object) -> None:
        self.store, self.now_s = store, 0.0
        self.clock_id: int | None = None
        self.uncertainty_ns: int | None = 1000
        self.next = dict.fromkeys(feeders, 0)
        for box_id, feeder in feeders.items():
            store.put_box(
                BoxRecord(
                    box_id,
                    f"Box {box_id}",
                    location=f"house {box_id}",
                    feeder=feeder,
                    nominal_v=NOMINAL_V,
                    gateway_id=int(box_id) * 1000,
                )
            )
        self.section = OutageSection(**settings)  # type: ignore[arg-type]
        self.plugin = self.started()

    def started(self) -> OutagePlugin:
        return OutagePlugin({}, lambda: self.store, self.section, clock=lambda: self.now_s)

    def measure(
        self, box_id: str, first: int, last: int, volts: float = NOMINAL_V, **supply: float
    ) -> list[Measurement]:
        """Rows of these seconds and their word of a supply; in others time goes by, and numbers do not."""
        rows = []
        rms = {"rms": Metric(volts, NOMINAL_V if volts > 23 else volts, volts)}
        said = {name: Metric(value, value, value) for name, value in supply.items()}
        for k in range(first, last):
            end_ns = ZERO_NS + (k + 1) * S
            rows.append(
                Measurement(
                    box_id,
                    (end_ns + 500_000) // 10**6,
                    {**rms, **said},
                    end_ns - S,
                    end_ns,
                    uncertainty_ns=self.uncertainty_ns,
                    source=TimeSource.GPS,
                    sequence=self.next[box_id],
                    clock_id=self.clock_id,
                )
            )
            self.next[box_id] += 1
        return rows

    def pass_seconds(
        self,
        first: int,
        last: int,
        silent: tuple[str, ...] = (),
        heard: bool = True,
        back: tuple[str, ...] = (),
        **metrics: float,
    ) -> None:
        """Second by second: every Box but the silent ones is heard, and it is looked every two.

        The first Measurements of the Boxes in `back` report `metrics`.
        """
        for k in range(first, last):
            rows = [
                row
                for box_id in self.next
                if box_id not in silent
                for row in self.measure(
                    box_id, k, k + 1, **(metrics if k == first and box_id in back else {})
                )
            ]
            self.store.append_measurements(rows if heard else [])
            self.now_s += 1.0
            if k % 2:
                self.plugin.on_idle()

    def incidents(self) -> list[Incident]:
        return self.store.incidents()


FEEDERS = {"1": "north", "2": "north", "3": "north", "4": "south", "5": "south"}
