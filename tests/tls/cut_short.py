"""A rotation killed at each thing it does to the disk, and run again. As a program, for it forks:

    python -m tests.tls.cut_short WORKSHOP

The directory `begin` in the workshop has an authority in `ca` and a certificate `certs/before.crt`. Prints how many
places there were when a rotation began, and when it was finished.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from core.tls import rotation
from core.tls.authority import Authority, AuthorityError, load_chain
from core.tls.contexts import TlsFilesError
from core.tls.identity import Role

_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chown"})
_KILLED = 9


def changes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event says that the disk is about to change."""
    return event in _CHANGES or (event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)))


def killed_at(number: int, step: Callable[[], object]) -> bool:
    """Run a step in a process that ends at its change `number`, as SIGKILL ends it; whether it came so far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if changes(event, arguments):
                seen += 1
                if seen == number:
                    os._exit(_KILLED)

        sys.addaudithook(count)
        step()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, _KILLED):
        raise SystemExit(f"it failed by itself, at change {number}: exit code {code}")
    return code == _KILLED


def verifies(trust: Path, certificate: Path) -> bool:
    """What OpenSSL's own program says."""
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(trust), "-untrusted", str(certificate)]
    return subprocess.run([*command, str(certificate)], capture_output=True).returncode == 0


def require(condition: bool, what: str) -> None:
    """End the program with a failure."""
    if not condition:
        raise SystemExit(what)


def issued_or_refused(home: Path, where: str, old_root: Path) -> None:
    """In each state an authority issues what whoever has its ca.crt accepts, or says that it was cut short."""
    try:
        pair = Authority.open(home / "ca").issue(Role.CLIENT, "between", [], home / "between")
    except (AuthorityError, TlsFilesError) as error:
        require("cut short" in str(error) and "corenode ca rotate --dir" in str(error), f"{where}: {error}")
        return
    require(verifies(home / "ca" / "ca.crt", pair.certificate), f"{where}: issued what ca.crt does not verify")
    if "begin" in where:
        require(verifies(old_root, pair.certificate), f"{where}: issued what the old root does not verify")


def each_place(workshop: Path, name: str, step: Callable[[Path], object]) -> int:
    """Kill a step at every place, run it again, and look at what is there in between and at the end."""
    number = 0
    while True:
        number += 1
        home = workshop / f"{name}-{number}"
        shutil.copytree(workshop / name, home)
        if not killed_at(number, partial(step, home / "ca")):
            return number - 1
        where = f"{name}, killed at change {number}"
        if name == "begin":
            require(verifies(home / "ca" / "ca.crt", home / "certs" / "before.crt"), f"{where}: the one from before")
        for key in home.glob("ca/**/*.key"):
            require(stat.S_IMODE(key.stat().st_mode) == 0o600, f"{where}: {key} is not private")
        issued_or_refused(home, where, workshop / "old.crt")
        with contextlib.suppress(AuthorityError):  # it had just come to its end
            step(home / "ca")
        files = {"ca.crt", "ca.key", "issuing.crt", "issuing.key", "issued"}
        files |= {"former.crt"} if name == "begin" else set()
        found = {path.name for path in (home / "ca").iterdir()}
        require(found == files, f"{where}: {sorted(found)}")
        require(len(load_chain(home / "ca" / "ca.crt")) == (2 if name == "begin" else 1), f"{where}: roots")
        pair = Authority.open(home / "ca").issue(Role.CLIENT, "after", [], home / "after")
        require(verifies(home / "ca" / "ca.crt", pair.certificate), f"{where}: the one issued after")


def main() -> None:
    workshop = Path(sys.argv[1])
    shutil.copy(workshop / "begin" / "ca" / "ca.crt", workshop / "old.crt")
    shutil.copytree(workshop / "begin", workshop / "finish")
    rotation.begin(workshop / "finish" / "ca")
    print(each_place(workshop, "begin", rotation.begin), each_place(workshop, "finish", rotation.finish))


if __name__ == "__main__":
    main()
