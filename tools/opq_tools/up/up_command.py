"""`opq-tools up`: runs Boxes, gateway, compact cloud and View in one command."""

import json
import math
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from opq_proto.kit.ending import stopped_by_signals
from opq_proto.kit.shared_options import config_option, json_option, new_data_dir_option, port_offset_option
from opq_proto.kit.system_place import default_data_dir, noted
from opq_proto.kit.system_record import forget_meant, identity_of, note_meant
from opq_sim.box.run_boxes import Fleet, plan_fleet
from opq_tools.shared import values
from opq_tools.shared.data_folder import in_use_by_this
from opq_tools.up.access import page_access, view_url_of
from opq_tools.up.box_places import write_simulated_places
from opq_tools.up.plan import UpPlan, hardware, read_config
from opq_tools.up.plan_store import earlier_incidents
from opq_tools.up.port_claims import claimed_ports, ports_of
from opq_tools.up.run import UpOutcome, UpRun


@click.command("up")
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="[ID=]URL",
    help="A real Box: /dev/serial/by-id/…, socket://host:port; in an emulator: qemu:ID, renode:ID.",
)
@click.option(
    "--replay",
    "replays",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Replay this recording as a Box; repeatable.",
)
@click.option(
    "--sim",
    type=click.IntRange(0, 200),
    default=None,
    metavar="N",
    help="Number of simulated Boxes without disturbance, beside those of --scenario and --replay.",
)
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    shell_complete=values.scenarios,
    default=None,
    help="Scenario that simulated Boxes play: a file, or the name of a shipped one, e.g. village.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Folder for the true disturbances (truth.jsonl), of a scenario that has a network.",
)
@config_option
@new_data_dir_option
@port_offset_option
@click.option("--free-ports", is_flag=True, help="Take the first port offset at which all ports are free.")
@click.option(
    "--replay-every-s",
    type=click.FloatRange(min=15.0),
    default=None,
    help="Seconds from the beginning of one replay to the next.  [default: 60, or the scenario's every_s]",
)
@click.option("--until-incident", is_flag=True, help="End when the first incident is over and on the page.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=1.0),
    default=120.0,
    show_default=True,
    help="With --until-incident: give up after this many seconds.",
)
@json_option
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def command(
    boxes: tuple[str, ...],
    replays: tuple[Path, ...],
    sim: int | None,
    scenario: Path | None,
    truth: Path | None,
    config_path: Path | None,
    data_dir: Path | None,
    port_offset: int | None,
    free_ports: bool,
    replay_every_s: float | None,
    until_incident: bool,
    timeout_s: float,
    as_json: bool,
    open_page: bool,
) -> None:
    """Run Boxes, gateway, cloud and web page on this machine; Ctrl-C ends everything.

    Without --box, --replay and --sim, three Boxes are simulated: Boxes 1 and 4 see a reconstructed
    lightning dip each minute, Box 2 sees no disturbance.

    A file for --config has the tables [gateway] and [cloud], with sections such as [cloud.view]: see
    docs/reference/settings-gateway.md and docs/reference/settings-cloud.md. `opq-tools config check FILE`
    checks it.

    Example: opq-tools up --replay event_9354_box1.i16 --replay event_9354_box4.i16
    """
    if math.isnan(timeout_s):
        raise click.BadParameter("nan is not a time", param_hint="--timeout-s")
    if as_json and not until_incident:
        raise click.UsageError("--json needs --until-incident: it prints the incident and ends")
    if free_ports and port_offset is not None:
        raise click.UsageError("--port-offset and --free-ports are both given; want one")
    config = read_config(config_path)
    fleet: Fleet | None = None
    if replays or sim or scenario or not boxes:
        fleet = plan_fleet(
            replays=replays, sim=sim, scenario=scenario, replay_every_s=replay_every_s, truth=truth
        )
    real = hardware(boxes, fleet.box_ids if fleet else ())
    where = (data_dir or default_data_dir()).expanduser().absolute()
    # the folder before the ports, which another `up` on the folder would hold
    with (
        in_use_by_this(where, beside=" and --port-offset"),
        claimed_ports(ports_of(config), None if free_ports else port_offset or 0, typed_command()) as offset,
        noted(where, offset) as not_noted,
    ):
        if not_noted:
            found = f"--data-dir {where} and --port-offset {offset}"
            click.echo(f"opq-tools up: commands find this system only by {found}: {not_noted}", err=True)
        plan = UpPlan(where, offset, fleet, real, config, trace=until_incident)
        emulators = {box.emulator for box in plan.real if box.emulator}
        if emulators:
            from opq_tools.hil.built_firmware import prepare  # takes minutes at first use: after all checks

            plan = replace(plan, flash=prepare(lambda text: click.echo(text, err=True), emulators))
        plan.prepare()
        if config:
            plan.check()
        write_simulated_places(plan)
        view_url = view_url_of(plan)
        run = UpRun(
            plan,
            view_url,
            timeout_s=timeout_s if until_incident else None,
            chatter=sys.stderr if as_json else sys.stdout,
            access=page_access(plan, view_url),
            earlier=earlier_incidents(plan),
        )
        with stopped_by_signals(run.stop), meant_meanwhile(plan):
            opened = (lambda: webbrowser.open(view_url)) if open_page else None
            outcome = run.run(on_page=opened)
    finish(outcome, as_json)


@contextmanager
def meant_meanwhile(plan: UpPlan) -> Iterator[None]:
    """Notes that gateway and cloud are meant to run until the end of `up`.

    If `up` is killed, they still are.
    """
    identity_of(plan.data_dir)
    services = plan.meant()
    note_meant(plan.data_dir, services)
    try:
        yield
    finally:
        forget_meant(plan.data_dir, [each.name for each in services])


def finish(outcome: UpOutcome, as_json: bool) -> None:
    """Reports how the run ended and exits with its code."""
    if outcome.error:
        click.echo(f"opq-tools up: {outcome.error}", err=True)
        sys.exit(outcome.exit_code)
    if outcome.result and as_json:
        click.echo(json.dumps(outcome.result, ensure_ascii=False))


def typed_command() -> str:
    """The command as typed, without its port offset."""
    words = sys.argv[1:]
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "--port-offset":
            skip = True
        elif not word.startswith("--port-offset="):
            kept.append(word)
    return " ".join(["opq-tools", *(kept or ["up"])])
