"""A grid of real members for tests: processes of the command ``quorate``."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_built: list[str] = []


def command() -> str:
    """The command, built once, unless QUORATE_COMMAND names one."""
    named = os.environ.get("QUORATE_COMMAND")
    if named:
        return named
    if not _built:
        directory = tempfile.mkdtemp(prefix="quorate-python-")
        path = os.path.join(directory, "quorate")
        subprocess.run(["go", "build", "-o", path, "./cmd/quorate"], cwd=ROOT, check=True)
        _built.append(path)
    return _built[0]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Grid:
    """Members in memory, each a process of its own."""

    def __init__(self, members: int = 3) -> None:
        self.addresses = [f"127.0.0.1:{_free_port()}" for _ in range(members)]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * members
        self._logs = Path(tempfile.mkdtemp(prefix="quorate-python-"))

    async def __aenter__(self) -> Grid:
        for i in range(len(self.addresses)):
            self.start(i)
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process is not None:
                process.kill()
                process.wait()
        shutil.rmtree(self._logs, ignore_errors=True)

    def start(self, i: int) -> None:
        with open(self._logs / f"{i}.log", "ab") as log:
            self._processes[i] = subprocess.Popen(
                [
                    command(), "start", "--name", f"n{i}", "--durability", "memory", "--http", "off",
                    "--listen", self.addresses[i], "--join", ",".join(self.addresses),
                    "--bootstrap-expect", str(len(self.addresses)),
                ],
                stdout=log, stderr=log, cwd=self._logs,
            )  # fmt: skip

    def kill(self, i: int) -> None:
        process = self._processes[i]
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._processes[i] = None

    async def ready(self) -> None:
        """Waits until all replicas are there."""
        await self.quorate("status", "--wait-full", timeout=180)

    async def quorate(self, *arguments: str, timeout: float = 60) -> str:
        """Runs the command line against the grid, and returns what it prints."""
        process = await asyncio.create_subprocess_exec(
            command(), *arguments,
            env={**os.environ, "QUORATE_ENDPOINTS": ",".join(self.addresses)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
        if process.returncode:
            raise AssertionError(f"quorate {arguments}: status {process.returncode}: {err.decode()}")
        return out.decode()

    async def go_program(self, package: str, *arguments: str) -> None:
        """Runs a program of this module with the endpoints as its last argument."""
        process = await asyncio.create_subprocess_exec(
            "go", "run", package, *arguments, ",".join(self.addresses),
            cwd=ROOT, stderr=subprocess.PIPE,
        )  # fmt: skip
        _, err = await process.communicate()
        if process.returncode:
            raise AssertionError(err.decode())

    def leader(self, table: object, partition: int) -> int:
        """Which member leads the group of a partition, as a client's table has it."""
        groups = getattr(table, "groups")
        group = groups[getattr(table, "partitions")[partition]]
        return self.addresses.index(getattr(table, "members")[group.leader])
