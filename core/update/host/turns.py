"""The reboot lock, as the updater of one host takes it."""

import trio

from core.client.errors import ClientError
from core.client.store import Store
from core.client.values import prefix
from core.update.host.ports import UpdateError
from core.update.lock_keys import Place, RebootLockError
from core.update.records import DEFAULT_GROUP
from core.update.semaphore import SemaphoreError
from core.update.voters import Turns, Voters


class Turn:
    """Fulfils `core.update.host.ports.Lock`."""

    def __init__(self, store: Store, group: str, machine: str, name: str, voters: Voters) -> None:
        """The group of updates is the lock's too; `name` is this host's as a member, if it is one."""
        self._store = store
        self._group = "" if group == DEFAULT_GROUP else group
        self._machine = machine
        self._name = name
        self._turns = Turns(store, self._group, voters)

    async def acquire(self) -> None:
        try:
            await self._turns.acquire(self._machine, self._name)
        except (SemaphoreError, RebootLockError, ClientError) as error:
            raise UpdateError(str(error)) from error

    async def release(self) -> None:
        try:
            await self._turns.release(self._machine)
        except SemaphoreError:
            return  # it is not held
        except (RebootLockError, ClientError) as error:
            raise UpdateError(str(error)) from error

    async def changed(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            try:
                async with self._store.watch(prefix(Place(self._group).path + b"/")) as watch:
                    await anext(watch)
            except ClientError:
                await trio.sleep_forever()
