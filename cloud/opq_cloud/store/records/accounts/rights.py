"""Who may do what: one function of role, way, relation and present state.

Pages, REST, live feed, tokens, notifications, links and codes use `may`, each time. Former rights have no
effect: a person whose account is disabled counts as a stranger; a relation counts only where the present role
uses it. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

ADMIN, OWNER, RESEARCHER, VIEWER = ROLES = ("admin", "owner", "researcher", "viewer")
STRANGER = ""
"""The role of a person without an account in force."""
OPEN = "open"
"""The role of all visitors of a View without accounts or with `sign_in = "never"`, and of its own token."""


class Relation(IntEnum):
    """What a Box is to a person; a higher one includes the lower ones."""

    NONE = 0
    PUBLIC = 1
    PUBLIC_WAVEFORMS = 2
    SHARED = 3
    OWN = 4


class Way(Enum):
    """How a right is used."""

    NONE = "without sign-in"
    MACHINE = "on View's own machine, while no account exists"
    SESSION = "by a browser that is signed in"
    TOKEN = "by a program with a token"
    MESSAGE = "by a notification to the account"
    CODE = "by a link or code that the account made"


class Action(Enum):
    """What a right allows."""

    SEE = "see values and incidents of a Box"
    SEE_PLACE = "see the exact place of a Box"
    SEE_WAVEFORMS = "see raw waveforms of a Box"
    CHANGE_BOX = "change, publish, share or release a Box"
    ORDER_SAMPLES = "request raw samples of a Box"
    JOIN_SITE = "ask to join another owner's site with a Box"
    ADMIT_TO_SITE = "admit a Box of another owner to a site, or remove it; the relation is that to the site"
    CLAIM_BOX = "become the owner of a Box that has none"
    EDIT_INCIDENT = "edit an incident, by the least relation to its Boxes"
    READ_COUNTERS = "read the counters of View, which name every Box"
    READ_ADMINISTRATION = "read the pages of administration"
    ADMINISTER = "change what is for administrators"
    INJECT = "publish on Mauka's bus"
    USE_ACCOUNT = "read and change the own account"
    WRITE_BY_API = "send a request that changes something to the API"
    JOIN_BY_API = "read and change by the API who is in which site"
    BE_NOTIFIED = "be notified"
    BE_NOTIFIED_OF_SERVICES = "be notified of services"
    VOUCH = "have made a link or code that is valid"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person is at this moment."""

    role: str = STRANGER
    way: Way = Way.NONE
    scopes: tuple[str, ...] = ()
    """Scopes of the token, if it is used."""
    in_force: bool = True
    """Whether the account is enabled and its e-mail proved."""


@dataclass(frozen=True, slots=True)
class Right:
    """Who has a right."""

    least: Mapping[str, Relation]
    """Role -> lowest relation that suffices; a role that is not listed does not have the right."""
    ways: frozenset[Way]
    scope: str = ""
    """Scope that a token needs; a later right has another one, because a token states what it may do."""


_ALL_BOXES = dict.fromkeys((ADMIN, RESEARCHER, OPEN), Relation.NONE)
_ACCOUNTS = dict.fromkeys(ROLES, Relation.NONE)
_ADMINS = {ADMIN: Relation.NONE}
_OWN_BOXES = {ADMIN: Relation.NONE, OWNER: Relation.OWN}
_PEOPLE = (OWNER, VIEWER, STRANGER)
_READING = frozenset({Way.NONE, Way.MACHINE, Way.SESSION, Way.TOKEN, Way.MESSAGE})
_ORDERING = frozenset({Way.SESSION, Way.TOKEN})
_SESSION, _TOKEN = frozenset({Way.SESSION}), frozenset({Way.TOKEN})
_MESSAGE = frozenset({Way.MESSAGE})
RIGHTS: Mapping[Action, Right] = {
    Action.SEE: Right(_ALL_BOXES | dict.fromkeys(_PEOPLE, Relation.PUBLIC), _READING),
    Action.SEE_PLACE: Right(_ALL_BOXES | dict.fromkeys((OWNER, VIEWER), Relation.SHARED), _READING),
    Action.SEE_WAVEFORMS: Right(
        _ALL_BOXES | dict.fromkeys(_PEOPLE, Relation.PUBLIC_WAVEFORMS), _READING, "waveforms"
    ),
    Action.CHANGE_BOX: Right(_OWN_BOXES, _SESSION),
    Action.ORDER_SAMPLES: Right(_OWN_BOXES, _ORDERING, "write"),
    Action.JOIN_SITE: Right(_OWN_BOXES, _ORDERING, "sites"),
    Action.ADMIT_TO_SITE: Right(_OWN_BOXES, _ORDERING, "sites"),
    Action.CLAIM_BOX: Right({ADMIN: Relation.NONE, OWNER: Relation.NONE}, _SESSION),
    Action.EDIT_INCIDENT: Right(_OWN_BOXES | {RESEARCHER: Relation.NONE}, _ORDERING, "write"),
    Action.READ_COUNTERS: Right(_ALL_BOXES, _READING),
    Action.READ_ADMINISTRATION: Right(_ADMINS | {OPEN: Relation.NONE}, _SESSION | {Way.MACHINE}),
    Action.ADMINISTER: Right(_ADMINS, _SESSION),
    Action.INJECT: Right(_ADMINS, _TOKEN, "write"),
    Action.USE_ACCOUNT: Right(_ACCOUNTS, _SESSION),
    Action.WRITE_BY_API: Right(_ACCOUNTS, _TOKEN, "write"),
    Action.JOIN_BY_API: Right(_ACCOUNTS, _TOKEN, "sites"),
    Action.BE_NOTIFIED: Right(_ACCOUNTS, _MESSAGE),
    Action.BE_NOTIFIED_OF_SERVICES: Right(_ADMINS, _MESSAGE),
    Action.VOUCH: Right(_ADMINS, frozenset({Way.CODE})),
}


def may(standing: Standing, action: Action, relation: Relation = Relation.NONE) -> bool:
    """Whether a person of this standing may do this, to a Box of this relation where it is about one."""
    right, role = RIGHTS[action], standing.role
    if not standing.in_force:
        role, relation = STRANGER, relation if relation <= Relation.PUBLIC_WAVEFORMS else Relation.NONE
    if standing.way not in right.ways or (
        standing.way is Way.TOKEN and right.scope and right.scope not in standing.scopes
    ):
        return False
    least = right.least.get(role)
    return least is not None and relation >= least
