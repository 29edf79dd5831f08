"""Converts the notification preferences of the original's View (`UserProfiles`, D.8) to rules of ours. Pure.

The original mailed hourly, or daily at 6:00. It sent texts as mails to the telephone's carrier, which we do
not do.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from opq_cloud.store.records.notifications import NotificationRule

DIGEST_OF = {"once an hour": "hourly", "once a day": "daily"}
DAILY_AT = "06:00"
NAMES = {"incident": "New incidents", "silence": "Silent Boxes", "health": "Services down"}


def original_rules(
    account_id: str, preferences: Mapping[str, Any], admin: bool, now_ms: int
) -> list[NotificationRule]:
    """Rules by mail, disabled where the profile wants no mail or "never"; none where no type is chosen.

    "system service down" also came for Boxes, so it becomes a rule of silent Boxes, and for administrators
    also one of services.
    """
    chosen = preferences.get("notification_types")
    types = {str(each).strip().lower() for each in chosen} if isinstance(chosen, list) else set()
    about = ["incident"] if "new incident" in types else []
    if "system service down" in types:
        about += ["silence", "health"] if admin else ["silence"]
    often = str(preferences.get("max_per_day") or "").strip().lower()
    enabled = preferences.get("email") is True and often != "never"
    return [
        NotificationRule(
            secrets.token_hex(8),
            account_id,
            NAMES[each],
            each,
            "mail",
            now_ms,
            enabled=enabled,
            digest=DIGEST_OF.get(often, "none"),
            digest_at=DAILY_AT,
        )
        for each in about
    ]
