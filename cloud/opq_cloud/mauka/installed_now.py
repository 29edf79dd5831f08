"""Installed analyses for one run: those of its beginning, each in the version of then until the run ends.

What `InstalledAnalyses` follows for years is here read once, and nothing is reported to Makai's host: a run
beside the cloud changes nothing of what runs in it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opq_cloud.mauka.installed_analyses import KIND, InstalledAnalysis
from opq_plugins.host.following import Following
from opq_plugins.policy import Policy
from opq_proto.errors import OpqError

INDEX = "plugins"
"""Stands for the list of what is installed, where that cannot be read."""


@dataclass(frozen=True, slots=True)
class InstalledNow:
    """`analyses`: those that run, `names` all that are installed, `not_run` what does not start -> why."""

    analyses: tuple[InstalledAnalysis, ...] = ()
    names: tuple[str, ...] = ()
    not_run: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def installed_now(
    folder: Path,
    policy: Policy,
    settings: Mapping[str, Mapping[str, object]],
    built_in: Collection[str],
    wanted: Collection[str] | None = None,
) -> Iterator[InstalledNow]:
    """Start them, in processes of their own where the policy does not trust them; ended afterwards.

    Args:
        folder: of Makai's host (`rules_folder`); one that is not there has none.
        settings: of installed analyses, by name; others have their defaults.
        built_in: names that are taken.
        wanted: only these; None: all.
    """
    with ExitStack() as opened:
        following = Following(folder, {KIND}, policy)
        opened.callback(following.close)
        following.poll()
        not_run = dict(following.troubles())
        if following.problem:
            not_run[INDEX] = following.problem
        found = []
        names = tuple(sorted(following.types(KIND)))
        for name in names:
            if name in built_in:
                not_run[name] = f"analysis {name!r} is built in: the installed one needs another name"
            elif wanted is None or name in wanted:
                own = settings.get(name, {})
                try:
                    plugin = following.analysis(name)()
                    opened.callback(plugin.close)
                    plugin.configure(own)
                except (OpqError, ValueError, OSError) as error:
                    not_run[name] = f"analysis {name!r} does not start: {error}"
                else:
                    found.append(InstalledAnalysis(name, plugin, own))
        yield InstalledNow(tuple(found), names, not_run)
