"""`opq-tools plugin test`: installs a plug-in as a server would, and runs it in the real worker."""

import json
import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from opq_plugins.host.plugins import Plugins
from opq_plugins.package.archive import pack, read_package
from opq_plugins.package.manifest import FOLDERS, PACKAGE
from opq_plugins.policy import NETWORK, Policy
from opq_plugins.sandbox.landlock import why_not
from opq_plugins.sdk import RowError
from opq_proto.errors import PluginError
from opq_proto.kit.shared_options import json_option
from opq_tools.rules.plugin import trial_judging
from opq_tools.rules.plugin.trial_context import TrialContext
from opq_tools.rules.plugin.trial_data_set import DataSetScore, try_data_set
from opq_tools.shared.input_file import read_input

SAMPLES = "samples.json"
MAX_PER_CLASS = 1000


@click.command("test", short_help="Start a plug-in as a server would, and give it its samples.")
@click.argument("plugin", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--samples", type=click.Path(path_type=Path, dir_okay=False), help=f"Default: its own {SAMPLES}."
)
@click.option("--seconds", default=5.0, show_default=True, help="Longest time that a source may take, s.")
@click.option(
    "--data-set",
    "per_class",
    type=click.IntRange(1, MAX_PER_CLASS),
    metavar="N",
    help="For an analysis: also N simulated recordings of each class at 50 and "
    "60 Hz; prints precision and recall.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the recordings.")
