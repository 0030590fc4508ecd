"""Signatures, hashes and whole updates of a host's trust, in seconds of CPU, beside openssl.

python bench/trust.py [--updates 5] [--mib 256]
"""

import argparse
import hashlib
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tuf.api.metadata import TargetFile

from core.trust.client import Trusted
from core.trust.keys import generate
from core.trust.metadata import ROLES, first_root, first_targets, sign
from core.trust.repository import Repository

NOW = datetime.now(UTC)
MANY = 2000


def spent(work: Callable[[], object]) -> float:
    """Seconds of CPU of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def spent_by(*command: str) -> tuple[float, str]:
    """Seconds of CPU of a child, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def signatures() -> list[tuple[str, str, str]]:
    signer, payload = generate(), b"x" * 2048
    signature = signer.sign(payload)
    ours_sign = MANY / spent(lambda: [signer.sign(payload) for _ in range(MANY)])

    def verify() -> None:
        for _ in range(MANY):
            signer.public_key.verify_signature(signature, payload)

    ours_verify = MANY / spent(verify)
    _, said = spent_by("openssl", "speed", "-seconds", "1", "ed25519")
    found = re.search(r"(\d+\.\d+)\s+(\d+\.\d+)\s*$", said)
    theirs = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    return [
        ("signatures made /s", f"{ours_sign:,.0f}", f"{theirs[0]:,.0f}"),
        ("signatures verified /s", f"{ours_verify:,.0f}", f"{theirs[1]:,.0f}"),
    ]


def hashes(mib: int, home: Path) -> tuple[str, str, str]:
    path = home / "data"
    path.write_bytes(b"\xa5" * (mib << 20))

    def ours() -> None:
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    took, (theirs, _) = spent(ours), spent_by("openssl", "dgst", "-sha256", str(path))
    path.unlink()
    return "SHA-256, MiB/s", f"{mib / took:,.0f}", f"{mib / theirs:,.0f}"


def updates(count: int, times: int, home: Path) -> tuple[str, str, str]:
    keys = {role: [generate()] for role in ROLES}
    root = first_root({role: [key.public_key for key in keys[role]] for role in ROLES}, dict.fromkeys(ROLES, 1), NOW)
    targets = first_targets(NOW)
    for number in range(count):
        name = f"os/1.{number}.0/x86_64/manifest.json"
        targets.signed.targets[name] = TargetFile(1000, {"sha256": f"{number:064x}"}, name)
    sign(root, [root.signed], keys["root"])
    sign(targets, [root.signed], keys["targets"])
    repository = Repository(home / f"repository-{count}")
    repository.create(root, targets, [*keys["snapshot"], *keys["timestamp"]], NOW)
    took = []
    for turn in range(times):
        state = home / f"state-{count}-{turn}"
        state.mkdir()
        trusted = Trusted(state, root.to_bytes())
        took.append(spent(partial(trusted.update, repository.fetch, NOW)))
    return f"an update, {count} releases, ms", f"{min(took) * 1000:.1f}", "-"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256)
    options = parser.parse_args()
    table = Table("", "here", "openssl", title="a core's CPU seconds")
    with tempfile.TemporaryDirectory() as scratch:
        for row in signatures():
            table.add_row(*row)
        table.add_row(*hashes(options.mib, Path(scratch)))
        for count in (1, 100, 2000):
            table.add_row(*updates(count, options.updates, Path(scratch)))
    Console().print(table)


if __name__ == "__main__":
    main()
