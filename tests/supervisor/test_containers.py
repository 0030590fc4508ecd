"""Units that are containers: the examples are read, and one runs, by crun from a bundle built here from a folder."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from core.agent.supervisor import host
from core.agent.supervisor.cgroups import Cgroups
from core.agent.supervisor.translation import translate
from core.sched import names, unit_text
from tests.supervisor.world import MACHINE, ROOT, alive, world

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.service"))
NEEDED = ("crun", "busybox", "unshare")
UNIFIED = Path("/sys/fs/cgroup/unified")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_in_an_example_is_without_effect(path: Path) -> None:
    text = unit_text.parse(path.read_bytes())
    _, warnings = translate(names.parse(path.name), text, host.look(MACHINE, Path("/x")), Cgroups(None, {}), (1, 2))
    assert warnings == []


def bundle(place: Path, command: str) -> None:
    """An image from a local folder: a static busybox and what it needs, and the configuration crun gives."""
    binaries = place / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/busybox", binaries / "busybox")
    (binaries / "sh").symlink_to("busybox")
    for name in ("proc", "dev", "sys"):
        (place / "rootfs" / name).mkdir()
    subprocess.run(["crun", "spec"], cwd=place, check=True)
    configuration: dict[str, Any] = json.loads((place / "config.json").read_text())
    configuration["process"]["terminal"] = False
    configuration["process"]["args"] = ["/bin/sh", "-c", command]
    (place / "config.json").write_text(json.dumps(configuration))


def text(place: Path, name: str) -> bytes:
    """The example, for a bundle elsewhere. crun refuses hosts that have cgroups of both versions mounted; on those it
    gets a view of the mounts without the second."""
    example = next(path for path in EXAMPLES if path.stem == "hello-crun").read_text()
    crun = f"/usr/bin/crun --root {place}/state"
    if UNIFIED.is_mount():
        crun = f'/usr/bin/unshare --mount /bin/sh -c \'umount {UNIFIED}; exec "$0" "$@"\' ' + crun
    return example.replace("/usr/bin/crun", crun).replace("/var/lib/bundles/%N", f"{place}/{name}").encode()


@ROOT
@pytest.mark.slow
async def test_a_container_runs_says_something_and_is_stopped_with_its_unit(tmp_path: Path) -> None:
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    name = f"hello-{os.getpid()}"
    greet = "echo hello from $(busybox hostname), process $$"
    bundle(tmp_path / name, f"trap 'echo bye; exit 0' TERM; {greet}; while :; do busybox sleep 0.1; done")
    async with world(tmp_path) as w:
        await w.supervisor.load(f"{name}.service", text(tmp_path, name))
        await w.supervisor.start(f"{name}.service")
        up = await w.until_sub(f"{name}.service", "running")
        written = await w.until_log(f"{name}.service", lambda lines: any(line.startswith("hello") for line in lines))
        assert written[-1] == "hello from crun, process 1"
        await w.supervisor.stop(f"{name}.service")
        assert "bye" in await w.log(f"{name}.service")
        assert not alive(up.pid)
        assert (await w.supervisor.adopt())[f"{name}.service"].active == "inactive"


@ROOT
@pytest.mark.slow
async def test_a_container_of_nspawn_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """The example, from a root directory made here."""
    if missing := [program for program in ("systemd-nspawn", "busybox") if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    name = f"hello-{os.getpid()}"
    for part in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "usr/lib"):
        (tmp_path / name / part).mkdir(parents=True)
    for program in ("sh", "sleep"):
        shutil.copy("/bin/busybox", tmp_path / name / "bin" / program)
    (tmp_path / name / "usr/lib/os-release").write_text("ID=hello\n")
    example = next(path for path in EXAMPLES if path.stem == "hello-nspawn").read_text()
    unit = example.replace("/var/lib/machines", str(tmp_path)).replace("KillMode", "TimeoutStopSec=60\nKillMode")
    async with world(tmp_path / "supervisor") as w:
        await w.supervisor.load(f"{name}.service", unit.encode())
        await w.supervisor.start(f"{name}.service")
        up = await w.until_sub(f"{name}.service", "running")
        await w.until_log(f"{name}.service", lambda lines: "Hello" in [line.strip() for line in lines])
        with trio.fail_after(30):  # half of its time: it ends by itself, and is not killed
            await w.supervisor.stop(f"{name}.service")
        assert not alive(up.pid)
        down = (await w.supervisor.adopt())[f"{name}.service"]
        assert (down.active, down.result) == ("inactive", "")


CONTAINERFILE = """FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
CMD ["/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo hello; while :; do /bin/busybox sleep 0.1; done"]
"""
CONFINED = "--cgroups=disabled --network=none --ulimit=nofile=1024 --ulimit=nproc=1024"
"""What a host allows that is a container itself."""


@pytest.fixture
def store() -> Iterator[Path]:
    """A directory of podman's own: it wants one with a short name."""
    with tempfile.TemporaryDirectory(prefix="podman-") as place:
        yield Path(place)


def podman_of(place: Path) -> Path:
    """podman with a store there, in a view of the mounts that crun accepts."""
    store = f"--root {place}/root --runroot {place}/run --tmpdir {place}/tmp --storage-driver vfs"
    program = place / "podman"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$OWN_MOUNTS" ] || OWN_MOUNTS=1 exec unshare --mount "$0" "$@"\n'
        f"if mountpoint -q {UNIFIED}; then umount {UNIFIED}; fi\n"
        f'exec /usr/bin/podman {store} --cgroup-manager cgroupfs --events-backend file "$@"\n'
    )
    program.chmod(0o755)
    return program


def build_image(podman: Path, folder: Path) -> None:
    folder.mkdir()
    shutil.copy("/bin/busybox", folder / "busybox")
    (folder / "Containerfile").write_text(CONTAINERFILE)
    build = [str(podman), "build", "--quiet", "--isolation", "chroot", "-t", "localhost/hello", str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)


@ROOT
@pytest.mark.slow
async def test_a_container_of_podman_from_an_image_built_of_a_folder(tmp_path: Path, store: Path) -> None:
    """The example, with a store of its own and what a confined host allows."""
    if missing := [program for program in ("podman", "conmon", *NEEDED) if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    name, podman, folder = f"hello-{os.getpid()}", podman_of(store), tmp_path / "folder"
    build_image(podman, folder)
    example = next(path for path in EXAMPLES if path.stem == "hello-podman").read_text()
    unit = example.replace("--cgroups=split", CONFINED).replace("/usr/bin/podman", str(podman))
    async with world(tmp_path / "supervisor") as w:
        await w.supervisor.load(f"{name}.service", unit.encode())
        await w.supervisor.start(f"{name}.service")
        up = await w.until_sub(f"{name}.service", "running")
        await w.until_log(f"{name}.service", lambda lines: "hello" in lines)
        await w.supervisor.stop(f"{name}.service")
        assert "bye" in await w.log(f"{name}.service")
        assert not alive(up.pid)
        assert (await w.supervisor.adopt())[f"{name}.service"].active == "inactive"
