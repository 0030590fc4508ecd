"""Three members with TLS serve images: to a majority, to one that was away, and to hosts with certificates."""

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import parse
from core.client.errors import ClientError
from core.client.images import Images
from core.images.manifest import decode
from core.tls.identity import Role
from core.trust.client import Trusted, Verified
from core.update.host.following import follow, manifest_of
from tests.ops.clusters import TlsCluster

pytestmark = pytest.mark.slow
MACHINE = "0123456789abcdef" * 2


def good(cluster: TlsCluster, *words: str) -> str:
    done = cluster.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def status(cluster: TlsCluster, name: str) -> dict[str, object]:
    pair = ["--cert", cluster.env["CORENODE_CERT"], "--key", cluster.env["CORENODE_KEY"]]
    url = f"{cluster.clients[name]}/corenode/images/status"
    command = ["curl", "--silent", "--max-time", "10", "--cacert", cluster.env["CORENODE_CACERT"], *pair, url]
    out = subprocess.run(command, capture_output=True, timeout=30).stdout
    found: dict[str, object] = json.loads(out or b"{}")
    return found


def held(cluster: TlsCluster, name: str) -> list[bool]:
    """Whether each member has all that is served, as one of them knows it."""
    found = status(cluster, name).get("held")
    return list(found.values()) if isinstance(found, dict) else []


def release(cluster: TlsCluster, version: str) -> str:
    """Build, sign and publish an image; what publishing said."""
    root = cluster.home / "root"
    root.mkdir(exist_ok=True)
    (root / version).write_bytes(os.urandom(400_000))
    good(cluster, "image", "build", "root", "--out", version, "--version", version)
    good(cluster, "image", "trust", "download", "repo")
    good(cluster, "image", "sign", version, "--repo", "repo", "--keys", "keys")
    return good(cluster, "image", "publish", version)


async def update(
    cluster: TlsCluster, trusted: Path, credentials: ClientCredentials, *names: str
) -> tuple[Verified, int]:
    """As a host: from the root of trust to the bytes of the newest release; how many there are."""
    endpoints = [parse(cluster.clients[name]) for name in names]
    async with Images(lambda: endpoints, lambda: credentials) as images:
        root = (cluster.home / "repo/metadata/1.root.json").read_bytes()
        found = await follow(Trusted(trusted, root), images, lambda: datetime.now(UTC))
        image = decode(await manifest_of(images, found.releases[-1]))
        return found, sum([len(await images.chunk(chunk)) for chunk in image.usr.chunks]) - image.usr.size


def test_members_keep_what_is_published(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1", "n2", "n3") as cluster:
        init = ("image", "trust", "init", "repo", "--keys", "keys", "--online", "online", "--no-passphrase")
        good(cluster, *init)
        good(cluster, "image", "trust", "upload", "repo", "--online", "online")
        cluster.kill("n3")
        assert "published on 2 members" in release(cluster, "1.0.0")
        # What was signed on top of something older is refused, with the way out, and the directory follows the cluster.
        again = cluster.run("image", "publish", "1.0.0")
        assert again.returncode == 0, again.stderr
        good(cluster, "image", "build", "root", "--out", "stale", "--version", "1.1.0")
        good(cluster, "image", "sign", "stale", "--repo", "repo", "--keys", "keys")
        assert "corenode image trust download" in cluster.run("image", "publish", "stale").stderr
        cluster.start("n3")
        cluster.until(lambda: held(cluster, "n3") == [True] * 3, "n3 caught up")
        # The one that was away gives all of it to a host, alone, and a stranger nothing.
        own = cluster.workshop.issue(Role.HOST, MACHINE)
        stranger = cluster.workshop.issue(Role.CLIENT, "mallory")
        trust = cluster.home / "trust.crt"
        host = ClientCredentials(trust, own.certificate, own.key)
        (tmp_path / "trusted").mkdir()
        found, rest = trio.run(update, cluster, tmp_path / "trusted", host, "n3")
        assert (found.targets, rest) == (2, 0)
        (tmp_path / "strange").mkdir()
        other = ClientCredentials(trust, stranger.certificate, stranger.key)
        with pytest.raises(ClientError, match="HTTP 403"):
            trio.run(update, cluster, tmp_path / "strange", other, "n1")
        for path in (tmp_path / "data-n2/images/keys", tmp_path / "data-n3/images/keys"):
            cluster.until(lambda path=path: len(list(path.iterdir())) == 2, "the keys came")  # type: ignore[misc]
            assert {each.stat().st_mode & 0o777 for each in path.iterdir()} == {0o600}
        found, rest = trio.run(update, cluster, tmp_path / "trusted", host, "n2", "n3")
        assert (found.targets, rest) == (2, 0)
        # Two of three are gone: nothing can be decided, and whoever publishes is told so; then it goes on.
        good(cluster, "image", "trust", "download", "repo")
        good(cluster, "image", "sign", "stale", "--repo", "repo", "--keys", "keys")
        cluster.kill("n1")
        cluster.kill("n2")
        lost = cluster.run("image", "publish", "stale")
        assert lost.returncode == 1
        assert "The cluster decides nothing now" in lost.stderr
        assert status(cluster, "n3")["targets_version"] == 2
        cluster.start("n1")
        cluster.start("n2")
        cluster.until(lambda: cluster.run("health").returncode == 0, "all are healthy")
        assert "published on" in good(cluster, "image", "publish", "stale")
