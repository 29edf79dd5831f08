"""Writes incidents as an Atom feed (RFC 4287). Pure.

An incident has a permanent id, so that a reader shows a growing incident once. The time of its last
change is not stored, so an entry has the time of its incident's end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from opq_cloud.view.web import words
from opq_proto.messages import Incident

ATOM = "http://www.w3.org/2005/Atom"
TITLE = "Power-quality incidents"
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (production 2) cannot contain."""


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


def atom_feed(entries: Sequence[FeedEntry], base_url: str, said: str = "") -> bytes:
    """The feed.

    Args:
        base_url: the start of the addresses in it, such as https://pq.example.
        said: why it may lack incidents.
    """
    ElementTree.register_namespace("", ATOM)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")
    _add(feed, "title", TITLE)
    if said:
        _add(feed, "subtitle", said)
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


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, f"{{{ATOM}}}{name}").text = NOT_IN_XML.sub("\ufffd", text)


def _link(parent: ElementTree.Element, rel: str, href: str, kind: str) -> None:
    ElementTree.SubElement(parent, f"{{{ATOM}}}link", {"rel": rel, "href": href, "type": kind})


def _host(base_url: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", base_url.partition("://")[2].partition("/")[0]) or "localhost"


def _tag(base_url: str, what: str) -> str:
    """A tag URI (RFC 4151): an id that stays when the address of the page changes its scheme or port."""
    return f"tag:{_host(base_url)},2026:{what}"
