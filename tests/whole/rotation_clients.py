"""Clients of several makes that write over mutual TLS until they are told to stop, and note every failure.

Each reads its trust and its certificate from files that may be replaced meanwhile, as its make does: the programs at
each start, `KeptConnection` whenever it connects anew, `OwnClient` by itself.
"""

import contextlib
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import NamedTuple

import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import parse
from core.client.errors import ClientError
from core.client.transport import Transport
from core.client.tree import Tree
from core.tls.authority import Pair

PATIENCE = 30.0
PAUSE = 0.03
"""Between two requests of one client, so that two cores carry all of them."""

_FORM = "application/x-www-form-urlencoded"


class Files(NamedTuple):
    """What a client trusts and shows."""

    trust: Path
    pair: Pair


class Client:
    """A thread that writes. Subclasses say how."""

    def __init__(self, name: str, url: str, files: Files) -> None:
        self.name = name
        self.url = url
        self.files = files
        self.good = 0
        self.failed: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    @property
    def key(self) -> str:
        return f"/v2/keys/{self.name}"

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def note(self, failure: str | None) -> None:
        """Count a request."""
        if failure is None:
            self.good += 1
        else:
            self.failed.append(f"{self.name}, request {self.good + len(self.failed) + 1}: {failure}")

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE):
            self.note(self.write())

    def write(self) -> str | None:
        """One request; why it failed, or None."""
        raise NotImplementedError


class KeptConnection(Client):
    """Python's own client: nine requests over a connection, then a new one."""

    def _run(self) -> None:
        host, _, port = self.url.partition("://")[2].rpartition(":")
        while not self._stopped.is_set():
            context = ssl.create_default_context(cafile=self.files.trust)
            context.load_cert_chain(self.files.pair.certificate, self.files.pair.key)
            with contextlib.closing(HTTPSConnection(host, int(port), timeout=10, context=context)) as connection:
                for _ in range(9):
                    if not self._stopped.wait(PAUSE):
                        self.note(self._put(connection))

    def _put(self, connection: HTTPSConnection) -> str | None:
        try:
            connection.request("PUT", self.key, b"value=1", {"Content-Type": _FORM})
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return repr(error)
        return None if answer.status in (200, 201) else str(answer.status)


class OwnClient(Client):
    """The client of this program: one transport from the beginning to the end."""

    def _run(self) -> None:
        trio.run(self._write_all)

    async def _write_all(self) -> None:
        credentials = ClientCredentials(self.files.trust, self.files.pair.certificate, self.files.pair.key)
        async with Transport([parse(self.url)], credentials) as transport:
            while not self._stopped.is_set():
                try:
                    await Tree(transport).put(f"/{self.name}", "1")
                except ClientError as error:
                    self.note(repr(error))
                else:
                    self.note(None)
                await trio.sleep(PAUSE)


class Curl(Client):
    """A process and a connection for each request."""

    def write(self) -> str | None:
        trust, pair = self.files
        command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "10", "--cacert", str(trust)]
        command += ["--cert", str(pair.certificate), "--key", str(pair.key), "-X", "PUT", "-d", "value=1"]
        done = subprocess.run([*command, self.url + self.key], capture_output=True, text=True)
        return None if done.returncode == 0 else done.stdout + done.stderr


class OpenSsl(Client):
    """The same with OpenSSL's own program, which ends if it cannot verify the server."""

    def write(self) -> str | None:
        trust, pair = self.files
        address = self.url.partition("://")[2]
        command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-connect", address, "-CAfile", str(trust)]
        command += ["-cert", str(pair.certificate), "-cert_chain", str(pair.certificate), "-key", str(pair.key)]
        head = f"PUT {self.key} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {_FORM}\r\n"
        request = f"{head}Content-Length: 7\r\n\r\nvalue=1"
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=PATIENCE)
        good = done.stdout.startswith(("HTTP/1.1 200 ", "HTTP/1.1 201 "))
        return None if good else f"{done.returncode}: {done.stdout}{done.stderr}"


class Etcdctl(Client):
    """The same with etcd's client, for the judgement of Go's library."""

    def write(self) -> str | None:
        trust, pair = self.files
        command = ["etcdctl", "--endpoints", self.url, "--ca-file", str(trust), "--cert-file", str(pair.certificate)]
        command += ["--key-file", str(pair.key), "set", f"/{self.name}", "1"]
        environment = {**os.environ, "ETCDCTL_API": "2"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        return None if done.returncode == 0 else done.stdout + done.stderr


KINDS: tuple[type[Client], ...] = (KeptConnection, OwnClient, Curl, OpenSsl, Etcdctl)


def wait_until(what: Callable[[], object]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)


def let_write(clients: Iterable[Client], requests: int = 3) -> None:
    """Until each has made so many more requests, good or not."""
    marks = [(client, client.good + len(client.failed) + requests) for client in clients]
    wait_until(lambda: all(client.good + len(client.failed) >= mark for client, mark in marks))
