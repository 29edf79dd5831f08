"""What a call of a plug-in fails with where not its code raised it, but its process ended or is absent.

All are OSErrors, because a sink's rows wait after each. Code of a plug-in may raise OSErrors as well (a file
that is missing, a connection that is refused): they are its own, and none of these. A file of its own,
because the sdk imports it and nothing of the host.
"""


class WorkerEndedError(ConnectionError):
    """The process ended during the call."""


class WorkerTimeoutError(TimeoutError):
    """The call took too long; its process, or in this process the call, was ended."""


class WorkerAbsentError(ConnectionError):
    """The call was not made: there is no process, or the plug-in is deleted or rests. No data caused it."""


class WorkerBeginTimeoutError(TimeoutError):
    """The call was not made: its process took too long to make the instance. No data caused it."""


ENDED = WorkerEndedError, WorkerTimeoutError
"""The data of the call may have caused it."""
NOT_CALLED = WorkerAbsentError, WorkerBeginTimeoutError
"""No data caused it: the same call can be made later."""
