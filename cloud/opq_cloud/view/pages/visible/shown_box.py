"""A Box as pages show it, its name in words, and how many of them a page lists. Pure."""

from dataclasses import dataclass

from fastapi import HTTPException

from opq_cloud.view.web.words import is_given

BOXES_A_PAGE = 100


@dataclass(frozen=True, slots=True)
class ShownBox:
    """A Box as the pages show it: its record, with the grid's nominal values where it has none."""

    box_id: str
    name: str
    location: str | None
    """None also where the visitor may not know its place, because a name may be an address."""
    nominal_v: float
    nominal_hz: float
    unplugged: bool

    @property
    def label(self) -> str:
        """`Box 1`, or with its name: `Box 1, kitchen`."""
        plain = f"Box {self.box_id}"
        return f"{plain}, {self.name}" if is_given(self.box_id, self.name) else plain


def pages_of_boxes(count: int, page: int) -> int:
    """How many pages it takes to list `count` Boxes. Raises HTTPException 404 if `page` is beyond them."""
    pages = max(1, -(-count // BOXES_A_PAGE))
    if page > pages:
        text = f"There is no page {page} of the Boxes; the last one is {pages}."
        raise HTTPException(404, text)
    return pages
