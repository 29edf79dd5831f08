"""A person without a pointer: Tab, Enter, Space, arrows, in a real browser.

Each stop of Tab must show where it is (WCAG 2.4.7), within the window and not under something else (2.4.11),
and follow the last one in the order of the page (2.4.3).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

MAX_STOPS = 400
OF_SEVERAL_STOPS = ("date", "datetime-local", "time")
"""Fields of which Tab goes through the parts: year, month, day."""
WAIT_MS = 240_000
STOP = """() => {
  const item = document.activeElement;
  if (!item || item === document.body || item === document.documentElement) return null;
  const style = getComputedStyle(item);
  const box = item.getBoundingClientRect();
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const middle = (from, to, most) => (Math.max(from, 0) + Math.min(to, most)) / 2;
  const x = middle(box.left, box.right, innerWidth), y = middle(box.top, box.bottom, innerHeight);
  const at = document.elementFromPoint(x, y);
  const before = window.lastStop;
  window.lastStop = item;
  const later = before && before.compareDocumentPosition(item) & Node.DOCUMENT_POSITION_FOLLOWING;
  window.stops ??= new Map();
  if (!window.stops.has(item)) window.stops.set(item, window.stops.size);
  const label = item.getAttribute("aria-label") || item.labels?.[0]?.innerText || item.innerText || item.name;
  return {
    number: window.stops.get(item), tag: item.tagName.toLowerCase(), type: item.type ?? "",
    name: (label || item.id).trim().slice(0, 80), tabindex: item.tabIndex,
    marked: outlined || style.boxShadow !== "none",
    follows: !before?.isConnected || before === item || Boolean(later),
    inside: box.width > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
    covered: Boolean(at && !item.contains(at) && !at.contains(item) && at.closest("label")?.control !== item),
  };
}"""


class Keyboard:
    """Keys on one page; what is wrong with a stop is kept in `wrong`."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.wrong: list[str] = []

    def open(self, url: str) -> None:
        """What a person types into the browser's own line."""
        self.page.goto(url)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def stop(self) -> dict[str, Any] | None:
        """What has the focus; None: nothing of the page."""
        found: dict[str, Any] | None = self.page.evaluate(STOP)
        if found is not None:
            said = f"{self.page.url}: {found['tag']} {found['name']!r}"
            for fault, is_wrong in (
                ("shows no focus", not found["marked"]),
                ("is out of sight", not found["inside"]),
                ("lies under something", found["inside"] and found["covered"]),
                ("comes before the last stop", not found["follows"] and found["number"] > 0),
                ("has an order of its own", found["tabindex"] > 0),
            ):
                if is_wrong and f"{said} {fault}" not in self.wrong:
                    self.wrong.append(f"{said} {fault}")
        return found

    def tab_to(self, name: str, tag: str = "") -> dict[str, Any]:
        """Tab until what has that name has the focus; AssertionError where Tab never comes there."""
        seen: list[str] = []
        for _ in range(MAX_STOPS):
            self.press("Tab")
            found = self.stop()
            if found is None:
                if seen:
                    break
                continue
            if found["name"].startswith(name) and tag in ("", found["tag"]):
                return found
            seen.append(found["name"])
        raise AssertionError(f"Tab never comes to {name!r} on {self.page.url}: {seen}")

    def follow(self, name: str, done: Callable[[], object], tag: str = "") -> None:
        """Tab to a link or button, press Enter, and wait for what it does."""
        self.tab_to(name, tag)
        self.press("Enter")
        done()

    def walk(self) -> list[str]:
        """Tab from the beginning of the page to its end; the names of all stops. AssertionError: a trap."""
        self.page.evaluate("document.activeElement?.blur(); window.lastStop = null; window.stops = null")
        names: list[str] = []
        numbers: list[int] = []
        for _ in range(MAX_STOPS):
            self.press("Tab")
            found = self.stop()
            if found is None or (numbers and found["number"] == 0):
                return names
            again = found["number"] in numbers
            if again and found["type"] in OF_SEVERAL_STOPS and found["number"] == numbers[-1]:
                continue
            assert not again, f"{self.page.url}: Tab goes back to {found['name']!r} from {names[-1]!r}"
            numbers.append(found["number"])
            names.append(found["name"])
        raise AssertionError(f"{self.page.url}: after {MAX_STOPS} stops the page has no end: {names[-5:]}")
