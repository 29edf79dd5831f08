"""Texts for people: headlines of incidents, silent Boxes and failing services; mails. Pure."""

import html
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from zoneinfo import ZoneInfo

from opq_cloud.notifications.outage_news import HealthComponent
from opq_cloud.store.incidents.box_events import BoxEvent, box_events, groups_of, naming_event, other_words
from opq_cloud.store.records.accounts.notifications import NotificationEntry
from opq_proto.messages import Incident
from opq_proto.visible_text import is_plain

MAX_IN_A_MAIL = 100
BOXES_NAMED = 5
SUBJECT_CHARACTERS = 150
SCOPE_WORDS = {"local": "local", "feeder": "one feeder", "region": "a region", "wide_area": "wide area"}


def incident_headline(incident: Incident, worse: bool = False, so_far: bool = False) -> str:
    """Returns, for example, `Sag to 60.0 % at Boxes 1 and 4, 158 ms, severity 4.2`.

    Level and length are those of the Boxes that are named with them; what others had follows.

    Args:
        so_far: not all that was asked for is stored and analysed, which may change it.
    """
    events = box_events(incident)
    main, others = groups_of(incident, events)
    named = naming_event(incident, events)
    words = _class_phrase(incident.kind).capitalize()
    if main.lowest is not None:
        words += f" to {_percent(main.lowest)}"
    words += f" at {box_words(main.box_ids)}"
    words += f", {_lasted(named)}" if named.closed else ""
    words += "".join(f", {each}" for each in other_words(others, _class_phrase, _percent, box_words))
    words += f", {SCOPE_WORDS[incident.scope]}" if incident.scope in SCOPE_WORDS else ""
    severity = incident.severity
    if severity is not None:
        words += f", severity {severity:.1f}"
    words += " (so far: not all of it is analysed yet)" if so_far else ""
    return f"Worse now: {words}" if worse else words


def box_words(box_ids: Sequence[str]) -> str:
    """Returns, for example, `Box 1`, `Boxes 1, 2 and 4` or `Boxes 1, 2, 3, 4, 5 and 7 more`."""
    if len(box_ids) == 1:
        return f"Box {box_ids[0]}"
    if len(box_ids) > BOXES_NAMED:
        return f"Boxes {', '.join(box_ids[:BOXES_NAMED])} and {len(box_ids) - BOXES_NAMED} more"
    return f"Boxes {', '.join(box_ids[:-1])} and {box_ids[-1]}"


def _class_phrase(kind: str) -> str:
    return kind.replace("+", " with ").replace("_", " ")


def _percent(percent: float) -> str:
    return f"{percent:.1f} %"


def _lasted(event: BoxEvent) -> str:
    least, most = ((end - event.start_ns) / 1e9 for end in (event.end_ns, event.latest_end_ns))
    if event.latest_end_ns == event.end_ns:
        return _duration(least)
    return f"between {_duration(least)} and {_duration(most)}"


def _duration(seconds: float) -> str:
    """Returns, for example, `158 ms`, `2.5 s` or `12 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def outage_headline(component: HealthComponent, since_ms: int, back: bool, zone: ZoneInfo) -> str:
    """Returns, for example, `Box 3 is silent since 2026-11-22 08:13:22 HST`."""
    name = component.subject[0].upper() + component.subject[1:]
    if back:
        return f"{name} {'reports again' if component.is_box else 'is well again'}"
    return f"{name} {'is silent' if component.is_box else 'is not well'} since {moment_words(since_ms, zone)}"


def moment_words(at_ms: float, zone: ZoneInfo) -> str:
    """Returns date and time in the zone, with the zone's name."""
    return datetime.fromtimestamp(at_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def mail_of(
    items: Sequence[tuple[NotificationEntry, str]], to: str, sender: str, zone: ZoneInfo, settings_url: str
) -> EmailMessage:
    """Returns one mail, as plain text and HTML.

    Args:
        items: entries of one rule, each with the link to its incident or Box, or "".
        settings_url: the page where the rules are changed.
    """
    first = items[0][0]
    subject = first.headline if len(items) == 1 else f"{len(items)} notifications: {first.rule_name}"
    message = EmailMessage()
    message["From"], message["To"] = sender, to
    message["Subject"] = f"[OPQ] {_one_line(subject)[:SUBJECT_CHARACTERS]}"
    message["Message-ID"] = f"<{first.entry_id}@opq.notifications>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: automatic responders do not answer it
    shown = items[:MAX_IN_A_MAIL]
    more = f"{len(items) - len(shown)} more are in the log." if len(shown) < len(items) else ""
    foot = f"Rule: {_one_line(first.rule_name)}. Change or stop it: {settings_url}"
    lines = [
        f"{moment_words(each.made_ms, zone)}\n{_one_line(each.headline)}" + (f"\n{link}" if link else "")
        for each, link in shown
    ]
    message.set_content("\n\n".join([*lines, *([more] if more else []), foot]) + "\n")
    rows = [
        f"<p>{html.escape(moment_words(each.made_ms, zone))}<br><strong>{html.escape(each.headline)}</strong>"
        + (f'<br><a href="{html.escape(link)}">{html.escape(link)}</a>' if link else "")
        + "</p>"
        for each, link in shown
    ]
    body = "".join(
        [*rows, f"<p>{more}</p>" if more else "", f"<hr><p><small>{html.escape(foot)}</small></p>"]
    )
    message.add_alternative(f'<html lang="en"><body>{body}</body></html>', subtype="html")
    return message


def _one_line(text: str) -> str:
    """Replaces line ends and other control characters: a line end would begin another header."""
    return " ".join("".join(each if is_plain(each) else " " for each in text).split())
