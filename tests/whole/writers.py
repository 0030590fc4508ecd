"""A write load that keeps a ledger: some connections, each with keys of its own, until the server dies."""

import http.client
import random
import threading
from collections.abc import Callable
from typing import Any

from tests.whole.ledger import BrokenPromiseError, Ledger
from tests.whole.requests import Answer, Client

KEYS = 20
LARGE = 100_000


class Writer:
    """One connection's worth of load. Keys `/load/N/...`, in-order keys `/queue-N/...`."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.ledger = Ledger()
        self.acknowledged = 0
        self.failure: BrokenPromiseError | None = None
        self._random = random.Random(f"{seed}/{number}")
        self._serial = 0

    def run(self, port: int, stop: threading.Event) -> None:
        """Write until the connection breaks or `stop` is set. A broken promise is kept in `failure`."""
        actions = [self._put, self._put, self._put, self._compare_and_swap, self._delete, self._in_order, self._large]
        try:
            with Client(port) as client:
                while not stop.is_set():
                    self._random.choice(actions)(client)
                    self.acknowledged += 1
        except (OSError, http.client.HTTPException):
            return
        except BrokenPromiseError as error:
            self.failure = error

    def _key(self) -> str:
        return f"/load/{self.number}/{self._random.randrange(KEYS)}"

    def _value(self, size: int = 0) -> str:
        self._serial += 1
        token = f"{self.number}.{self._serial}."
        return token * max(1, size // len(token))

    def _put(self, client: Client, size: int = 40) -> None:
        key, value = self._key(), self._value(size)
        self.ledger.about_to_write(key, value)
        answer = client.put(key, value)
        _expect(answer, 200, 201)
        self.ledger.acknowledged(key, value, answer.json["node"]["modifiedIndex"])

    def _large(self, client: Client) -> None:
        if self._random.random() < 0.1:
            self._put(client, LARGE)
        else:
            self._put(client)

    def _compare_and_swap(self, client: Client) -> None:
        key = self._key()
        known = self.ledger.keys.get(key)
        if known is None or known.value is None:
            return self._put(client)
        value = self._value()
        self.ledger.about_to_write(key, value)
        answer = client.put(key, value, prevIndex=str(known.index))
        _expect(answer, 200)
        self.ledger.acknowledged(key, value, answer.json["node"]["modifiedIndex"])
        return None

    def _delete(self, client: Client) -> None:
        key = self._key()
        known = self.ledger.keys.get(key)
        if known is None or known.value is None:
            return self._put(client)
        self.ledger.about_to_write(key, None)
        answer = client.delete(key)
        _expect(answer, 200)
        self.ledger.acknowledged(key, None, answer.json["node"]["modifiedIndex"])
        return None

    def _in_order(self, client: Client) -> None:
        value = self._value()
        self.ledger.queue_pending.append(value)
        answer = client.ask("POST", f"/v2/keys/queue-{self.number}", {"value": value})
        _expect(answer, 201)
        node = answer.json["node"]
        self.ledger.acknowledged_in_order(node["key"], value, node["modifiedIndex"])


def _expect(answer: Answer, *statuses: int) -> None:
    if answer.status not in statuses:
        raise BrokenPromiseError(f"status {answer.status} where {statuses} was due: {answer.body[:200]!r}")


def load(writers: list[Writer], port: int, until: Callable[[], Any]) -> None:
    """Let all writers write at once until `until` returns; then wait for them."""
    stop = threading.Event()
    threads = [threading.Thread(target=writer.run, args=(port, stop)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        until()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for writer in writers:
        if writer.failure is not None:
            raise writer.failure


def listing(client: Client, directory: str) -> dict[str, tuple[str, int]]:
    """Value and modifiedIndex of all files below a directory, by key."""
    answer = client.get(directory, "?recursive=true")
    if answer.status == 404:
        return {}
    return {node["key"]: (node["value"], node["modifiedIndex"]) for node in answer.json["node"].get("nodes", [])}
