"""StoreAcknowledgements: what every store has, of those that acknowledge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_gateway.uplink.backlog import CloudAcknowledgement, acknowledgement
from opq_gateway.uplink.store_acknowledgements import FORGOTTEN_S, MAX_STORES, StoreAcknowledgements


def said(upto: int, store: str, *missing: tuple[int, int]) -> CloudAcknowledgement:
    return CloudAcknowledgement(upto, missing, store=store)


def test_with_one_store_its_word_is_all() -> None:
    stores = StoreAcknowledgements()
    for upto in (100, 120, 110):  # a store put back from a copy has less
        assert stores.combine(said(upto, "a"), upto) == said(upto, "a")
    assert stores.text() == ""


def test_a_measurement_waits_for_both_stores() -> None:
    stores = StoreAcknowledgements()
    stores.combine(said(100, "a"), 0.0)
    assert stores.combine(said(90, "b"), 1.0).upto == 90
    assert stores.combine(said(200, "a"), 60.0).upto == 90  # b is away
    assert stores.combine(said(90, "b", (91, 200)), 65.0) == said(90, "b", (91, 200))
    assert stores.combine(said(205, "b"), 70.0).upto == 200


def test_a_vanished_store_is_forgotten() -> None:
    stores = StoreAcknowledgements()
    stores.combine(said(90, "b"), 0.0)
    assert stores.combine(said(100, "a"), FORGOTTEN_S).upto == 90
    assert stores.combine(said(101, "a"), FORGOTTEN_S + 1.0).upto == 101


def test_a_restart_forgets_no_store() -> None:
    before, after = StoreAcknowledgements(), StoreAcknowledgements()
    before.combine(said(90, "b"), 0.0)
    before.combine(said(100, "a"), 1.0)
    after.restore(before.text(), 5.0)
    assert after.combine(said(110, "a"), 6.0).upto == 90


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:1,", "a:-1", "A:1", "a:1;b:2", "a:" + "9" * 30])
def test_what_cannot_be_read_names_no_store(text: str) -> None:
    stores = StoreAcknowledgements()
    stores.restore(text, 0.0)
    assert stores.combine(said(5, "z"), 1.0).upto == 5


def test_ever_new_stores_take_no_memory() -> None:
    stores = StoreAcknowledgements()
    for number in range(1000):
        stores.combine(said(number, f"s{number}"), 0.0)
    assert len(tuple(stores.others)) == MAX_STORES


@pytest.mark.parametrize(
    ("identity", "store"),
    [
        ("ack_0123456789abcdef_store", "0123456789abcdef"),
        ("ack_5e0f4b3c-3b1e-4b60-93f8-6f9d7f3c2a11_0", ""),  # a Makai that does not name it
        ("ack_A:1,b_store", ""),
        ("", ""),
    ],
)
def test_the_identity_of_an_acknowledgement_names_the_store(identity: str, store: str) -> None:
    assert acknowledgement("7", identity) == CloudAcknowledgement(7, store=store)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=30))
def test_nothing_is_released_that_a_store_lacks(word: list[tuple[str, int]]) -> None:
    stores, newest = StoreAcknowledgements(), dict[str, int]()
    for at, (store, upto) in enumerate(word):
        newest[store] = upto
        assert stores.combine(said(upto, store), float(at)).upto == min(newest.values())
