"""Pure: what the page of administration shows about a Box, and what its form states."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import HTTPException

from opq_cloud.operations.health_client import ServiceCount
from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.records.accounts.account_records import PRIVACIES
from opq_cloud.store.site_key import KEY_CHARACTERS, checked_site
from opq_cloud.view.live.recent import FRESH_MS, NewestMeasurement
from opq_cloud.view.pages.account.box_placing import read_place
from opq_cloud.view.pages.account.nominal_form import nominal_misfit, read_number
from opq_cloud.view.pages.visible.availability import NOT_KNOWN, BoxAvailability, percent_words, tone_of
from opq_cloud.view.web import words
from opq_cloud.view.web.forms import SentForm
from opq_proto.decision import Nominal
from opq_proto.keys.register import KeyEntry, key_fingerprint
from opq_proto.messages import NOMINAL_HZ, NOMINAL_V, TimeSource

DOUBTFUL_CLOCK_NS = 8_000_000
"""Half a cycle of 60 Hz: beyond it the order in which two Boxes saw a disturbance is unknown."""
TEXTS = ("description", "region", "feeder", "site", "phase", "grid")
LONGEST = {"description": 200, "site": KEY_CHARACTERS}
KEY_WORDS = {
    "admitted": "admitted",
    "revoked": "revoked",
    "rotating": "exchanged: the new key was not used yet",
    "none": "no key",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem of a Box that needs attention; Boxes with one `kind` share a line."""

    kind: str
    words: str
    size: int = 0
    """How serious it is, in the unit of its kind; for several Boxes the worst is shown."""


@dataclass(frozen=True, slots=True)
class AdminBox:
    """A Box as its administrator sees it."""

    record: BoxRecord
    live: bool
    state: str
    received_ns: int | None
    """The time stamp of the newest data from it."""
    clock: str
    clock_doubtful: bool
    fingerprint: str
    key_state: str
    key_since_ms: int | None
    connected: bool | None
    """None where no broker answers."""
    age_ms: int = 0
    """The time since its newest Measurement arrived."""
    late_ms: int = 0
    """The time between its newest Measurement and its arrival; 0 where it is not late."""
    bound_ns: int = 0
    """The largest error of its clock; 0 where it is not known."""
    misfit: str = ""
    """What it measures, if that contradicts its nominal values."""
    measured: BoxAvailability = NOT_KNOWN

    @property
    def box_id(self) -> str:
        return self.record.box_id

    @property
    def retired(self) -> bool:
        return bool(self.record.retired_ms)

    @property
    def key_words(self) -> str:
        return KEY_WORDS[self.key_state]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What needs attention; empty for a Box that is not expected to report."""
        if self.retired or self.record.unplugged:
            return ()
        found = []
        if not self.live:
            found.append(Trouble("silent" if self.age_ms else self.state, self.state, self.age_ms))
        elif self.clock_doubtful:
            source = self.clock.partition(",")[0]
            found.append(
                Trouble(
                    f"clock {source}",
                    f"Clock: {self.clock}",
                    self.bound_ns,
                )
            )
        hour = self.measured.hour
        if self.live and hour is not None and tone_of(hour):
            text = f"Measured: {percent_words(hour)} of the last hour"
            found.append(Trouble("measured", text, round(1000 * (1 - hour))))
        if self.live and self.late_ms:
            found.append(Trouble("late", self.state, self.late_ms))
        if self.live and self.misfit:
            found.append(Trouble("nominal", self.misfit))
        if self.key_state == "rotating":
            found.append(Trouble("new key", "Its new key was not used yet"))
        if self.key_state == "revoked":
            found.append(Trouble("revoked key", "Its key is revoked"))
        return tuple(found)


def admin_box(
    record: BoxRecord,
    newest: NewestMeasurement | None,
    last_ms: int | None,
    key: KeyEntry | None,
    connections: Mapping[str, int] | None,
    now_ms: int,
    nominal: Nominal,
    measured: BoxAvailability | None = None,
) -> AdminBox:
    """Builds a Box's row. `last_ms`: time of its newest stored Measurement, where View has received none."""
    measurement = newest.measurement if newest else None
    age_ms = max(0, now_ms - newest.received_ms) if newest else 0
    live = newest is not None and age_ms < newest.silent_after_ms
    received_ms = measurement.timestamp_ms if measurement else last_ms
    public = key.public_key if key else record.public_key
    bound_ns = measurement.uncertainty_ns if measurement else None
    free = measurement is not None and measurement.source is TimeSource.FREE
    return AdminBox(
        record=record,
        live=live,
        state=words.state(live, age_ms, FRESH_MS, newest.late_ms, newest.clock_known)
        if newest
        else "Not heard yet",
        received_ns=None if received_ms is None else received_ms * 1_000_000,
        clock="not known"
        if measurement is None
        else f"{words.source(measurement.source)}, {words.uncertainty(bound_ns)}",
        clock_doubtful=free or (bound_ns or 0) > DOUBTFUL_CLOCK_NS,
        fingerprint=key_fingerprint(public) if public else "",
        key_state=key.state if key else "none",
        key_since_ms=key.since_ms if key else None,
        connected=None if connections is None else connections.get(record.box_id, 0) > 0,
        age_ms=age_ms,
        late_ms=newest.late_ms if newest else 0,
        bound_ns=bound_ns or 0,
        misfit=""
        if measurement is None
        else nominal_misfit(measurement, record.nominal_v or nominal.volts, record.nominal_hz or nominal.hz),
        measured=measured or NOT_KNOWN,
    )


