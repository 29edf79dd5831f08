"""A MariaDB server of the test's own: its data in a folder, on a free port of loopback."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from free_ports import free_port

START_S = 90.0


def reason_without() -> str | None:
    """Why there is none here, or None."""
    return None if _program() else "mariadbd is not installed: apt install mariadb-server-core"


class MariaDb:
    """Any user, any password (no tables of rights, so that mariadb-server-core is enough); base `opq`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._user = ["--user=root"] if os.geteuid() == 0 else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data, log = self._folder / "data", self._folder / "mariadb.log"
        data.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            command = [_program(), "--no-defaults", "--skip-grant-tables", f"--datadir={data}", *self._user]
            command += [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self._folder}/s"]
            command += [f"--pid-file={self._folder}/pid", "--innodb-buffer-pool-size=16M"]
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        end_s = time.monotonic() + START_S
        while True:
            try:
                self.ask("CREATE DATABASE IF NOT EXISTS opq", base=None)
                return
            except pymysql.err.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError(f"MariaDB does not start: {log.read_text()[-2000:]}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(240)
            self._process = None

    def ask(self, sql: str, *values: Any, base: str | None = "opq") -> list[tuple[Any, ...]]:
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=base, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())


@contextlib.contextmanager
def running(folder: Path) -> Iterator[MariaDb]:
    server = MariaDb(folder, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _program() -> str | None:
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")
