"""The group `release`, and its commands `publish` and `rollout`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from opq_proto.firmware.image import ImageError, read_bundle, read_header, version_text
from opq_proto.keys.signing import read_private, read_public
from opq_proto.kit.shared_options import json_option
from opq_proto.release.plan import KINDS, WHOLE_SHARE, Plan, ReleaseError, target_name
from opq_tools.lazy_group import LazyGroup

PLACES = {
    "build": (
        "firmware.release.build",
        "A bundle of a gateway's wheels, to be installed without internet.",
    ),
    "sign": (
        "firmware.release.sign",
        "Sign firmware, a repository's file or any other; check signatures.",
    ),
}
LOOKS = (
    "Gateways look within the hour, then each minute; `opq-tools box update BOX --look`: that of a Box now."
)
online_option = click.option(
    "--online-key",
    "online",
    type=click.Path(path_type=Path),
    required=True,
    metavar="KEY",
    help="The private key that signs time stamps and plans.",
)


@click.group("release", cls=LazyGroup, places=PLACES)
def command() -> None:
    """Releases for gateways and Boxes: built, signed off line, published, rolled out.

    Example: opq-tools release build opq_toolkit-0.2.0-py3-none-any.whl
    """


@command.command("publish", short_help="Put releases into a repository, and publish what is signed.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@online_option
@click.option(
    "--root-key",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PUB",
    help="A public root key; with --release-key it makes the first or the next root.",
)
@click.option(
    "--release-key",
    "releasers",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PUB",
    help="A public key that signs releases.",
)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Signatures that a new root needs.",
)
@click.option(
    "--release-threshold",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Signatures that a release needs.",
)
@json_option
def publish(
    folder: Path,
    files: tuple[Path, ...],
    online: Path,
    roots: tuple[Path, ...],
    releasers: tuple[Path, ...],
    root_threshold: int,
    release_threshold: int,
    as_json: bool,
) -> None:
    """Put FILES (bundles, .opqfw) into the repository in FOLDER, and publish what has its signatures.

    What needs a key that is off line waits in FOLDER/staged until `release sign` has signed it; then run
    this again. Without FILES it renews the time stamp, for a web server that only serves files. The first
    time, and for new keys, --root-key and --release-key name all public keys.

    Example: opq-tools release publish D/updates gateway-0.2.0-cp311-aarch64.zip --online-key online.pem
    """
    from opq_cloud.update.repository import ReleaseRepository

    repository = ReleaseRepository(folder)
    key = read_private(online)
    if bool(roots) != bool(releasers):
        raise click.UsageError(
            "--root-key and --release-key belong together: they name all keys of the new root"
        )
    if roots:
        of_root, of_releases = ([read_public(each) for each in keys] for keys in (roots, releasers))
        repository.stage_root(of_root, of_releases, key.public_key(), root_threshold, release_threshold)
    if files:
        repository.stage_releases(dict(_release(each) for each in files))
    lacking = repository.publish(key)
    if as_json:
        click.echo(json.dumps({"lacking": lacking, "releases": sorted(repository.releases())}, indent=1))
        return
    for words in lacking:
        click.echo(f"waits: {words}")
    if not lacking:
        click.echo(f"published: {folder} has {len(repository.releases())} releases")


def _release(file: Path) -> tuple[str, tuple[Path, Mapping[str, Any]]]:
    """The name of a release's target, and the file with its custom fields. Raises ReleaseError."""
    if file.suffix == ".zip":
        from opq_tools.firmware.release.build import read_facts

        facts = read_facts(file)
        name = target_name("gateway", facts["version"], facts["tag"])
        return name, (file, {"kind": "gateway", "version": facts["version"]})
    try:
        header = read_header(next(iter(read_bundle(file.read_bytes()).values())))
    except (ImageError, StopIteration) as error:
        raise ReleaseError(f"{file} is neither a bundle nor firmware: {error}") from error
    version = version_text(header.version)
    return target_name("firmware", version, header.hardware), (file, {"kind": "firmware", "version": version})


@command.command("rollout", short_help="Which gateways get a version: groups, share, pause, stop.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("version", required=False)
@click.option(
    "--kind", type=click.Choice(KINDS), default="gateway", show_default=True, help="What is rolled out."
)
@click.option(
    "--group", "groups", multiple=True, metavar="NAME", help="Only gateways of this group; repeatable."
)
@click.option("--percent", type=click.IntRange(0, 100), help="Largest share of the gateways.  [default: 100]")
@click.option(
    "--at-once", type=click.IntRange(1, 1000), help="Gateways that try at the same time.  [default: 1]"
)
@click.option(
    "--stop-at", type=click.IntRange(1, 1000), help="Number of failures that stops it.  [default: 1]"
)
@click.option(
    "--step/--all-at-once",
    "step",
    default=True,
    help="An update server opens the share by steps; or the whole share is open now.",
)
@click.option("--pause/--resume", "paused", default=None, help="Hold it, or go on, also after a stop.")
@click.option(
    "--online-key",
    "online",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="The private key that signs plans; without it the plan is only shown.",
)
@json_option
def rollout(
    folder: Path,
    version: str | None,
    kind: str,
    groups: tuple[str, ...],
    percent: int | None,
    at_once: int | None,
    stop_at: int | None,
    step: bool,
    paused: bool | None,
    online: Path | None,
    as_json: bool,
) -> None:
    """Show the plan in the repository in FOLDER, begin the roll-out of VERSION, or change the one under way.

    Example: opq-tools release rollout D/updates 0.2.0 --group pilot --online-key online.pem
    """
    from opq_cloud.update.repository import ReleaseRepository

    repository = ReleaseRepository(folder)
    plan = repository.plan(kind)
    if online is not None:
        changed = _changed(plan, kind, version, groups, percent, at_once, stop_at, step, paused)
        repository.put_plan(changed, read_private(online))
        plan = changed
    elif version is not None:
        raise click.UsageError("--online-key is missing: it signs the plan")
    if plan is None:
        raise ReleaseError(f"{folder} has no plan for {kind}; name a VERSION and --online-key")
    click.echo(json.dumps(plan.fields(), indent=1) if as_json else _words(plan))
    if online is not None and not as_json:
        click.echo(LOOKS)


def _changed(
    plan: Plan | None,
    kind: str,
    version: str | None,
    groups: Sequence[str],
    percent: int | None,
    at_once: int | None,
    stop_at: int | None,
    step: bool,
    paused: bool | None,
) -> Plan:
    """The plan with what the options say; another version begins from nothing."""
    if version is None and plan is None:
        raise click.UsageError("which VERSION? There is no plan yet")
    if plan is None or version not in (None, plan.version):
        plan = Plan(kind, str(version), share=0)
    given: dict[str, Any] = {"percent": percent, "at_once": at_once, "stop_at": stop_at, "paused": paused}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    if groups:
        plan = replace(plan, groups=tuple(groups))
    if paused is False:
        plan = replace(plan, stopped="")
    return plan if step else replace(plan, share=plan.percent * WHOLE_SHARE // 100)


def _words(plan: Plan) -> str:
    state = f"stopped: {plan.stopped}" if plan.stopped else "paused" if plan.paused else "under way"
    of = f" of {', '.join(plan.groups)}" if plan.groups else ""
    return f"{plan.kind} {plan.version}: {state}; open to {plan.share / 100:g} % of {plan.percent} %{of}"
