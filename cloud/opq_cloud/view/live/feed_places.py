"""Who has the places of live feeds, and who gives one up when all are taken.

Kept apart from the hub, because it knows nothing of what is sent. The hub calls all of this under its lock.
"""

from collections import Counter, defaultdict

from opq_cloud.view.live.feed_streams import FeedHolder, Subscriber

SHARE = 4
"""A holder may have a quarter of the places (150 of 600 are twelve people with twelve tabs), and a quarter is
kept for accounts: strangers have it only while accounts do not use it."""
MIN_OF_HOLDER = 12


class FeedPlaces:
    """The open streams by holder: an account, or else the network of an address."""

    def __init__(self, places: int) -> None:
        self.of_holder = max(MIN_OF_HOLDER, places // SHARE)
        """The most places of one holder."""
        self._of_accounts = places // SHARE
        """Places that accounts together do not lose to strangers."""
        self._open: defaultdict[FeedHolder, dict[Subscriber, None]] = defaultdict(dict)
        """The streams of each holder, the oldest first."""
        self._ending: Counter[FeedHolder] = Counter()
        """Streams that gave up their place and whose connection has not ended: they count for their holder,
        so that a client that reads nothing cannot collect them."""

    def has_its_most(self, holder: FeedHolder) -> bool:
        """Whether a holder may have no further place; programs of this machine have no such limit."""
        return bool(holder.key) and self._count(holder) >= self.of_holder

    def giver(self, holder: FeedHolder) -> Subscriber | None:
        """The stream that gives its place to a newcomer when all are taken; None: the newcomer gets none.

        It is the oldest of who has most, if that is still as many as the newcomer then has: so two never take
        a place from each other in turn. An account gets one of the places that are kept for accounts from
        strangers in any case.
        """
        of_accounts = sum(len(streams) for each, streams in self._open.items() if each.account)
        strangers = self._most(with_accounts=False)
        if holder.account and of_accounts < self._of_accounts and strangers is not None:
            return strangers[1]
        most = self._most(with_accounts=True)
        if not holder.account and of_accounts <= self._of_accounts:
            most = strangers
        return most[1] if most is not None and most[0] > self._count(holder) + 1 else None

    def enter(self, stream: Subscriber) -> None:
        self._open[stream.holder][stream] = None

    def give_up(self, stream: Subscriber) -> None:
        """Takes the place of a stream, whose connection is about to end."""
        self._leave_open(stream)
        self._ending[stream.holder] += 1

    def leave(self, stream: Subscriber) -> None:
        """Notes that the connection of a stream has ended."""
        if self._leave_open(stream):
            return
        self._ending[stream.holder] -= 1
        if self._ending[stream.holder] <= 0:
            del self._ending[stream.holder]

    def _count(self, holder: FeedHolder) -> int:
        return len(self._open.get(holder, ())) + self._ending[holder]

    def _most(self, with_accounts: bool) -> tuple[int, Subscriber] | None:
        """How many streams the holder has who has most, and the oldest of them; among equals a stranger's."""
        ranked = [
            (len(streams), not holder.account, streams)
            for holder, streams in self._open.items()
            if with_accounts or not holder.account
        ]
        if not ranked:
            return None
        count, _, streams = max(ranked, key=lambda each: each[:2])
        return count, next(iter(streams))

    def _leave_open(self, stream: Subscriber) -> bool:
        streams = self._open.get(stream.holder, {})
        if stream not in streams:
            return False
        del streams[stream]
        if not streams:
            del self._open[stream.holder]
        return True
