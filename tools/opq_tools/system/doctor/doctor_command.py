"""`opq-tools doctor`: what is wrong with this machine and the system on it, each with what helps."""

import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import click

from opq_proto.kit.shared_options import any_data_dir_option, json_option, port_offset_option
from opq_proto.kit.system_place import find_system
from opq_tools.system.doctor.addresses import check_services
from opq_tools.system.doctor.bundle import write_bundle
from opq_tools.system.doctor.folder_check import check_folder
from opq_tools.system.doctor.machine import check_machine


@click.command(short_help="What is wrong with this machine and the system on it, and what helps.")
@click.option("--fix", is_flag=True, help="Mend what can be mended safely; say what was.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a .tar.gz for the person who helps: findings, logs, configurations, no secrets.",
)
@any_data_dir_option
@port_offset_option
@json_option
def command(
    fix: bool, bundle: Path | None, data_dir: Path | None, port_offset: int | None, as_json: bool
) -> None:
    """Say what is wrong with this machine and the system on it, each with what helps.

    Ends with 1 if anything is wrong.

    Looks at the clock, limits, packages, firewall, serial ports, disk, keys, configurations, store, ports and
    services.

    Example: opq-tools doctor --fix
    """
    folder, offset = find_system(data_dir, port_offset)
    with ThreadPoolExecutor(1) as pool:  # a service that hangs is waited for meanwhile
        of_services = pool.submit(lambda: list(check_services(folder, offset)))
        found = [*check_machine(), *check_folder(folder), *of_services.result()]
    problems = [each for each in found if not each.is_note]
    notes = [each.text for each in found if each.is_note]
    left = []
    for problem in problems:
        mended = False
        if fix and problem.mend is not None:
            try:
                problem.mend()
                mended = True
            except OSError as error:
                click.echo(f"{problem.what}: not mended: {error.strerror}", err=True)
        if not mended:
            left.append(problem)
        if not as_json:
            click.echo(f"{problem.what}: {problem.text}")
            click.echo(f"    {'mended: ' if mended else ''}{problem.fix}")
    for note in () if as_json else notes:
        click.echo(f"note: {note}")
    rows = [
        {"what": each.what, "text": each.text, "fix": each.fix, "mended": each not in left}
        for each in problems
    ]
    if bundle is not None:
        about = {
            "version": version("opq-toolkit"),
            "python": platform.python_version(),
            "machine": platform.platform(),
        }
        write_bundle(bundle, folder, {**about, "problems": rows, "notes": notes})
    if as_json:
        click.echo(json.dumps({"ok": not left, "data_dir": str(folder), "problems": rows, "notes": notes}))
    elif not problems:
        click.echo(f"{folder}: nothing is wrong")
    sys.exit(1 if left else 0)
