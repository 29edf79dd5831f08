"""What the tests of several modules of View share; no file of their own may be imported for a fixture."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def cheap_argon2() -> Iterator[None]:
    """The same argon2id with its least parameters: a module here signs in some fifty times."""
    from account_scene import argon2_of
    from argon2 import PasswordHasher

    with argon2_of(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)):
        yield
