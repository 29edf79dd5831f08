"""A plug-in that attacks, and what its worker keeps it from. Each text is run inside the worker."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plugin_zips import FUNCTION, Whose, plugin_zip, stored

from opq_rules.errors import RowError
from opq_rules.plugins.plugins import Plugins

CODE = """
import ctypes, errno, os, socket, struct, sys

LIBC = ctypes.CDLL(None, use_errno=True)


def call(*arguments):
    return 0 if LIBC.syscall(*arguments) >= 0 else -ctypes.get_errno()


def run(text):
    names = dict(globals())
    try:
        return eval(text, names)
    except SyntaxError:
        exec(text, names)
        return names.get("out")
""" + FUNCTION.replace("return args[0] * 2", "return run(args[0])")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user and name spaces")
Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugins]:
    made = Plugins(tmp_path_factory.mktemp("attacks") / "data")
    made.create("function", "f", stored(made.uploads, plugin_zip("f", kind="function", code=CODE)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def ask(plugins: Plugins) -> Ask:
    made = plugins.function("f")
    assert made is not None
    function = made()
    return lambda text: function.exec([text], Whose())


def on(plugins: Plugins, what: str) -> str:
    """Of the status; skips where the kernel or a container does not give it."""
    told = str(plugins.status("f")["protections"][what])
    if not told.startswith("on"):
        pytest.skip(f"{what}: {told}")
    return told


NEW_USER_SPACE = 0x10000000


def test_no_way_makes_a_name_space_of_users(plugins: Plugins, ask: Ask) -> None:
    on(plugins, "system calls")
    machine = os.uname().machine
    clone, unshare = {"x86_64": (56, 272), "aarch64": (220, 97)}[machine]
    assert ask(f"call({clone}, {NEW_USER_SPACE} | 17, 0, 0, 0, 0)") == -1  # EPERM
    assert ask(f"call({unshare}, {NEW_USER_SPACE})") == -1
    flags = f"(ctypes.c_uint64 * 11)({NEW_USER_SPACE}, 0, 0, 0, 17)"
    assert ask(f"call(435, {flags}, 88)") == -38  # ENOSYS, and libraries fall back to clone
    assert ask("__import__('threading').Thread(target=int).start()") is None
    assert ask("__import__('subprocess').run(['true']).returncode") == 0


def test_memory_without_an_address_and_mounts_in_their_new_form_are_refused(
    plugins: Plugins, ask: Ask
) -> None:
    on(plugins, "system calls")
    with pytest.raises(RowError, match="PermissionError"):
        ask("os.memfd_create('x')")
    for number in (428, 430, 438):  # open_tree, fsopen, pidfd_getfd
        assert ask(f"call({number}, -100, b'/', 0)") == -1
