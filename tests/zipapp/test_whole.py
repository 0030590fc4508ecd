"""The real program as one file, alone in an empty directory with an empty environment."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
