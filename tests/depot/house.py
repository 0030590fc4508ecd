"""A member's shelf and keys in one process, and the people who sign."""

from pathlib import Path

import msgspec

from core.depot.catalogue import Catalogue
from core.depot.publishing import Publication
from core.depot.serving import AbsentError, find, pieces
from core.depot.shelf import Shelf
from core.depot.signing import KeyFiles, Keyring
from core.images.blobs import packed
from core.images.manifest import Blob
from core.trust import keys
from core.trust.errors import NotFoundError
from tests.trust.makers import Makers


class House:
    """Nothing is published yet, and the keys are not handed over."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.makers = Makers(home / "repo")
        self.shelf = Shelf(home / "shelf", room=0)
        self.ring = Keyring(home / "keys")
        (home / "online").mkdir()
        for number, signer in enumerate(self.makers.online):
            keys.write(home / "online" / f"{number}.key", signer, None)
        self.given = KeyFiles(tuple(msgspec.Raw(path.read_bytes()) for path in (home / "online").iterdir()))

    def blob(self, data: bytes) -> Blob:
        made, chunks = packed(data)
        for name, each in chunks.items():
            self.shelf.keep(name, each)
        return made

    def publication(self) -> Publication:
        repository = self.makers.repository
        return Publication((self.blob(repository.root_bytes(1)),), self.blob(repository.targets().to_bytes()))

    def serve(self, served: Catalogue, path: str, limit: int) -> bytes:
        try:
            return b"".join(pieces(self.shelf, find(served, path)))[: limit + 1]
        except AbsentError:
            raise NotFoundError(path) from None
