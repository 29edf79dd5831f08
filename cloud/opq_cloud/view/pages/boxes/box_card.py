"""A Box as its card and its own page show it: values, state, clock, line of the last minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_cloud.view.live.messages import measurement_json
from opq_cloud.view.live.recent import FRESH_MS
from opq_cloud.view.pages.boxes.sparkline import Sparkline, SparkScale, SparkStep, sparkline
from opq_cloud.view.pages.shown.availability import BoxAvailability
from opq_cloud.view.pages.shown.shown_box import ShownBox
from opq_cloud.view.pages.shown.visitor_context import VisitorContext
from opq_cloud.view.web import words
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
    time_words: str
    time_ns: int | None
    clock_words: str
    rms_v: float | None
    f_hz: float | None
    thd_percent: float | None
    trans_v: float | None
    spark: Sparkline | None
    spark_span: str
    measured: BoxAvailability | None
    """None for a Box that is not expected to send."""
    late: bool = False

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
    values = measurement_json(newest) if newest else {}
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
        time_words=words.utc(newest.timestamp_ms * 1_000_000, 0) if newest else words.UNKNOWN,
        time_ns=newest.timestamp_ms * 1_000_000 if newest else None,
        clock_words=_clock_words(newest),
        rms_v=_float(values.get("rms_v")),
        f_hz=_float(values.get("f_hz")),
        thd_percent=_float(values.get("thd_percent")),
        trans_v=_float(values.get("trans_v")),
        spark=spark,
        spark_span=words.span(spark.seconds) if spark else "",
        measured=measured,
    )


def stale_words(context: VisitorContext, box_ids: Sequence[str] | None) -> tuple[str, str] | None:
    """The words for a page where all (None) or these Boxes are silent; None where none has sent data."""
    newest_ms = context.hub.newest_ms(box_ids)
    return None if newest_ms is None else words.stale(newest_ms * 1_000_000, context.now_ns())


def _clock_words(newest: Measurement | None) -> str:
    if newest is None:
        return "nothing heard yet"
    return f"time by {words.source(newest.source)}, {words.uncertainty(newest.uncertainty_ns)}"


def _float(value: object) -> float | None:
    return value if isinstance(value, float) else None
