"""A Box as its card and its own page show it: values, state, clock, line of the last minutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_cloud.view.live.recent import FRESH_MS
from opq_cloud.view.pages.boxes.sparkline import Sparkline, SparkScale, SparkStep, sparkline
from opq_cloud.view.pages.visible.availability import BoxAvailability
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_proto.measurement.fields import QUANTITIES, ShownQuantity
from opq_proto.measurement.measurement_json import figures_json
from opq_proto.measurement.own_channels import DIGITS, OwnChannel, own_channel
from opq_proto.messages import Measurement


@dataclass(frozen=True, slots=True)
class Card:
    """A Box as its card and page show it."""

    box_id: str
    label: str
    nominal_v: float
    nominal_hz: float
    live: bool
    state: str
    newest: Measurement | None
    values: Mapping[str, float | None]
    """By name in JSON."""
    spark: Sparkline | None
    spark_span: str
    measured: BoxAvailability | None
    """None for a Box that is not expected to send."""
    late: bool = False

    @property
    def figures(self) -> list[tuple[ShownQuantity, float | None, str]]:
        """Quantity, value and second line of each figure of its page: the usual ones, and what it reports."""
        volts, hertz = words.plain(self.nominal_v, "V"), words.plain(self.nominal_hz, "Hz")
        own = [(_shown(channel), self.values[key]) for key in self.values if (channel := own_channel(key))]
        return [
            (each.shown, value, each.shown.about.format(volts=volts, hertz=hertz))
            for each in QUANTITIES
            if each.shown
            and ((value := self.values.get(each.shown.name)) is not None or each.original is not None)
        ] + [(shown, value, shown.about) for shown, value in own]

    @property
    def time_ns(self) -> int | None:
        return None if self.newest is None else self.newest.timestamp_ms * 1_000_000

    @property
    def time_words(self) -> str:
        return words.UNKNOWN if self.time_ns is None else words.utc(self.time_ns, 0)

    @property
    def clock_words(self) -> str:
        if self.newest is None:
            return "nothing heard yet"
        return f"time by {words.source(self.newest.source)}, {words.uncertainty(self.newest.uncertainty_ns)}"

    @property
    def state_class(self) -> str:
        """The classes of its state, as `live.js` sets them."""
        if not self.live:
            return "state-silent"
        return "state-live state-late" if self.late else "state-live"


def box_card(
    context: VisitorContext,
    record: ShownBox,
    steps: Sequence[SparkStep] = (),
    scale: SparkScale | None = None,
    *,
    measured: BoxAvailability | None,
) -> Card:
    """A Box's card; it has no line without steps or without a scale.

    measured: None for a Box that is not expected to send.
    """
    hub = context.hub
    latest = hub.newest(record.box_id)
    newest = latest.measurement if latest else None
    age_ms = max(0, context.now_ns() // 1_000_000 - latest.received_ms) if latest else 0
    live = latest is not None and age_ms < latest.silent_after_ms
    spark = sparkline(steps, record.nominal_v, scale) if scale else None
    return Card(
        box_id=record.box_id,
        label=record.label,
        nominal_v=record.nominal_v,
        nominal_hz=record.nominal_hz,
        live=live,
        state=words.state(live, age_ms, FRESH_MS, latest.late_ms, latest.clock_known)
        if latest
        else "Not heard yet",
        late=latest is not None and latest.late_ms > 0,
        newest=newest,
        values=figures_json(newest.metrics if newest else {}),
        spark=spark,
        spark_span=words.span(spark.seconds) if spark else "",
        measured=measured,
    )


def _shown(channel: OwnChannel) -> ShownQuantity:
    return ShownQuantity(
        name=channel.key,
        words=channel.words,
        unit=channel.unit,
        rounded=DIGITS,
        digits=DIGITS,
        about=f"by the Box's program, {channel.key}",
        examples=(),
    )


def stale_words(context: VisitorContext, box_ids: Sequence[str] | None) -> tuple[str, str] | None:
    """The words for a page where all (None) or these Boxes are silent; None where none has sent data."""
    newest_ms = context.hub.newest_ms(box_ids)
    return None if newest_ms is None else words.stale(newest_ms * 1_000_000, context.now_ns())
