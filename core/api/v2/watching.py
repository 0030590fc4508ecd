"""Long polls and streams of `/v2/keys`."""

from collections.abc import Callable
from functools import partial

from core.api.encodings import Encodings
from core.api.http.message import Outlet
from core.api.store import DamagedError, Store
from core.api.v2.errors import refusal
from core.api.v2.form import Parameters
from core.api.v2.head import Head
from core.api.v2.render import event_body
from core.kv.errors import TreeError
from core.kv.records import Event


class Watching:
    """One watch: 200 and the head at once, then one event, or with `stream` every event, a JSON line each.

    `start` is fixed when the request arrives, so that no change falls between the arrival and the task that waits.
    """

    def __init__(
        self,
        store: Store,
        head: Head,
        encodings: Encodings,
        key: bytes,
        parameters: Parameters,
        still_allowed: Callable[[], bool],
    ) -> None:
        self._encodings = encodings
        self._still_allowed = still_allowed
        self._store = store
        self._head = head
        self._key = key
        self._recursive = parameters.recursive
        self._stream = parameters.stream
        self._index = store.revision
        self._start = parameters.wait_index or store.revision + 1

    async def produce(self, outlet: Outlet) -> None:
        """Serve the watch until it is answered or cancelled.

        Nobody may be told of history that is gone: if that is known before the first byte, it is a 401 of the
        dialect; later, the answer ends and the client, asking again, gets the 401. Before each event access is looked
        at again, and the answer cut off where whoever waits may no longer read it.
        """
        try:
            watch = self._store.watch(self._key, recursive=self._recursive, start=self._start)
        except (TreeError, DamagedError) as error:
            if isinstance(error, DamagedError):
                self._store.damage.met(error)
            answer = refusal(error, self._store.revision)
            await outlet.start(answer.status, self._head.error(answer.index))
            await outlet.send(answer.body())
            return
        with watch:
            await outlet.start(200, self._head.success(self._index))
            while True:
                try:
                    events = await (watch.next() if self._stream else watch.next(1))
                    lines = b"".join([self._line(event) for event in events])
                except TreeError:
                    return
                except DamagedError as error:
                    self._store.damage.met(error)
                    await outlet.abort()
                    return
                if not self._still_allowed():
                    await outlet.abort()
                    return
                await outlet.send(lines)
                if not self._stream:
                    return

    def _line(self, event: Event) -> bytes:
        """An event as JSON, encoded once for all who wait for it."""
        return self._encodings.get(event.record.position, partial(event_body, self._store, event))
