"""The form of a notification rule: makes a rule of its fields and lists every problem; and the rule in words.

A rule names only Boxes that its account sees; the sender checks that again (`notifications/rule_book.py`).
"""

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from opq_cloud.core.notification_channels import CHANNELS
from opq_cloud.core.webhook_address import checked_url
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule, wall_time
from opq_cloud.view.pages.visible.registry import BOX_ID
from opq_cloud.view.web.forms import SentForm
from opq_cloud.view.web.visitors import Visitor
from opq_cloud.view.web.words import CLASS_PHRASES, class_words

ABOUT_WORDS = {
    "incident": "Incidents",
    "assigned": "Incidents assigned to you",
    "silence": "Boxes that fall silent",
    "health": "Services that are not well",
    "stream_rule": "Rows of stream rules",
}
SCOPE_WORDS = {
    "local": "Local",
    "feeder": "One feeder",
    "region": "A region",
    "wide_area": "Wide area",
}
DIGEST_WORDS = {"none": "At once", "hourly": "Each hour, as one", "daily": "Each day, as one"}
STATE_WORDS = {
    "waiting": "waits",
    "sending": "is being sent",
    "sent": "sent",
    "failed": "not sent",
    "dropped": "dropped",
}
MAY_STOP = 4.0
"""From this severity on equipment may stop: what most people want to be notified of."""
USUAL_CHANNEL = "mail"
"""Of a new rule. It may be stored before the cloud has a mail server; other channels must be set up first."""
MAX_BOXES = 100
MAX_MINUTES = 7 * 24 * 60


def may_be_about(visitor: Visitor) -> dict[str, str]:
    """What a visitor's rules may be about; only an administrator's may be about services."""
    return {key: words for key, words in ABOUT_WORDS.items() if key != "health" or visitor.administers}


def new_rule(account_id: str, about: str) -> NotificationRule:
    """A rule with the usual choices; it is not stored."""
    rule = NotificationRule(secrets.token_hex(8), account_id, "", about, USUAL_CHANNEL, 0)
    severity = MAY_STOP if about == "incident" else 0.0
    return replace(rule, updates=about in ("silence", "health"), least_severity=severity)


def rule_of(
    form: SentForm, was: NotificationRule, visitor: Visitor, unset: Collection[str] = ()
) -> tuple[NotificationRule, list[str]]:
    """The rule that the form describes, and its problems. Raises HTTPException 400 for a text too long.

    unset: channels for which the cloud has no setting.
    """
    problems: list[str] = []
    channel, digest = form.text("channel"), form.text("digest") or "none"
    by = CHANNELS.get(channel)
    if by is None:
        problems.append(f"{channel or 'Nothing'} is not a way to send; there are {', '.join(CHANNELS)}.")
    elif channel in unset and channel not in (was.channel, USUAL_CHANNEL):
        problems.append(f"{by.words}: {by.unset_words}; an administrator sets it in {by.section}.")
    if digest not in DIGEST_WORDS:
        problems.append(f"{digest} is not a digest; there are {', '.join(DIGEST_WORDS)}.")
    box_ids = tuple(dict.fromkeys(form.text("box_ids", 1000).replace(",", " ").split()))
    unseen = [each for each in box_ids if not BOX_ID.fullmatch(each) or not visitor.sees(each)]
    if unseen or len(box_ids) > MAX_BOXES:
        problems.append(
            f"You cannot see Box {unseen[0]}." if unseen else f"A rule names at most {MAX_BOXES} Boxes."
        )
    url = form.text("url", 1000)
    takes_url, signed = by is not None and by.takes_url, by is not None and by.signed
    if takes_url:
        try:
            checked_url(url)
        except ValueError as error:
            problems.append(f"URL: {error}.")
    quiet_from, quiet_to = form.text("quiet_from"), form.text("quiet_to")
    if bool(quiet_from) != bool(quiet_to):
        problems.append("Quiet hours need a beginning and an end, or neither.")
    digest_at = form.text("digest_at") or was.digest_at
    for each in filter(None, (quiet_from, quiet_to, digest_at)):
        try:
            wall_time(each)
        except ValueError as error:
            problems.append(f"{error}.")
    minutes = _number(form.text("after_minutes") or "5", "Minutes", 1, MAX_MINUTES, problems)
    severity = _number(form.text("least_severity") or "0", "Severity", 0, 10, problems)
    loud = form.text("loud_severity")
    rule = replace(
        was,
        name=form.text("name", 80) or ABOUT_WORDS[was.about],
        channel=channel,
        since_ms=time.time_ns() // 1_000_000,
        enabled=form.checked("enabled"),
        classes=tuple(each for each in CLASS_PHRASES if form.checked(f"class_{each}")),
        scopes=tuple(each for each in SCOPE_WORDS if form.checked(f"scope_{each}")),
        box_ids=box_ids,
        least_severity=severity,
        after_s=round(minutes * 60),
        updates=form.checked("updates"),
        digest=digest,
        digest_at=digest_at,
        quiet_from=quiet_from,
        quiet_to=quiet_to,
        loud_severity=_number(loud, "Severity", 0, 10, problems) if loud else None,
        url=url if takes_url else "",
        secret=(was.secret or secrets.token_urlsafe(32)) if signed else "",
    )
    return rule, problems


def rule_words(rule: NotificationRule) -> str:
    """A rule's conditions in one line: `sag, swell · severity 4 and more · Boxes 1, 4`."""
    parts = [", ".join(class_words(each) for each in rule.classes if each in CLASS_PHRASES)]
    parts += [", ".join(SCOPE_WORDS[each] for each in rule.scopes if each in SCOPE_WORDS)]
    parts += [f"severity {rule.least_severity:g} and more" if rule.least_severity else ""]
    parts += [f"Boxes {', '.join(rule.box_ids)}" if rule.box_ids else ""]
    if rule.about in ("silence", "health"):
        parts += [f"after {rule.after_s / 60:g} min"]
    parts += [f"quiet {rule.quiet_from} to {rule.quiet_to}" if rule.quiet_from else ""]
    parts += [DIGEST_WORDS[rule.digest].lower() if rule.digest != "none" else ""]
    return " · ".join(each for each in parts if each) or "all of them"


def notification_data(people: AccountRecords, account_id: str) -> Mapping[str, Any]:
    """What is stored of an account's notifications, except secrets."""
    records = NotificationRecords(people.documents)
    rules = [{k: v for k, v in asdict(each).items() if k != "secret"} for each in records.rules(account_id)]
    return {"notification_rules": rules, "notifications": list(map(asdict, records.entries(account_id)))}


def _number(text: str, name: str, least: float, most: float, problems: list[str]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        problems.append(f"{name}: {text} is not a number from {least:g} to {most:g}.")
        return least
    return value
