"""`opq-tools open`: pages in the browser. (`open.py` would hide the built-in name.)"""

import json
import webbrowser
from importlib import resources
from pathlib import Path

import click

from opq_proto.errors import OpqError
from opq_proto.kit.http_client import send_request
from opq_proto.kit.ports import with_offset
from opq_proto.kit.shared_options import data_dir_option, json_option, port_offset_option
from opq_proto.kit.system_place import find_system

PLACES = {
    "page": ("view", "/"),
    "api": ("view", "/api/v1/docs"),
    "health": ("mauka_health", "/"),
    "metrics": ("mauka_health", "/metrics"),
}
"""What can be opened -> (its port, its path)."""
GRAFANA = "http://127.0.0.1:3000/d/opq"
"""The dashboard of deploy/grafana, where compose.yaml publishes it; no offset of ours moves it."""
MONITORING = {
    "alerts.yml": ("prometheus", "the file belongs into `rule_files` of Prometheus' configuration"),
    "opq.json": ("grafana/dashboards", "import it in Grafana; it asks for the data source"),
}
"""What `open grafana --write` writes -> (its folder in deploy/, what to do with it). The wheel has them."""
CHECKOUT = Path(__file__).resolve().parents[3]
ANSWER_S = 3.0


class NotOpenedError(OpqError):
    """There is nothing to open."""


@click.command("open", short_help="Page of the system, Grafana or the documentation, in the browser.")
@click.argument("what", type=click.Choice([*PLACES, "grafana", "docs"]), default="page")
@click.option("--print", "only_print", is_flag=True, help="Print the address only.")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of grafana: open nothing; write its dashboard and the alerts for Prometheus into this folder.",
)
@json_option
@data_dir_option
@port_offset_option
def command(
    what: str,
    only_print: bool,
    folder: Path | None,
    as_json: bool,
    data_dir: Path | None,
    port_offset: int | None,
) -> None:
    """Open the page of the running system in the browser; WHAT is page, api, health, metrics,
    grafana, or docs: the documentation that came with this installation, which needs no network.

    Where there is no browser, open the printed address elsewhere.

    Example: opq-tools open health

    Example: opq-tools open grafana --write monitoring
    """
    if folder is None:
        _show(_address(what, data_dir, port_offset), only_print, as_json)
    elif what != "grafana":
        raise click.UsageError(f"--write belongs to grafana, not to {what}")
    else:
        _write_monitoring(folder, as_json, find_system(data_dir, port_offset)[1])


def _write_monitoring(folder: Path, as_json: bool, offset: int) -> None:
    there = [str(folder / name) for name in MONITORING if (folder / name).exists()]
    if there:
        raise NotOpenedError(
            f"{' and '.join(there)} would be overwritten; remove them, or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, (place, _) in MONITORING.items():
        (folder / name).write_bytes(_monitoring_file(name, place).read_bytes())
    scraped = [
        f"127.0.0.1:{with_offset(port, offset)}" for port in ("mauka_health", "view", "gateway_health")
    ]
    if as_json:
        written = [str(folder / name) for name in MONITORING]
        click.echo(json.dumps({"written": written, "scraped": scraped}))
        return
    for name, (_, use) in MONITORING.items():
        click.echo(f"{folder / name}: {use}")
    click.echo(
        f"Prometheus scrapes /metrics of {', '.join(scraped)} (cloud, page, gateway), by the jobs "
        "`opq` and, for gateways, `gateways`"
    )


def _monitoring_file(name: str, place: str) -> Path:
    """A file of the wheel, or in a checkout its source."""
    for path in (Path(__file__).parents[1] / "monitoring" / name, CHECKOUT / "deploy" / place / name):
        if path.is_file():
            return path
    raise NotOpenedError(f"this installation came without {name}; it is in deploy/ of the repository")


def _show(address: str, only_print: bool, as_json: bool) -> None:
    click.echo(json.dumps({"address": address}) if as_json else address)
    if not only_print and not as_json and not webbrowser.open(address):
        click.echo("no browser could be opened here; open this address in one", err=True)


def _address(what: str, data_dir: Path | None, port_offset: int | None) -> str:
    if what == "docs":
        return _documentation()
    if what == "grafana":
        return _answering(GRAFANA, "start it with deploy/compose.yaml, or open yours by its own address")
    port, path = PLACES[what]
    folder, offset = find_system(data_dir, port_offset)
    own = f"http://127.0.0.1:{with_offset(port, offset)}{path}"
    answering = _answering(own, "start a system with `opq-tools up`, or name its --port-offset")
    public = _public_address(folder) if port == "view" else None
    return answering if public is None else f"{public}{path}"


def _public_address(folder: Path) -> str | None:
    """View's address for others, by the configuration of this machine's cloud; None: it has none."""
    try:
        from opq_tools.shared.opened_store import configured_system  # extra "cloud"
    except ModuleNotFoundError:
        return None
    _, config = configured_system(folder)
    return None if config is None else config.view.address


def _answering(address: str, instead: str) -> str:
    """Returns the address if a server answers there, whatever its answer is. Raises NotOpenedError."""
    try:
        send_request(address, ANSWER_S, method="HEAD")
    except OSError as error:
        raise NotOpenedError(f"nothing answers at {address} ({error}); {instead}") from error
    return address


def _documentation() -> str:
    first = resources.files("opq_tools").joinpath("site", "index.html")
    if not isinstance(first, Path) or not first.is_file():
        raise NotOpenedError(
            "this installation came without the documentation; it is in docs/ of the repository"
        )
    return first.as_uri()
