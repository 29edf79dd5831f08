"""`opq-tools inject`: publish into a running Mauka what the bus would carry (opq-interop E.5)."""

from pathlib import Path

import click

from opq_cloud.mauka.inject import event_message, inject
from opq_cloud.mauka.messages import LARGEST_ID, MAKAI_EVENT
from opq_proto.ports import with_offset


@click.command("inject")
@click.argument("topic")
@click.argument("message", required=False)
@click.option(
    "--event-id",
    "event_ids",
    type=click.IntRange(1, LARGEST_ID),
    multiple=True,
    help="A stored event, to be analysed (again); repeatable.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The message as bytes, e.g. a serialized MaukaMessage.",
)
@click.option("--endpoint", help="The bus, where plug-ins publish.  [default: tcp://127.0.0.1:9882]")
@click.option("--port-offset", type=int, default=0, help="Of the running system.")
def command(
    topic: str,
    message: str | None,
    event_ids: tuple[int, ...],
    path: Path | None,
    endpoint: str | None,
    port_offset: int,
) -> None:
    """Publish on TOPIC of Mauka's bus: the text MESSAGE, a file, or stored events.

    Injecting an event again changes nothing that is stored: each finding is kept once.

    \b
    Examples: opq-tools inject MakaiEvent --event-id 1
              opq-tools inject AnalysisRunner EXIT
    """
    given = [message is not None, path is not None, bool(event_ids)]
    if sum(given) != 1:
        raise click.UsageError("want exactly one of MESSAGE, --file and --event-id")
    if event_ids and topic != MAKAI_EVENT:
        raise click.UsageError(f"--event-id goes with the topic {MAKAI_EVENT}, not {topic}")
    if event_ids:
        messages = [event_message(event_id) for event_id in event_ids]
    else:
        body = path.read_bytes() if path is not None else (message or "").encode()
        messages = [(topic, body)]
    try:
        where = endpoint or f"tcp://127.0.0.1:{with_offset('mauka_in', port_offset)}"
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    count = inject(messages, where)
    click.echo(f"published {count} message{'s' if count != 1 else ''} on {topic} at {where}")
