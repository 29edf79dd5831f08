"""notify: notifies people of rows, through the cloud's notifications (docs/notifications.md).

Each row is posted with the token of an account, made in View under Notifications; the account's rules for
rows of stream rules determine how people are notified. A retry has the same row id: one notification.
The cloud on this machine may always be reached: the path /notify belongs to no other service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_proto.kit.origin_guard import LOOPBACK_NAMES
from opq_rules.connections.access import Guarded
from opq_rules.connections.http_client import answered, check_accepted, check_url, http_client
from opq_rules.delivery.template import per_row
from opq_rules.delivery.transform import encoded, rows_of
from opq_rules.values.batch import JsonObject

TEXT_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Config:
    token: str = field(metadata={"help": "opq_…; create one in View > Notifications"})
    url: str = field(default="http://127.0.0.1:8917/notify", metadata={"help": "POST /notify of the cloud"})
    text: str = field(
        default="",
        metadata={"help": "text of the notification, may contain {{.column}}; without it: the row"},
    )
    box: str = field(default="box", metadata={"help": "column with the Box's id, if there is one"})
    severity: str = field(
        default="severity", metadata={"help": "column with the severity from 0 to 10, if there is one"}
    )
    timeout: int = field(default=5000, metadata={"minimum": 1, "maximum": 600_000, "ms": True})


class Sink(Guarded, SinkOfSdk):
    wants = "rows"

    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        of_cloud = urlsplit(self._config.url).path == "/notify"
        self._hosts = self.access.hosts.allowing(LOOPBACK_NAMES) if of_cloud else self.access.hosts
        check_url(self._config.url, self._hosts)
        if not self._config.token.startswith("opq_"):
            raise ValueError("token  is not valid; want opq_…; create one in View > Notifications")
        self._text = per_row(self._config.text)

    def open(self, context: Context) -> None:
        headers = {"Authorization": f"Bearer {self._config.token}", "Content-Type": "application/json"}
        self._client = http_client(self._config.timeout / 1000, headers, self._hosts)

    def collect(self, context: SinkContext, data: object) -> None:
        rows, url = rows_of("notify", data), self._config.url
        ids = [*context.row_ids, *[context.row_id] * (len(rows) - len(context.row_ids))]
        for row, row_id in zip(rows, ids, strict=False):
            document = self._document(row, row_id, context.rule_id)
            check_accepted(answered(self._client, "POST", url, content=encoded(document)), url)

    def close(self, context: Context) -> None:
        self._client.close()

    def _document(self, row: Mapping[str, object], row_id: str, rule_id: str) -> JsonObject:
        config = self._config
        words = ", ".join(f"{name} {_shown(value)}" for name, value in row.items())
        text = self._text(row) if config.text else f"{rule_id}: {words}"
        found: JsonObject = {"id": row_id, "rule": rule_id, "text": text[:TEXT_CHARACTERS], "row": dict(row)}
        box, severity = row.get(config.box), row.get(config.severity)
        if isinstance(box, float) and box.is_integer():
            box = int(box)
        if isinstance(box, int | str) and not isinstance(box, bool):
            found["box_id"] = str(box)
        if isinstance(severity, int | float) and not isinstance(severity, bool):
            found["severity"] = min(10.0, max(0.0, float(severity)))
        return found


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
