"""What analyses found to have lasted or changed over weeks, for the page of a Box and `/past`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.records.incidents.phenomenon_words import ordered, words_of
from opq_cloud.store.stated_facts import LAST_NS, NS_PER_MS
from opq_cloud.store.store import ShownStore
from opq_cloud.view.pages.past.quantities import QUANTITIES
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import input_words
from opq_proto.time_units import DAY_MS

AROUND_MS = 2 * DAY_MS
CHANGES_LISTED = 40


@dataclass(frozen=True, slots=True)
class ListedChange:
    """A phenomenon in a list; `number` is its own in the list and on the charts, 0 for what has no place."""

    number: int
    sentence: Markup
    start_ms: int
    end_ms: int
    quantity: str
    query: str
    """Of `/past`, some days around it."""


def changes_listed(
    store: ShownStore,
    start_ms: int,
    end_ms: int,
    box_ids: Collection[str],
    stays: Iterable[tuple[str, int, int]] | None = None,
) -> list[ListedChange]:
    """Changes at these Boxes that overlap a span, by time; what lasts comes last.

    `stays`: of a group the time of its Boxes there, as (Box, from, to) in ns; a change at another time was
    elsewhere. None: always.
    """
    alone = next(iter(box_ids)) if len(box_ids) == 1 else ""
    found = store.phenomena(start_ms, end_ms, alone) if box_ids else []
    rows: list[ListedChange] = []
    there: dict[str, list[tuple[int, int]]] = {box_id: [] for box_id in box_ids}
    for box_id, first, last in ((each, 0, LAST_NS) for each in box_ids) if stays is None else stays:
        if box_id in there:
            there[box_id].append((first, last))
    for each in ordered([one for one in found if _was_at(one, there)])[:CHANGES_LISTED]:
        sentence = Markup(words_of(each, _marked, Markup))
        sentence = sentence[:1].upper() + sentence[1:]
        span = input_words(each.start_ms - AROUND_MS), input_words(each.end_ms + AROUND_MS)
        quantity = str(each.details.get("quantity", ""))
        known = quantity if quantity in QUANTITIES else ""
        query = {"box": ",".join(each.box_ids), "q": known, "from": span[0], "to": span[1]}
        number = 0 if each.lasting else len(rows) + 1
        rows.append(ListedChange(number, sentence, each.start_ms, each.end_ms, quantity, urlencode(query)))
    return rows


def _was_at(found: StoredPhenomenon, stays: Mapping[str, Collection[tuple[int, int]]]) -> bool:
    return any(
        first < (found.end_ms + 1) * NS_PER_MS and found.start_ms * NS_PER_MS < last
        for box_id in found.box_ids
        for first, last in stays.get(box_id, ())
    )


def _marked(at_ms: int) -> Markup:
    at_ns = at_ms * 1_000_000
    return Markup('<time datetime="{}">{} UTC</time>').format(
        words.utc_attribute(at_ns), words.utc(at_ns, 0)[:16]
    )
