"""Which of several processes on one store has a duty: on both stores, by their own clocks."""

from collections.abc import Callable
from typing import Any

from opq_cloud.store.records.lease import BEAT_S, HELD_S, TAKEN_S, StoreLease
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError


class By:
    """A process' lease, looked at by hand."""

    def __init__(self, store: CloudStore, clock: list[float]) -> None:
        self.lease = StoreLease("mauka", lambda: store.people.documents, lambda: clock[0])

    def holds(self) -> bool:
        return self.lease.held()


def test_one_process_has_a_duty_and_another_one_takes_it_when_nothing_is_heard(
    open_again: Callable[[], CloudStore],
) -> None:
    one_s, two_s = [100.0], [5000.0]  # clocks of two machines
    one, two = By(open_again(), one_s), By(open_again(), two_s)

    def look(*each: Any) -> list[bool]:
        for clock in (one_s, two_s):
            clock[0] += BEAT_S
        for by in each:
            by.lease.renew()
        return [one.holds(), two.holds()]

    assert look(one, two) == [False, False]  # written, and not yet seen again
    for _ in range(10):
        assert look(one, two) == [True, False]
    assert two.lease.holder == one.lease.holder and "works here" in one.lease.info
    states = [look(two) for _ in range(int(TAKEN_S) + 2)]  # the first stands still, or is killed
    assert [True, True] not in states and states[-1] == [False, True]
    assert [each[0] for each in states].count(True) < HELD_S
    assert look(one, two) == [False, True]  # it goes on, and sees that it has lost it
    two.lease.close()
    assert look(one) == [True, False]  # at once: nobody had to be waited for


def test_a_word_that_came_slowly_is_as_old_as_it_was_heard(open_again: Callable[[], CloudStore]) -> None:
    one_s, two_s = [100.0], [5000.0]
    one, store = By(open_again(), one_s), open_again()
    slow_s = [TAKEN_S + 4.0]

    class Slow:
        """Its first answer has been long on the way."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store.people.documents, name)

        def get(self, *values: str) -> Any:
            found = store.people.documents.get(*values)
            two_s[0] += slow_s.pop() if slow_s else 0.0
            return found

    two = StoreLease("mauka", Slow, lambda: two_s[0])
    for _ in range(2):
        one.lease.renew()
    for _ in range(2):
        two.renew()
        two_s[0] += BEAT_S
    two.renew()
    assert one.holds() and not two.held()


def test_who_cannot_reach_the_store_has_no_duty_and_asks_again(open_again: Callable[[], CloudStore]) -> None:
    now_s, store, away = [100.0], open_again(), [False]

    def documents() -> Any:
        if away[0]:
            raise StoreError("away")
        return store.people.documents

    lease = StoreLease("event-service", documents, lambda: now_s[0])
    for _ in range(2):
        lease.renew()
    assert lease.held()
    away[0] = True
    now_s[0] += HELD_S
    assert not lease.held()
    away[0] = False
    lease.renew()
    assert lease.held()
