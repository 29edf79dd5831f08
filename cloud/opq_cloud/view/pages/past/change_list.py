"""What analyses found to have lasted or changed over weeks, for the page of a Box and `/past`."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup

from opq_cloud.store.records.phenomenon_words import ordered, words_of
from opq_cloud.store.store import ShownStore
from opq_cloud.view.pages.past.quantities import QUANTITIES
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import input_words

DAY_MS = 86_400_000
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
    store: ShownStore, start_ms: int, end_ms: int, box_ids: Collection[str]
) -> list[ListedChange]:
    """Changes at these Boxes that overlap a span, by time; what lasts comes last."""
    alone = next(iter(box_ids)) if len(box_ids) == 1 else ""
    found = store.phenomena(start_ms, end_ms, alone) if box_ids else []
    rows: list[ListedChange] = []
    for each in ordered([one for one in found if not set(box_ids).isdisjoint(one.box_ids)])[:CHANGES_LISTED]:
        sentence = Markup(words_of(each, _marked, Markup))
        sentence = sentence[:1].upper() + sentence[1:]
        span = input_words(each.start_ms - AROUND_MS), input_words(each.end_ms + AROUND_MS)
        quantity = str(each.details.get("quantity", ""))
        known = quantity if quantity in QUANTITIES else ""
        query = {"box": ",".join(each.box_ids), "q": known, "from": span[0], "to": span[1]}
        number = 0 if each.lasting else len(rows) + 1
        rows.append(ListedChange(number, sentence, each.start_ms, each.end_ms, quantity, urlencode(query)))
    return rows


def _marked(at_ms: int) -> Markup:
    at_ns = at_ms * 1_000_000
    return Markup('<time datetime="{}">{} UTC</time>').format(
        words.utc_attribute(at_ns), words.utc(at_ns, 0)[:16]
    )