@click.option(
    "--network", multiple=True, metavar="WHAT", help="As in [plugins] of a server: tcp:3306, udp, unix."
)
@click.option(
    "--writable",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Folder or file that it may read and write.",
)
@json_option
def command(
    plugin: Path,
    samples: Path | None,
    seconds: float,
    per_class: int | None,
    seed: int,
    network: tuple[str, ...],
    writable: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Test PLUGIN, a folder or a zip: start, handshake, configure, sample rows, inputs that must be refused.

    Exit code 1: a result differs from the samples. --data-set 10 also scores an analysis.

    Example: opq-tools plugin test mysql-sink
    """
    data_set = None if per_class is None else (per_class, seed)
    if wrong := [each for each in network if not re.fullmatch(NETWORK, each)]:
        raise click.BadParameter(f"{wrong[0]!r}; want tcp:PORT, listen:PORT, udp, unix or can")
    allowed = Policy(network=network, writable=writable)
    with tempfile.TemporaryDirectory(prefix="opq-plugin-") as here:
        trial = try_plugin(plugin, samples, seconds, Path(here), data_set, allowed)
    good = all(result.startswith("ok") for result in trial.results.values())
    if as_json:
        result = {"good": good, "results": trial.results, "protections": trial.protections}
        scores = {name: score.as_json() for name, score in trial.scores.items()}
        click.echo(json.dumps(result | ({"data_set": scores} if scores else {}), indent=1))
    else:
        for what, outcome in {**trial.protections, **trial.results}.items():
            click.echo(f"{what}: {outcome}")
        for name, score in trial.scores.items():
            click.echo(f"analysis {name} on the Sim, " + "\n".join(score.lines()))
    sys.exit(0 if good else 1)


@dataclass(slots=True)
class PluginTrial:
    """Result of a test. `results`: check -> "ok" or what was wrong; `protections`: those of its process."""

    results: dict[str, str] = field(default_factory=dict)
    protections: dict[str, str] = field(default_factory=dict)
    scores: dict[str, DataSetScore] = field(default_factory=dict)
    """The score of each analysis, where a data set was asked for."""


def try_plugin(
    plugin: Path,
    samples: Path | None,
    seconds: float,
    here: Path,
    data_set: tuple[int, int] | None = None,
    policy: Policy | None = None,
) -> PluginTrial:
    """Installs a plug-in and tests all its symbols. Raises PluginError.

    Args:
        data_set: (recordings of each class and frequency, seed), for its analyses.
    """
    raw = plugin.read_bytes() if plugin.is_file() else pack(plugin.resolve())[1]
    zipped = here / "uploads" / "plugin.zip"
    zipped.parent.mkdir(parents=True)
    zipped.write_bytes(raw)
    name = _name_of(zipped)
    policy = policy or Policy()
    if why_not():  # its author tries it on a machine that cannot confine it; the protections say so
        policy = replace(policy, trusted=frozenset({name}))
    plugins = Plugins(here, policy)
    try:
        try:
            plugins.create(PACKAGE, name, zipped.as_uri())
            manifest = plugins.describe(PACKAGE, name)
            cases = _samples(samples, here / "plugins" / name / manifest["version"])
            trial = PluginTrial({f"{name} {manifest['version']}": "ok"})
            for kind, folder in FOLDERS.items():
                for symbol in manifest.get(folder, []):
                    about = cases.get(folder, {}).get(symbol)
                    if about is None:
                        trial.results[f"{kind} {symbol}"] = f"ok: started; nothing of it in {SAMPLES}"
                        continue
                    trial.results |= _TRIALS[kind](plugins, symbol, about, seconds)
                    if kind == "analysis" and data_set is not None:
                        trial.results |= _data_set(plugins, symbol, about, data_set, trial.scores)
        except PluginError as error:
            raise PluginError(str(error)) from None
        trial.protections = plugins.status(name)["protections"]
        return trial
    finally:
        plugins.close()


def _sink(plugins: Plugins, symbol: str, about: dict[str, Any], seconds: float) -> dict[str, str]:
    what, results, context = f"sink {symbol}", {}, TrialContext()
    for wrong in about.get("refuse", []):
        results[f"{what} refuses {json.dumps(wrong)}"] = _refuses(
            lambda w=wrong: plugins.sink(symbol)().configure(w)
        )
    sink = plugins.sink(symbol)()
    rows = about.get("rows", [])
    tried = "configures" if about.get("configure_only") else f"{len(rows)} rows"
    results[f"{what}: {tried}"] = _goes(lambda: _feed(sink, about, rows, context))
    return results


def _feed(sink: Any, about: dict[str, Any], rows: list[Any], context: TrialContext) -> None:
    sink.configure(about.get("properties", {}))
    if about.get("configure_only"):
        return
    sink.open(context)
    for number, row in enumerate(rows):
        context.row_ids = [f"test:{number}/0"]
        sink.collect(context, [row])
    sink.close(context)


def _source(plugins: Plugins, symbol: str, about: dict[str, Any], seconds: float) -> dict[str, str]:
    what, results = f"source {symbol}", {}
    for wrong in about.get("refuse", []):
        made = plugins.source(symbol)()
        results[f"{what} refuses {json.dumps(wrong)}"] = _refuses(lambda m=made, w=wrong: m.configure("", w))
    least = int(about.get("at_least", 1))
    context = TrialContext(stop_after=least, seconds=seconds)
    source = plugins.source(symbol)()

    def run() -> None:
        source.configure(about.get("datasource", ""), about.get("properties", {}))
        source.open(context)
        source.close(context)
        if len(context.rows) < least:
            raise PluginError(
                f"{len(context.rows)} records in {seconds:g} s; want {least}. {context.errors[:3]}"
            )

    results[f"{what}: {least} records"] = _goes(run)
    return results


def _function(plugins: Plugins, symbol: str, about: dict[str, Any], seconds: float) -> dict[str, str]:
    factory, results, context = plugins.function(symbol), {}, TrialContext()
    if factory is None:
        return {f"function {symbol}": "is not there"}
    function = factory()
    for case in about.get("cases", []):
        try:
            got = function.exec(case["args"], context)
            result = "ok" if got == case.get("want") else f"gave {got!r}; want {case.get('want')!r}"
        except (RowError, PluginError) as error:
            result = "ok" if "error" in case else str(error)
        results[f"function {symbol}({json.dumps(case['args'])[1:-1]})"] = result
    return results or {f"function {symbol}": "ok"}


def _trigger(plugins: Plugins, symbol: str, about: dict[str, Any], seconds: float) -> dict[str, str]:
    return trial_judging.trial_trigger(plugins, symbol, about)


def _analysis(plugins: Plugins, symbol: str, about: dict[str, Any], seconds: float) -> dict[str, str]:
    return trial_judging.trial_analysis(plugins, symbol, about)


def _data_set(
    plugins: Plugins,
    symbol: str,
    about: dict[str, Any],
    data_set: tuple[int, int],
    scores: dict[str, DataSetScore],
) -> dict[str, str]:
    per_class, seed = data_set
    try:
        scores[symbol] = try_data_set(plugins, symbol, about, per_class, seed)
    except (OSError, ValueError, PluginError) as error:
        return {f"analysis {symbol} on the Sim": str(error) or type(error).__name__}
    return {}


_TRIALS = {
    "sink": _sink,
    "source": _source,
    "function": _function,
    "trigger": _trigger,
    "analysis": _analysis,
}


def _goes(run: Any) -> str:
    try:
        run()
    except (OSError, ValueError, PluginError) as error:
        return str(error) or type(error).__name__
    return "ok"


def _refuses(run: Any) -> str:
    try:
        run()
    except ValueError:
        return "ok"
    except (OSError, PluginError) as error:
        return f"by {error}; want ValueError with the name of the property"
    return "it was accepted"


def _samples(given: Path | None, folder: Path) -> dict[str, Any]:
    path = given or folder / SAMPLES
    if not path.exists():
        return {}
    try:
        contents = json.loads(read_input(path))
    except ValueError as error:
        raise PluginError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(contents, dict):
        raise PluginError(f"{path.name}: want an object")
    return contents


def _name_of(zipped: Path) -> str:
    return read_package(zipped, None, Policy()).manifest.name
