"""Where everybody sees a Box that was moved: at its former public place, for MOVE_SHOWN_S.

An owner knows where a Box is, and everybody sees its public place. Who moves a Box and looks at once learns
which cell has which public place, and so the cells of others. So a move shows a week later, and a further
move in that week begins the week again: a Box has at most five public places a month. The end of the week
is stored with the Box's access, so that neither a restart nor another owner shortens it.
"""

import time
from dataclasses import replace

from opq_cloud.store.records.accounts.account_records import MOVE_SHOWN_S, AccountRecords, BoxAccess
from opq_cloud.view.pages.visible.fuzz import SALT_NAME, Place, fuzzed_place

NOWHERE: tuple[float, ...] = ()


def moved(access: BoxAccess, shown: Place | None, now_ms: int) -> BoxAccess:
    """The access of a Box that moves now; `shown`: the public place of where it was, None without one."""
    held = now_ms < access.mark_until_ms
    if shown is None and not held:
        return access
    mark = access.mark_place if held else tuple(shown or NOWHERE)
    return replace(access, mark_place=mark, mark_until_ms=now_ms + MOVE_SHOWN_S * 1000)


def hold_mark(people: AccountRecords, box_id: str, before: Place | None, radius_km: float) -> None:
    """Stores that a Box moves now from the place `before`; None: it had none."""
    salt, now_ms = people.installation_secret(SALT_NAME), time.time_ns() // 1_000_000
    shown = None if before is None else fuzzed_place(before, salt, radius_km)
    people.change_access(box_id, lambda was: moved(was, shown, now_ms))


def public_mark(access: BoxAccess | None, near: Place | None, now_ms: int) -> Place | None:
    """Where everybody sees a Box now; `near`: the public place of where it is."""
    if near is None or access is None or now_ms >= access.mark_until_ms:
        return near
    return (access.mark_place[0], access.mark_place[1]) if len(access.mark_place) == 2 else None
