"""A gateway's update under SIGKILL and power cuts: the old or the new version works each time.

The whole: pytest -m slow gateway/tests/test_update_cuts.py -n 0 -s (300 of each). Kills come in batches of 50
that run by themselves: `-k kills`, or `…::test_what_300_kills_leave_works[3]`.
"""

import os
import random
from collections.abc import Iterator

import pytest
from update_scene import Scene, make_bundle, web_server
from update_world import NEW, OLD, Moment, UpdateWorld, first_tree, sources, updater_script

from opq_gateway.update.decide import Role, at_start

COUNT = int(os.environ.get("OPQ_TEST_CUTS", "300"))
BATCH = 50


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpdateWorld]:
    folder = tmp_path_factory.mktemp("cuts")
    scene = Scene(folder / "repository")
    scene.add(make_bundle(folder, NEW, updater_script(), sources()), NEW)
    scene.roll_out(NEW)
    first = first_tree(folder / "first", folder / "old", updater_script())
    with web_server(folder / "repository") as server:
        yield UpdateWorld(folder, scene, server.url, first)


def test_an_update_goes_through(world: UpdateWorld) -> None:
    world.reset()
    assert world.version() == OLD
    assert world.run_on() == NEW
    assert world.folder.linked == "a" and not world.folder.bundle.exists()


def killed(world: UpdateWorld, at: int) -> str:
    """An update that is killed before its `at`th change, then goes on; returns the version right after."""
    while True:
        world.reset()
        if world.run_to_kill(at):
            break
        at -= 1  # one update has a few changes more than another: looks, while it waits
        assert at > 0
    found = world.version()
    end, refused = world.run_on(), world.folder.read().refused
    assert end == NEW or (end == OLD and NEW in refused), (end, refused)
    return found


@pytest.mark.parametrize("at", [12, 70])
def test_what_a_kill_leaves_works(world: UpdateWorld, at: int) -> None:
    assert killed(world, at) in (OLD, NEW)


def survives(world: UpdateWorld, moment: Moment, chance: random.Random, run_on: bool) -> tuple[str, str]:
    """What a power cut at this moment leaves works; returns the version that the link names, and the step."""
    world.put_back(moment, chance)
    found = world.version()
    journal, linked = world.folder.read(), world.folder.linked
    role, _ = at_start(journal, linked, linked, "another")
    if role is Role.TRY:  # what would be tried is whole
        assert world.version(world.folder.tree(journal.tree)) == NEW
    if run_on:
        assert world.run_on() == NEW
    return found, journal.step


def test_what_a_power_cut_leaves_works(world: UpdateWorld) -> None:
    chance, moments = random.Random(46), world.recorded()
    assert len(moments) > 60
    ready = [each for each in moments if (each.place / "journal.json").exists()]
    found = [survives(world, each, chance, False) for each in (moments[30], ready[0], ready[-1])]
    assert {each for each, _ in found} == {OLD, NEW}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_what_300_kills_leave_works(world: UpdateWorld, batch: int) -> None:
    points = list(range(1, len(world.recorded())))
    random.Random(461).shuffle(points)  # each of them before any is taken again
    numbers = range(batch * BATCH, min(COUNT, (batch + 1) * BATCH))
    at = [points[number % len(points)] for number in numbers]
    found = [killed(world, each) for each in at]
    print(
        f"\nKILLED {len(found)} at {len(set(at))} of {len(points)} changes; "
        f"right after: old {found.count(OLD)}, new {found.count(NEW)}",
        flush=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_what_300_power_cuts_leave_works(world: UpdateWorld) -> None:
    chance, moments = random.Random(462), world.recorded()
    found = [
        survives(world, chance.choice(moments), chance, run_on=number % 20 == 0) for number in range(COUNT)
    ]
    versions, steps = [each for each, _ in found], [each for _, each in found]
    print(
        f"{len(found)} power cuts at {len(moments)} moments; "
        f"right after: old {versions.count(OLD)}, new {versions.count(NEW)}; "
        + ", ".join(f"{step} {steps.count(step)}" for step in sorted(set(steps)))
    )