def window_s(newest: NewestMeasurement | None) -> float | None:
    """The length of its newest Measurement; None without a span, and for a crossing, which is shorter."""
    measurement = newest.measurement if newest else None
    if measurement is None or measurement.crossing:
        return None
    if measurement.start_ns is None or measurement.end_ns is None:
        return None
    return (measurement.end_ns - measurement.start_ns) / 1e9


def counts_of(counts: list[ServiceCount], box_id: str) -> list[ServiceCount]:
    """A Box's non-zero counters in all services, by name."""
    found = [each for each in counts if each.of == box_id and each.value]
    return sorted(found, key=lambda each: (each.service, each.counter))


@dataclass(frozen=True, slots=True)
class WantedBox:
    """What a form states about a Box."""

    record: BoxRecord
    """The record without name and place."""
    name: str
    region: str
    place: LocationRecord | None
    privacy: str
    public_waveforms: bool


def read_box_form(form: SentForm, box_id: str, known: Mapping[str, LocationRecord]) -> WantedBox:
    """Reads the form of `box.html`; an empty number leaves the stored value.

    Raises ValueError with a sentence where a number or the place is not valid; HTTPException 400 where a
    choice is not one of those that the page offers.
    """
    privacy = form.text("privacy")
    if privacy not in PRIVACIES:
        raise HTTPException(
            400,
            f"{privacy} is not offered; there are {', '.join(PRIVACIES)}.",
        )
    texts = {name: form.text(name, LONGEST.get(name, 60)) for name in TEXTS}
    record = BoxRecord(
        box_id,
        "",
        description=texts["description"],
        feeder=texts["feeder"],
        site=checked_site(texts["site"]),
        phase=texts["phase"],
        grid=texts["grid"],
        nominal_v=read_number(form, "nominal_v", "The nominal voltage", NOMINAL_V, "V"),
        nominal_hz=read_number(form, "nominal_hz", "The nominal frequency", NOMINAL_HZ, "Hz"),
        unplugged=form.checked("unplugged"),
    )
    return WantedBox(
        record,
        form.text("name", 60),
        texts["region"],
        read_place(form, box_id, known),
        privacy,
        form.checked("public_waveforms"),
    )
