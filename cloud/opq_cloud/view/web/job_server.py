"""The program that forks a process for each dear job, and ends it with the client who waits for it.

    View --control socket--> this program --fork--> job --its own socket--> View

It has the modules of all jobs loaded, and neither threads nor a store, so that a fork is safe and takes
milliseconds. A job has a socket of its own to View: it reads what to do, and writes its parts. When View
closes that socket, because the client is gone, the job ends at once. This program ends when View does.
"""

import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from opq_cloud.store import open_store
from opq_cloud.store.store import StorePlace

LONGEST_S = 300
"""A job that takes longer, by the clock or in CPU time, is ended."""
LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class DearJob:
    """What a process does: `work(store, *arguments)`, whose parts are sent one by one."""

    place: StorePlace
    work: Callable[..., Iterator[Any]]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The last message of a job; `failure` where it failed."""

    failure: Exception | None = None


def packed(message: object) -> bytes:
    """A message with its length."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def main() -> None:
    """`python -c "…main()" DESCRIPTOR NICENESS MODULE…`: not by -m, because both sides name the messages'
    module.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    os.nice(int(sys.argv[2]))
    for name in sys.argv[3:]:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for View, which ends this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets jobs that have ended
    while True:
        more, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not more:
            return
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _do(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _do(view: socket.socket) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))
    signal.alarm(LONGEST_S)
    incoming = view.makefile("rb")
    length = incoming.read(LENGTH.size)
    if len(length) < LENGTH.size:  # View ended first
        return
    job: DearJob = pickle.loads(incoming.read(LENGTH.unpack(length)[0]))
    threading.Thread(target=_end_with, args=(view,), daemon=True).start()
    failure: Exception | None = None
    try:
        with closing(open_store(*job.place)) as store:
            for part in job.work(store, *job.arguments):
                view.sendall(packed(part))
    except Exception as error:  # the one of this process: View answers for it
        failure = error
    try:
        end = packed(JobEnd(failure))
    except Exception as error:  # an exception that cannot be sent
        end = packed(JobEnd(RuntimeError(f"{type(failure).__name__}: {failure} ({error})")))
    with suppress(OSError):  # the client is gone
        view.sendall(end)


def _end_with(view: socket.socket) -> None:
    """Ends the process when View has closed its end."""
    view.recv(1)
    os._exit(1)
