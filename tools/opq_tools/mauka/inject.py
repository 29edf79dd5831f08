"""`opq-tools inject`: publishes messages on the bus of a running Mauka (docs/reference/opq-interop.md
E.5)."""

from contextlib import closing
from pathlib import Path

import click

from opq_cloud.mauka.bus.broker import event_message, inject
from opq_cloud.mauka.bus.bus_messages import LARGEST_ID, MAKAI_EVENT
from opq_cloud.mauka.original.settings import read_settings
from opq_cloud.mauka.plugin import PUB_KEY
from opq_cloud.store import FILE_NAME, open_store
from opq_cloud.store.store import CloudStore
from opq_proto.errors import ConfigError
from opq_proto.kit.shared_options import data_dir_option, mongo_option, port_offset_option
from opq_proto.kit.system_place import find_system
from opq_tools.shared.input_file import read_input
from opq_tools.shared.moment import from_option, to_option
from opq_tools.shared.service_address import service_address

MAX_EVENTS = 100_000
"""Most events in one range; the bus takes that many at once."""


@click.command("inject")
@click.argument("words", nargs=-1, required=True, metavar="[CONFIG] TOPIC [MESSAGE]")
@click.option(
    "--event-id",
    "event_ids",
    type=click.IntRange(1, LARGEST_ID),
    multiple=True,
    help="Number of a stored event to analyse again; repeatable.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the message as bytes, e.g. a serialized MaukaMessage.",
)
@from_option("All stored events from this time on (UTC).")
@to_option("All stored events before this time (UTC).")
@data_dir_option
@mongo_option
@click.option(
    "--endpoint", help="Address of the bus where plug-ins publish.  [default: that of the data folder]"
)
@port_offset_option
def command(
    words: tuple[str, ...],
    event_ids: tuple[int, ...],
    path: Path | None,
    start_ns: int | None,
    end_ns: int | None,
    data_dir: Path | None,
    mongo_uri: str | None,
    endpoint: str | None,
    port_offset: int | None,
) -> None:
    """Publish on TOPIC of Mauka's bus: the text MESSAGE, a file, stored events or a range of them.

    With three words, as in the original, CONFIG is a mauka.config.json that has the address of the bus.
    An event that is injected again is analysed again, and each finding is stored once. With --endpoint but no
    store, --event-id is published without a check.

    \b
    Examples: opq-tools inject MakaiEvent --event-id 1
              opq-tools inject MakaiEvent --from 2026-11-20 --data-dir D
              opq-tools inject AnalysisRunner EXIT
              opq-tools inject mauka.config.json foo "some text"
    """
    if len(words) > 3:
        raise click.UsageError("want [CONFIG] TOPIC [MESSAGE]; put a message of several words in quotes")
    if len(words) == 3:
        if endpoint is not None:
            raise click.UsageError("want CONFIG or --endpoint, not both")
        endpoint, words = address_in(Path(words[0])), words[1:]
    topic, message = words[0], words[1] if len(words) == 2 else None
    ranged = start_ns is not None or end_ns is not None
    if sum([message is not None, path is not None, bool(event_ids), ranged]) != 1:
        raise click.UsageError("want exactly one of MESSAGE, --file, --event-id and --from/--to")
    if (event_ids or ranged) and topic != MAKAI_EVENT:
        raise click.UsageError(f"stored events go with the topic {MAKAI_EVENT}, not {topic}")
    folder, offset = find_system(data_dir, port_offset)
    store_is_known = data_dir or mongo_uri or (endpoint is None and (folder / FILE_NAME).exists())
    if ranged or (event_ids and store_is_known):
        with closing(open_store(mongo_uri, folder)) as store:
            event_ids = stored_events(store, event_ids, start_ns, end_ns)
        if not event_ids:
            raise click.ClickException("no event is stored in that time; nothing was published")
    if event_ids:
        messages = [event_message(event_id) for event_id in event_ids]
    else:
        body = read_input(path) if path is not None else (message or "").encode()
        messages = [(topic, body)]
    where = endpoint or service_address("bus-in", offset, folder)
    count = inject(messages, where)
    click.echo(f"published {count} message{'s' if count != 1 else ''} on {topic} at {where}")


def address_in(config: Path) -> str:
    """The address where plug-ins publish, from a mauka.config.json. Raises ConfigError."""
    endpoint = read_settings(config).get(PUB_KEY)
    if not isinstance(endpoint, str):
        raise ConfigError(f"{config} has no {PUB_KEY}, the address where plug-ins publish")
    return endpoint


def stored_events(
    store: CloudStore, named: tuple[int, ...], start_ns: int | None, end_ns: int | None
) -> tuple[int, ...]:
    """The named ids, or else ids of the events of [start, end), oldest first."""
    if named:
        if missing := [str(each) for each in named if store.event_record(each) is None]:
            raise click.ClickException(
                f"no event {', '.join(missing)} is stored; nothing was published (--data-dir names the store)"
            )
        return named
    records = store.events(start_ns, end_ns, limit=MAX_EVENTS)
    return tuple(record.event_id for record in reversed(records))
