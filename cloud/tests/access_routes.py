"""Every route of View, and the right that it needs: the statement that the matrix compares with answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_cloud.store.records.accounts.rights import Action

DONE = (200, 202, 204, 303, 400, 409, 429)
"""Answers to a person who may: done, or refused for what was typed."""


@dataclass(frozen=True, slots=True)
class StatedRight:
    """What an answer depends on."""

    actions: tuple[Action, ...] = ()
    """All of them are needed; none: everybody may."""
    done: tuple[int, ...] = DONE
    of_strangers: bool = False
    """Whether the answer is that to a stranger, for everybody."""
    never: bool = False


def of(*actions: Action, done: tuple[int, ...] = DONE) -> StatedRight:
    return StatedRight(actions, done)


EVERYBODY = of(done=(200,))
GROUPS: tuple[tuple[StatedRight, str], ...] = (
    (
        EVERYBODY,
        """GET / /incidents /live /map /map/state /wall /past /report /report/week /feeds/incidents.atom
        /sites /search /search/found /health /theme/{file} /robots.txt /reset /map/outlines.json
        /api/v1/openapi.json
        /api/v1/availability /api/v1/recent /api/v1/reports/week /api/v1/reports/indices /api/v1/sites
        /api/v1/boxes /api/v1/events /api/v1/incidents /api/v1/findings /api/v1/live /api/v1/exports/incidents
        /api/v1/exports/findings /api/v1/exports/changes /api/v1/phenomena /api/v1/docs""",
    ),
    (of(done=(200, 303)), "GET /sign-in"),
    (of(done=(200, 400, 403, 429)), "POST /sign-in /reset"),
    (of(done=(400,)), "GET /api/v1/exports/measurements"),
    (of(done=(400, 404)), "GET /first-admin /register /reset/new"),
    (of(done=(400, 404, 429)), "POST /first-admin /register /reset/new"),
    (of(Action.READ_COUNTERS, done=(200,)), "GET /metrics"),
    (
        of(Action.SEE, done=(200,)),
        """GET /boxes/{box_id} /events/{event_id} /incidents/{incident_id}
        /incidents/{incident_id}/examine /incidents/{incident_id}/overlay
        /incidents/{incident_id}/examine/part /incidents/{incident_id}/examine/charts /api/v1/boxes/{box_id}
        /api/v1/events/{event_id} /api/v1/incidents/{incident_id} /api/v1/incidents/{incident_id}/findings
        /api/v1/incidents/{incident_id}/findings/export /api/v1/boxes/{box_id}/measurements
        /api/v1/boxes/{box_id}/trend /api/v1/boxes/{box_id}/intervals /api/v1/boxes/{box_id}/disturbances
        /api/v1/boxes/{box_id}/minutes /api/v1/boxes/{box_id}/history""",
    ),
    (
        StatedRight((Action.SEE,), (200,), of_strangers=True),
        "GET /share/incidents/{incident_id}",
    ),
    (of(Action.SEE_PLACE, done=(200,)), "GET /sites/{name:path} /api/v1/sites/{name:path}"),
    (
        of(Action.SEE_WAVEFORMS, done=(200,)),
        """GET /api/v1/events/{event_id}/waveforms/{box_id} /api/v1/events/{event_id}/export
        /api/v1/incidents/{incident_id}/export""",
    ),
    (of(Action.CHANGE_BOX), "GET /boxes/{box_id}/settings"),
    (of(Action.CHANGE_BOX), "POST /boxes/{box_id}/settings /boxes/{box_id}/share /boxes/{box_id}/release"),
    (of(Action.CHANGE_BOX, Action.ADMINISTER), "POST /boxes/{box_id}/claim-code"),
    (of(Action.ORDER_SAMPLES, Action.USE_ACCOUNT), "POST /boxes/{box_id}/waveforms"),
    (of(Action.ORDER_SAMPLES), "GET /boxes/{box_id}/waveforms"),
    (of(Action.WRITE_BY_API, Action.ORDER_SAMPLES), "POST /api/v1/boxes/{box_id}/waveforms"),
    (of(Action.JOIN_BY_API, done=(200,)), "GET /api/v1/site-joins"),
    (of(Action.JOIN_BY_API, done=(400,)), "POST /api/v1/site-joins"),
    (of(Action.INJECT), "POST /api/v1/injections"),
    (of(Action.WRITE_BY_API, Action.EDIT_INCIDENT), "POST /api/v1/incidents/{incident_id}/work"),
    (
        of(Action.EDIT_INCIDENT, Action.USE_ACCOUNT),
        """POST /incidents/{incident_id}/note /incidents/{incident_id}/label /incidents/{incident_id}/split
        /incidents/{incident_id}/merge /incidents/{incident_id}/work""",
    ),
    (
        of(Action.USE_ACCOUNT),
        """GET /examine /account /account/boxes /account/sites /account/data.json /account/second-factor
        /account/notifications /account/notifications/new""",
    ),
    (
        of(Action.USE_ACCOUNT, done=(*DONE, 403, 404)),
        """POST /examine /account/boxes /account/sites /incidents/work /incidents/{incident_id}/seen
        /account/profile /account/password /account/second-factor /account/second-factor/remove
        /account/sessions/end /account/tokens /account/tokens/end /account/delete /sign-out
        /account/notifications/new /account/notifications/tokens /account/notifications/tokens/end""",
    ),
    (StatedRight(never=True), "GET /account/notifications/{rule_id}"),
    (
        StatedRight(never=True),
        """POST /account/notifications/{rule_id} /account/notifications/{rule_id}/delete
        /account/notifications/{rule_id}/test""",
    ),
    (
        of(Action.READ_ADMINISTRATION),
        """GET /admin/changes /admin /admin/boxes /admin/boxes/{box_id} /admin/boxes/{box_id}/firmware
        /admin/keys /admin/plugins /admin/rules /admin/system /admin/audit /admin/audit.csv
        /admin/audit.json""",
    ),
    (of(Action.READ_ADMINISTRATION, done=(404, 503)), "GET /admin/system/mauka.svg"),
    (of(Action.ADMINISTER), "GET /admin/accounts /admin/boxes/{box_id}/delete"),
    (
        of(Action.ADMINISTER, done=(*DONE, 404, 503)),
        """POST /admin/invitations /admin/invitations/end /admin/accounts/{account_id}
        /admin/accounts/{account_id}/sessions/end /admin/accounts/{account_id}/delete
        /admin/boxes/{box_id}/facts /admin/boxes/{box_id}/rate /admin/boxes/{box_id}/retire
        /admin/boxes/{box_id}/return /admin/boxes/{box_id}/settings /admin/boxes/{box_id}/delete
        /admin/boxes/{box_id}/firmware
        /admin/boxes/{box_id}/firmware/send /admin/boxes/{box_id}/firmware/stop
        /admin/boxes/{box_id}/firmware/follow /admin/keys /admin/keys/{box_id}/revoke
        /admin/keys/{box_id}/rotate /admin/plugins /admin/plugins/mauka/{name} /admin/plugins/triggers/{name}
        /admin/plugins/{engine}/{name}/rollback /admin/plugins/{engine}/{name}/delete
        /admin/rules/{engine}/{rule}/run /admin/system/retention""",
    ),
)


def _stated() -> Mapping[str, StatedRight]:
    found: dict[str, StatedRight] = {}
    for right, text in GROUPS:
        method, *paths = text.split()
        found |= {f"{method} {path}": right for path in paths}
    return found


STATED = _stated()
"""Route -> the right that it needs."""
