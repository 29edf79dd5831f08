"""UserFiles: the file system `/` of a prompt. It has one file, box.py, which is the user's program in flash.

Writing it is `box program put`: the text is compiled and started as the file is closed, or refused. A
client's own folder (`mpremote mount`) is beside it at /remote.
"""

import io

import codes
from opq.program import MAX_BYTES
from user_program import UserProgram

FILE = "box.py"
IS_FILE, IS_FOLDER = 0x8000, 0x4000
ENOENT, EPERM, EINVAL = 2, 1, 22


class UserFiles:
    def __init__(self, program: UserProgram) -> None:
        self._program = program

    def mount(self, read_only: bool, make: bool) -> None: ...

    def umount(self) -> None: ...

    def chdir(self, path: str) -> None:
        if path not in ("", "/"):
            raise OSError(ENOENT)

    def getcwd(self) -> str:
        return "/"

    def ilistdir(self, path: str) -> "object":
        self.chdir(path)
        size = self._program.length
        return iter([(FILE, IS_FILE, 0, size)] if size else [])

    def stat(self, path: str) -> "tuple[int, ...]":
        if path.strip("/") == "":
            return (IS_FOLDER, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        self._find(path)
        return (IS_FILE, 0, 0, 0, 0, 0, self._program.length, 0, 0, 0)

    def statvfs(self, path: str) -> "tuple[int, ...]":
        free = MAX_BYTES - self._program.length
        return (1, 1, MAX_BYTES, free, free, 1, 1, 1, 0, 255)

    def open(self, path: str, mode: str) -> "object":
        if "w" in mode:
            if path.strip("/") != FILE:
                raise OSError(EPERM)
            return WrittenFile(self._program)
        if "a" in mode or "+" in mode:
            raise OSError(EINVAL)
        self._find(path)
        text = self._program.text()
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)

    def remove(self, path: str) -> None:
        self._find(path)
        self._program.command("remove")

    def mkdir(self, path: str) -> None:
        raise OSError(EPERM)

    def rmdir(self, path: str) -> None:
        raise OSError(EPERM)

    def rename(self, former: str, now: str) -> None:
        raise OSError(EPERM)

    def _find(self, path: str) -> None:
        if path.strip("/") != FILE or not self._program.length:
            raise OSError(ENOENT)


class WrittenFile:
    """box.py while it is written. `close` raises ValueError with the reason if the Box refuses the text."""

    def __init__(self, program: UserProgram) -> None:
        self._program = program
        self._text: bytearray | None = bytearray()

    def write(self, text: "str | bytes") -> int:
        data = text.encode() if isinstance(text, str) else text
        if self._text is None or len(self._text) + len(data) > MAX_BYTES:
            raise OSError(EINVAL)
        self._text.extend(data)
        return len(text)

    def flush(self) -> None: ...

    def close(self) -> None:
        text, self._text = self._text, None
        if text is None:
            return
        status, detail = self._program.replace(text)
        if status != codes.DONE:
            raise ValueError(detail)

    def __enter__(self) -> "WrittenFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
