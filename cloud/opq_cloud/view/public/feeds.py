"""Writes incidents as an Atom feed (RFC 4287) and as an iCalendar (RFC 5545). Pure.

Both give an incident a permanent id, so that a reader shows a growing incident once. The time of its last
change is not stored, so an entry has the time of its incident's end.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from opq_cloud.view import words
from opq_proto.messages import Incident

ATOM = "http://www.w3.org/2005/Atom"
TITLE = "Power-quality incidents"
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (production 2) cannot contain."""
FOLD_BYTES = 75
"""A longer line of an iCalendar is folded (RFC 5545, 3.1)."""
REFRESH = "PT15M"


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An incident as a feed reader shows it."""

    incident_id: int
    start_ns: int
    end_ns: int
    title: str
    text: str


def entry_of(incident: Incident, names: words.Names, scope_words: str) -> FeedEntry:
    """The entry of an incident; `scope_words` is its extent, empty where unknown."""
    headline = words.class_words(incident.kind) + " " + words.outline(incident, names)
    text = f"{headline}." if not scope_words else f"{headline}. Reach: {scope_words}."
    title = words.headline(incident, names)
    return FeedEntry(incident.incident_id, incident.start_ns, incident.end_ns, title, text)


def atom_feed(entries: Sequence[FeedEntry], base_url: str) -> bytes:
    """The feed; `base_url` is the start of the addresses in it, such as https://pq.example."""
    ElementTree.register_namespace("", ATOM)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")
    _add(feed, "title", TITLE)
    _add(feed, "id", _tag(base_url, "incidents"))
    newest_ns = max((each.end_ns for each in entries), default=0)
    _add(feed, "updated", words.utc_attribute(newest_ns))
    author = ElementTree.SubElement(feed, f"{{{ATOM}}}author")
    _add(author, "name", "OPQ View")
    _link(feed, "self", f"{base_url}/feeds/incidents.atom", "application/atom+xml")
    _link(feed, "alternate", f"{base_url}/map", "text/html")
    for each in entries:
        entry = ElementTree.SubElement(feed, f"{{{ATOM}}}entry")
        _add(entry, "title", each.title)
        _add(entry, "id", _tag(base_url, f"incidents/{each.incident_id}"))
        _add(entry, "published", words.utc_attribute(each.start_ns))
        _add(entry, "updated", words.utc_attribute(each.end_ns))
        _add(entry, "summary", each.text)
        _link(entry, "alternate", f"{base_url}/share/incidents/{each.incident_id}", "text/html")
    text: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return text


def icalendar(entries: Iterable[FeedEntry], base_url: str) -> bytes:
    """One VEVENT for each entry; it lasts at least a second, the resolution of a calendar."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Open Power Quality//OPQ View//EN",
        "CALSCALE:GREGORIAN",
        f"X-WR-CALNAME:{_escaped(TITLE)}",
        f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}",
    ]
    for each in entries:
        lines += [
            "BEGIN:VEVENT",
            f"UID:incident-{each.incident_id}@{_host(base_url)}",
            f"DTSTAMP:{_stamp(each.end_ns)}",
            f"DTSTART:{_stamp(each.start_ns)}",
            f"DTEND:{_stamp(max(each.end_ns, each.start_ns + 1_000_000_000))}",
            f"SUMMARY:{_escaped(each.title)}",
            f"DESCRIPTION:{_escaped(each.text)}",
            f"URL:{base_url}/share/incidents/{each.incident_id}",
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(f"{_folded(line)}\r\n" for line in lines).encode()


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, f"{{{ATOM}}}{name}").text = NOT_IN_XML.sub("\ufffd", text)


def _link(parent: ElementTree.Element, rel: str, href: str, kind: str) -> None:
    ElementTree.SubElement(parent, f"{{{ATOM}}}link", {"rel": rel, "href": href, "type": kind})


def _host(base_url: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", base_url.partition("://")[2].partition("/")[0]) or "localhost"


def _tag(base_url: str, what: str) -> str:
    """A tag URI (RFC 4151): an id that stays when the address of the page changes its scheme or port."""
    return f"tag:{_host(base_url)},2026:{what}"


def _stamp(t_ns: int) -> str:
    """A time of RFC 5545: `20261122T081322Z`."""
    return re.sub(r"[-:]", "", words.utc(t_ns, 0)).replace(" ", "T") + "Z"


def _escaped(text: str) -> str:
    """TEXT of RFC 5545, 3.3.11, which allows no control characters."""
    text = re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", " ", text)
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _folded(line: str) -> str:
    """Folds a line to FOLD_BYTES octets at most, never within a character."""
    parts, part, size = [], "", 0
    for character in line:
        length = len(character.encode())
        if size + length > FOLD_BYTES:
            parts.append(part)
            part, size = " ", 1
        part += character
        size += length
    return "\r\n".join([*parts, part])
