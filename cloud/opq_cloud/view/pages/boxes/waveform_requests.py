"""Requests of people for raw samples: the allowed spans, the limits, and the state of each request.

A request is an event in the store, opened for one Box with the reason PERSON_ASKED. Makai's event service
finds it there and asks the Box as for any event: again where it is silent, for the rest where it is short;
and it states why where nothing comes. Mauka analyses it. No call here waits, and a restart does not lose a
request.
"""

import math
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from opq_cloud.store.event_record import PERSON_ASKED, EventRecord
from opq_cloud.store.store import CloudStore
from opq_cloud.view.web.time_span import read_time_ms
from opq_proto.errors import OpqError
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.messages import Trigger
from opq_proto.time_units import NS_PER_S

SHORTEST_S = 0.1
"""Length of a requested waveform, at least."""
LONGEST_S = 10.0
"""Length of a requested waveform, at most: 240 kB of one Box."""
AHEAD_S = 60.0
"""The span ends no later than this from now; the same as for `opq-tools box waveform --wait`."""
BACK_S = 31 * 86_400.0
"""No gateway's ring reaches further back."""
ACCOUNT_BURST = 12
"""Requests at once of one account."""
ACCOUNT_PER_S = 1 / 20
"""Requests per second after the burst."""
BOX_BURST = 6
"""Requests of all people to one Box at once: 60 s of samples."""
BOX_PER_S = 1 / 10
"""Requests per second after the burst: as fast as the Box samples, a quarter of Makai's budget."""
MAX_OPEN = 20
"""Requests that wait for their Boxes, in total."""
UNANSWERED_S = 90.0
"""Counted from the span's end: an event service gives up after 20 s, so none has accepted the request."""
YOU_TOO_OFTEN = "You requested too many waveforms; one in {seconds} s is fetched. Try again then."
BOX_TOO_OFTEN = "Too many waveforms of this Box are requested; one in {seconds} s is fetched. Try again then."
REQUESTS_LISTED = 20
EVENTS_CHECKED = 400


class WaveformRefusedError(OpqError):
    """The samples are not requested; `status` is that of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestState:
    """State of one Box of an event: queued, asked, arrived, partly, refused or unanswered."""

    name: str
    words: str

    @property
    def waits(self) -> bool:
        return self.name in ("queued", "asked", "partly")


class WaveformRequests:
    """One per View; may be called from any thread."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._accounts = TokenBuckets(ACCOUNT_BURST, ACCOUNT_PER_S)
        self._boxes = TokenBuckets(BOX_BURST, BOX_PER_S)

    def open_request(self, box_id: str, start: str, seconds: str, who: str, now_ns: int) -> int:
        """Opens the event that waits for these samples; returns its number.

        Args:
            start: in the form of an address: now, now-30s, a time in UTC, ms since 1970.
            who: the account or address whose requests are counted together.
        Raises:
            WaveformRefusedError: the span is not available (400), or there are too many requests (429).
            StoreError: nothing was opened.
        """
        start_ns, end_ns = waveform_span(start, seconds, now_ns)
        with self._lock:
            open_now = sum(PERSON_ASKED in each.asked_as for each in self._store.unfinished_events())
            if open_now >= MAX_OPEN:
                text = f"{open_now} requests wait for their Boxes; try again in a minute."
                raise WaveformRefusedError(429, text)
            if not self._accounts.spend(who):
                raise WaveformRefusedError(
                    429,
                    _too_often(YOU_TOO_OFTEN, ACCOUNT_PER_S),
                )
            if not self._boxes.spend(box_id):
                self._accounts.give_back(who)
                raise WaveformRefusedError(
                    429,
                    _too_often(BOX_TOO_OFTEN, BOX_PER_S),
                )
        because = "a person asked for it"
        trigger = Trigger(
            token=secrets.token_hex(15),
            start_ns=start_ns,
            end_ns=end_ns,
            box_ids=(box_id,),
            opened_by=box_id,
            because=because,
            asked_as=((PERSON_ASKED, (box_id,)),),
            decided_ns=now_ns,
        )
        return self._store.open_event(trigger, because)

    def requests_of(self, box_id: str) -> list[EventRecord]:
        """The newest requests of people to a Box."""
        newest = self._store.events(limit=EVENTS_CHECKED)
        return [each for each in newest if box_id in each.asked_as.get(PERSON_ASKED, ())][:REQUESTS_LISTED]


def waveform_span(start: str, seconds: str, now_ns: int) -> tuple[int, int]:
    """[start, end) in ns. Raises WaveformRefusedError 400, in words for people."""
    try:
        length_s = float(seconds)
    except ValueError:
        length_s = math.nan
    if not SHORTEST_S <= length_s <= LONGEST_S:
        raise WaveformRefusedError(
            400,
            f"seconds is {seconds[:20]!r}; want a number from {SHORTEST_S:g} to {LONGEST_S:g}.",
        )
    try:
        start_ns = read_time_ms("from", start or "now", now_ns // 1_000_000) * 1_000_000
    except ValueError as error:
        raise WaveformRefusedError(400, f"{error}.") from None
    end_ns = start_ns + round(length_s * NS_PER_S)
    if end_ns - now_ns > AHEAD_S * NS_PER_S:
        raise WaveformRefusedError(400, f"The span ends more than {AHEAD_S:g} s ahead.")
    if now_ns - start_ns > BACK_S * NS_PER_S:
        raise WaveformRefusedError(400, f"The span began more than {BACK_S / 86400:g} days ago.")
    return start_ns, end_ns


def request_state(record: EventRecord, box_id: str, now_ns: int) -> RequestState:
    """The state of the request to a Box. Pure."""
    if box_id in record.boxes_received:
        short = record.short.get(box_id)
        if short is None:
            return RequestState("arrived", "Arrived")
        if not record.finished:
            return RequestState("partly", f"A part has arrived; the rest is asked for: {short}")
        return RequestState("arrived", f"Arrived in part: {short}")
    if box_id in record.missing:
        return RequestState("refused", f"Not available: {record.missing[box_id]}")
    if record.finished:
        return RequestState("refused", "Not available: the Box did not answer")
    ahead_s = (record.end_ns - now_ns) / NS_PER_S
    if ahead_s > 0:
        return RequestState("queued", f"Queued: it is sampled for {ahead_s:.0f} s more")
    opened_ns = max(record.end_ns, record.decided_ns or 0)
    if now_ns - opened_ns > UNANSWERED_S * NS_PER_S:
        return RequestState("unanswered", "Makai's event service has not read the request; does it run?")
    return RequestState("asked", f"Asked; no answer for {max(0, now_ns - opened_ns) / NS_PER_S:.0f} s")


def waiting_boxes(record: EventRecord, now_ns: int) -> Sequence[str]:
    """Boxes from which samples may still come."""
    return [each for each in record.boxes_triggered if request_state(record, each, now_ns).waits]


def _too_often(text: str, per_s: float) -> str:
    return text.format(seconds=f"{1 / per_s:g}")
