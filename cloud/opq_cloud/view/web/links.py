"""Links that allow one action once (first administrator, invitation, new password, claim), and tokens."""

import time

from opq_cloud.store.records.accounts.account_records import AccountRecords, AccountTicket
from opq_cloud.view.web.passwords import new_secret, secret_hash

FIRST_ADMIN_S = 24 * 3600
INVITATION_S = 7 * 86_400
MAILED_S = 3600
"""How long a link for a new password or an account is valid."""
CLAIM_S = 7 * 86_400
FOR_EVER_S = 100 * 365 * 86_400
TOKEN_START = "opq_"
TOKEN_SCOPES = ("read", "waveforms", "write", "sites")
"""What a token allows: reading all but samples, reading samples too, requesting waveforms and working on
incidents, joining sites. `RIGHTS` has the rights of each."""


def make_ticket(
    people: AccountRecords,
    purpose: str,
    valid_s: int,
    *,
    account_id: str = "",
    email: str = "",
    role: str = "",
    box_id: str = "",
    label: str = "",
    scopes: tuple[str, ...] = (),
    made_by: str = "",
) -> str:
    """Stores a ticket and returns its secret, which is not stored anywhere."""
    secret = (TOKEN_START if purpose in ("token", "notify") else "") + new_secret()
    now_ms = time.time_ns() // 1_000_000
    people.add_ticket(
        AccountTicket(
            secret_hash(secret),
            purpose,
            now_ms,
            now_ms // 1000 + valid_s,
            account_id=account_id,
            email=email,
            role=role,
            box_id=box_id,
            label=label,
            scopes=scopes,
            made_by=made_by,
        )
    )
    return secret


def first_admin_link(people: AccountRecords, view_url: str) -> str | None:
    """`http://…/first-admin?code=…`, which replaces an older link; None once there is an account."""
    if people.any_account():
        return None
    return f"{view_url}/first-admin?code={make_ticket(people, 'first_admin', FIRST_ADMIN_S, role='admin')}"


def local_token(people: AccountRecords, label: str) -> str:
    """A token that reads everything, for a program whose user may write the store; one per label."""
    for old in people.tickets("token"):
        if old.label == label and not old.account_id:
            people.remove_ticket(old.ticket_hash)
    return make_ticket(people, "token", FOR_EVER_S, label=label)
