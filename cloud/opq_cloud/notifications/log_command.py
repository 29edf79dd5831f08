"""`opq-cloud notifications log`: messages that were sent or wait, and the unsent ones with the reason."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opq_proto.errors import OpqError
from opq_proto.kit.command_line import text_table
from opq_proto.kit.shared_options import configs_option, data_dir_option, json_option
from opq_proto.kit.system_place import find_system

if TYPE_CHECKING:
    from opq_cloud.store.records.accounts.notifications import NotificationEntry


@click.command("log")
@click.option("--account", default="", help="E-mail of one account.  [default: all]")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000))
@configs_option
@data_dir_option
@json_option
def notifications_log(
    paths: tuple[Path, ...], data_dir: Path | None, account: str, limit: int, as_json: bool
) -> None:
    """List the messages that were sent, that wait, and that were not sent, with the reason; the newest first.

    Example: opq-cloud notifications log --data-dir D --account ada@example.org
    """
    # here, because the command is part of every `opq-cloud`
    from opq_cloud.core.original.original_settings import read_config
    from opq_cloud.store import opened_people
    from opq_cloud.store.records.accounts.notifications import NotificationRecords

    try:
        config = read_config(paths, {})
        where = config.store.data_dir or data_dir or config.data_dir or find_system(None, None)[0]
        with opened_people(config.store.mongo_uri, where) as people:
            account_id = ""
            if account:
                found = people.account_of(account)
                if found is None:
                    raise OpqError(f"there is no account {account}")
                account_id = found.account_id
            emails = {each.account_id: each.email for each in people.accounts()}
            entries = NotificationRecords(people.documents).entries(account_id, limit)
    except OpqError as error:
        click.echo(f"opq-cloud notifications log: {error}", err=True)
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps([_document(each, emails.get(each.account_id)) for each in entries]))
        return
    rows = [_cells(each, emails.get(each.account_id, each.account_id)) for each in entries]
    headings = ("made (UTC)", "state", "channel", "to", "what")
    click.echo(text_table(headings, rows) if rows else "nothing yet")


def _document(entry: "NotificationEntry", email: str | None) -> dict[str, object]:
    return {**asdict(entry), "content": json.loads(entry.content), "account": email}


def _cells(entry: "NotificationEntry", email: str) -> tuple[str, ...]:
    made = datetime.fromtimestamp(entry.made_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    why = f" ({entry.why})" if entry.why else ""
    return made, entry.state, entry.channel, email, f"{entry.headline}{why}"
