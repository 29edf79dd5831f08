"""`POST /notify`: accepts a row of a stream rule, for the account of the request's token.

    {"id": "rule1:42", "rule": "rule1", "text": "THD 9 % at Box 3", "severity": 5, "box_id": "3", "row": {}}

`text` is required, the rest is optional. A retry with the same `id` adds nothing. The answer is `{"accepted":
n}`, the number of the account's rules to which the row was news."""

import json
import math
import secrets
import threading
from collections.abc import Mapping

from opq_cloud.core.service import ServiceCounters
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.store.records.accounts.account_records import AccountRecords, secret_hash
from opq_proto.errors import StoreError
from opq_proto.kit.http_server import Reply, ReplyHandler
from opq_proto.kit.rate_limit import TokenBuckets

PATH = "/notify"
PURPOSE = "notify"
"""Purpose of the tokens that may send rows and do nothing else."""
MAX_BYTES = 16_384
TEXT_CHARACTERS = 300
ID_CHARACTERS = 200
ROWS_AT_ONCE = 60
"""Rows at once with one token."""
ROWS_PER_S = 1.0
"""Rows per second with one token after that."""


class SentRow:
    """A posted row, checked. Raises ValueError with the reason where it is invalid."""

    def __init__(self, body: bytes) -> None:
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError('want an object such as {"text": "..."}')
        self.text = self._text(found, "text", TEXT_CHARACTERS)
        if not self.text:
            raise ValueError("text is missing: the words that people read")
        self.row_id = self._text(found, "id", ID_CHARACTERS)
        self.rule = self._text(found, "rule", ID_CHARACTERS)
        self.box_id = self._text(found, "box_id", 32)
        severity = found.get("severity")
        if severity is not None and (
            isinstance(severity, bool)
            or not isinstance(severity, int | float)
            or not (math.isfinite(severity) and 0 <= severity <= 10)
        ):
            raise ValueError(f"severity is {str(severity)[:40]}; want a number from 0 to 10")
        self.severity = severity
        self.row = found.get("row")

    @staticmethod
    def _text(found: Mapping[str, object], name: str, most: int) -> str:
        value = found.get(name, "")
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"{name}: want a text of at most {most} characters")
        return value.encode("utf-8", "replace").decode().strip()  # half a surrogate pair cannot be encoded


class RowsEndpoint:
    """Accepts rows; `reply` may be called from several threads. Counters: `rows`, `rows_refused`."""

    def __init__(self, people: AccountRecords, book: RuleBook, counters: ServiceCounters) -> None:
        self._people = people
        self._book = book
        self._counters = counters
        self._lock = threading.Lock()
        self._allowance = TokenBuckets(ROWS_AT_ONCE, ROWS_PER_S, 10_000)

    def handler(self) -> type[ReplyHandler]:
        endpoint = self

        class RowsHandler(ReplyHandler):
            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if self.path != PATH:
                    self.send_reply(_answer(404, "only POST /notify is answered here"))
                elif not (length.isascii() and length.isdigit()) or int(length) > MAX_BYTES:
                    self.send_reply(_answer(413, f"want a Content-Length of at most {MAX_BYTES}"))
                else:
                    body = self.read_body(int(length))
                    self.send_reply(endpoint.reply(self.headers.get("Authorization", ""), body))

            def do_GET(self) -> None:
                self.send_reply(_answer(405, "only POST /notify is answered here"))

        return RowsHandler

    def reply(self, authorization: str, body: bytes) -> Reply:
        """Returns the answer to one row."""
        kind, _, secret = authorization.partition(" ")
        try:
            ticket = self._people.ticket(secret_hash(secret.strip()), PURPOSE)
            if kind.lower() != "bearer" or ticket is None:
                return self._refused(
                    401, "send Authorization: Bearer opq_…, with a token made under Notifications"
                )
            with self._lock:
                may = self._allowance.spend(ticket.ticket_hash)
            if not may:
                return self._refused(
                    429, f"want at most {ROWS_AT_ONCE} rows at once, then {ROWS_PER_S:g} a second"
                )
            row = SentRow(body)
            return self._add(ticket.account_id, row)
        except StoreError as error:
            return self._refused(503, f"the store cannot be reached now: {error}")
        except (ValueError, RecursionError) as error:
            return self._refused(400, str(error)[:300])

    def _add(self, account_id: str, row: SentRow) -> Reply:
        held = [each for each in self._book.rules("stream_rule") if each.rule.account_id == account_id]
        if row.box_id and not all(each.sight.sees(row.box_id) for each in held):
            return self._refused(403, f"the account does not see Box {row.box_id}")
        self._counters.add("rows")
        made = 0
        for each in held:
            rule = each.rule
            if rule.box_ids and row.box_id not in rule.box_ids:
                continue
            if rule.least_severity and (row.severity or 0.0) < rule.least_severity:
                continue
            made += self._book.add(
                each,
                "rule",
                row.text,
                subject=f"stream rule {row.rule}",
                identity=(row.row_id or secrets.token_hex(8),),
                content={"rule": row.rule, "row": row.row, "severity": row.severity},
                severity=row.severity,
                box_ids=(row.box_id,) if row.box_id else (),
            )
        return _answer(202, made)

    def _refused(self, status: int, why: str) -> Reply:
        self._counters.add("rows_refused", label=str(status))
        return _answer(status, why)


def _answer(status: int, result: str | int) -> Reply:
    document = {"accepted": result} if isinstance(result, int) else {"error": result}
    return status, "application/json", json.dumps(document).encode()
