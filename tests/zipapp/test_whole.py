"""The real program as one file, alone in an empty directory with an empty environment."""

import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.agent.supervisor.shim.fields import pack
from core.agent.supervisor.shim.status import read
from core.agent.supervisor.shims import BEGIN
from tools.onefile.build import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corenode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`corenode` alone in a directory; it was built in another."""
    built = tmp_path_factory.mktemp("built") / "corenode"
    build = [sys.executable, "tools/onefile/build.py", str(built)]
    done = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith(f"build: {built}: ")
    return built.rename(tmp_path_factory.mktemp("alone") / "corenode")


def run(corenode: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing in the environment but where its cache is."""
    command = [sys.executable, "-I", str(corenode), *arguments]
    environment = {"CORENODE_CACHE": str(corenode.with_name("cache"))}
    return subprocess.run(command, env=environment, cwd=corenode.parent, capture_output=True, text=True, timeout=60)


def processor_seconds(corenode: Path, *arguments: str) -> float:
    """What one run takes of the processor; other tests that run at the same time hardly change it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(corenode, *arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_version_and_help_answer_at_once_after_the_first_start(
    corenode: Path, record_property: Callable[[str, object], None]
) -> None:
    assert run(corenode, "--version").stdout.startswith("corenode")
    version, help_ = (min(processor_seconds(corenode, verb) for _ in range(5)) for verb in ("--version", "--help"))
    record_property("checked", f"--version takes {version:.3f} s of the processor, --help {help_:.3f} s")
    assert max(version, help_) < 0.2


def test_every_library_loads_from_the_cache_and_none_from_this_environment(corenode: Path) -> None:
    """Nothing that the compiled parts need may be found only because the environment has it too."""
    assert run(corenode, "--version").returncode == 0
    (version,) = (path for path in corenode.with_name("cache").iterdir() if path.is_dir())
    probe = (
        "import sys; sys.path[:] = [sys.argv[1], *(p for p in sys.path if 'site-packages' not in p)]\n"
        "import click, cryptography.x509, h11, httpcore, lmdb, msgspec, prometheus_client, rich.table\n"
        "import sortedcontainers, trio\n"
        "from cryptography.hazmat.primitives.asymmetric import ed25519\n"
        "ed25519.Ed25519PrivateKey.generate()\n"
        "strays = [m.__name__ for m in sys.modules.values() if 'site-packages' in str(getattr(m, '__file__', ''))]\n"
        "print(strays)"
    )
    command = [sys.executable, "-I", "-S", "-c", probe, str(version / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_supervisor_of_a_unit_runs_from_the_cache(corenode: Path, tmp_path: Path) -> None:
    assert run(corenode, "--version").returncode == 0
    (version,) = (path for path in corenode.with_name("cache").iterdir() if path.is_dir())
    (tmp_path / "job").write_bytes(
        pack(
            [
                ["name", "a.service"],
                ["type", "oneshot"],
                ["exec", "start", "", "echo", "echo", "x"],
                ["log", "9999", "2"],
            ]
        )
    )
    command = [sys.executable, "-I", "-S", "-c", BEGIN, str(tmp_path), str(version / "site")]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    status = read(str(tmp_path / "status"))
    assert status is not None
    assert (status["active"], status["result"]) == ("inactive", "success")
    assert (tmp_path / "log.1").read_text().endswith(" x\n")


@contextmanager
def node(corenode: Path) -> Iterator[str]:
    """`corenode up` with an empty environment but for the places of its cache and runtime files; yields its URL."""
    home = corenode.parent
    environment = {"CORENODE_CACHE": str(home / "cache"), "XDG_RUNTIME_DIR": str(home)}
    arguments = ["up", "--data-dir", "data", "--listen-client-urls", "http://127.0.0.1:0"]
    command = [sys.executable, "-I", str(corenode), *arguments]
    with subprocess.Popen(command, env=environment, cwd=home, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            ready = next(line for line in process.stderr if " ready " in line)
            yield ready.split("endpoints=")[1].split()[0]
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_node_and_the_client_run_from_it(corenode: Path, record_property: Callable[[str, object], None]) -> None:
    with node(corenode) as url:
        assert run(corenode, "kv", "put", "/a", "1", "--endpoints", url).returncode == 0
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        with node(corenode) as url, urllib.request.urlopen(f"{url}/v2/keys/a") as answer:
            seconds.append(time.perf_counter() - began)
            assert b'"value":"1"' in answer.read()
    record_property("checked", f"{min(seconds):.2f} s from start to the first answer")
    assert run(corenode, "kv", "get", "/a", "--endpoints", url).returncode == 1  # it has ended
