"""What a member does for images: it keeps them, opens their doors, signs anew, and stands for conductor."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import trio

from core.api.access.gate import Gate
from core.api.images import Doors
from core.api.omaha import Omaha
from core.api.router import Route
from core.client import Store
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError
from core.client.images import BASE, Images
from core.client.transport import Transport
from core.config import Config
from core.depot.keeper import Keeper
from core.depot.publishing import Publisher
from core.depot.resigning import Resigner
from core.depot.shelf import Shelf
from core.depot.signing import KeyFiles, Keyring
from core.service import StartError
from core.update.conductor import Conductor
from core.update.plan import Target

DIRECTORY = "images"
"""In the data directory: chunks, and the cluster's keys."""
KEYS_MAX = 256 << 10


class Imaging:
    """`run` is a task of the daemon."""

    def __init__(
        self,
        config: Config,
        store: Store,
        gate: Gate,
        member: str,
        others: Callable[[], Sequence[Endpoint]],
        credentials: Callable[[], ClientCredentials | None],
        voters: Callable[[], Sequence[str]],
        leads: Callable[[], bool],
    ) -> None:
        """`member` is the id of this one; `others` are the doors of the other members, to which this one shows
        `credentials`; `voters` are the ids of those that vote; `leads`: whether it is this one. StartError."""
        try:
            shelf = Shelf(config.data_dir / DIRECTORY)
            keyring = Keyring(config.data_dir / DIRECTORY / "keys")
        except OSError as error:
            raise StartError(f"{error.filename}: {error.strerror}") from error
        self._others = others
        self._credentials = credentials
        self._keeper = Keeper(store, shelf, Images(others, credentials), member)
        self._resigner = Resigner(store, self._keeper, keyring, leads, self._ask_for_keys, _now)
        self._conductor = Conductor(store, config.name, self.releases)
        self._omaha = Omaha(store, self._keeper, lambda: [endpoint.origin for endpoint in others()])
        self._doors = Doors(gate, self._keeper, keyring, Publisher(store, self._keeper, keyring, voters, _now))

    def routes(self) -> list[Route]:
        """The paths of images, and those of Omaha."""
        return [*self._doors.routes(), *self._omaha.routes()]

    def releases(self) -> dict[tuple[str, str, str], Target]:
        """What is served, for the conductor: the path of a manifest says what it is of, and its hash."""
        packages = self._keeper.served.packages.values()
        found = {(each.product, each.version, each.architecture): Target(each.sha256, each.size) for each in packages}
        for path, blob in self._keeper.served.manifests.items():
            _, product, version, architecture, _ = path.split("/")
            found[product, version, architecture] = Target(blob.sha256, blob.size)
        return found

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            nursery.start_soon(self._resigner.run)
            nursery.start_soon(self._conductor.run)

    async def _ask_for_keys(self) -> KeyFiles | None:
        """The keys of the first other member that gives any."""
        for endpoint in self._others():
            async with Transport([endpoint], self._credentials() if endpoint.secure else None) as transport:
                try:
                    answer = await transport.call("GET", f"{BASE}/keys", most=KEYS_MAX)
                    found = msgspec.json.decode(answer.body, type=KeyFiles) if answer.status == 200 else None
                except (ClientError, msgspec.DecodeError):
                    continue
            if found is not None and found.keys:
                return found
        return None


def _now() -> datetime:
    return datetime.now(UTC)
