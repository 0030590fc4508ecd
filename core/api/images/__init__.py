"""The doors of images: a repository for hosts to read, and uploads of whoever operates the cluster.

    GET  /corenode/images/metadata|targets|chunks/...   hosts, readers, members: paths of a repository
    GET  /corenode/images/status                        readers: what is served, and who has it
    POST /corenode/images/missing                       operators: which chunks are not here
    PUT  /corenode/images/chunks/<sha256>               operators: one chunk, compressed
    POST /corenode/images/keys                          operators: key files of the cluster
    GET  /corenode/images/keys                          members alone
    POST /corenode/images/publish                       operators: serve it; lines of JSON tell how far it is

None of them answers over plain HTTP. What is large comes in chunks of at most 320 KiB, so no body is held that a
request of another kind could not have, and answers are sent piece by piece as the client takes them. So many are under
way at a time (`MOST`); beyond: 503. A client that goes away ends its answer at the next piece.

It owns nothing but the tasks of its answers.
"""

from core.api.images.doors import Doors

__all__ = ["Doors"]
