"""The cache of the one file: made once, mended when it changes, shared by many, refused where it may be a trap."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zipapp import sample
from tests.zipapp.sample import OneFile

HELLO = "hello from the cache\n"


@pytest.fixture
def one(tmp_path: Path) -> OneFile:
    return sample.make(tmp_path)


def expect_hello(one: OneFile) -> None:
    done = one.run()
    assert (done.stdout, done.stderr, done.returncode) == (HELLO, "", 0)


def test_the_first_start_unpacks_privately_and_the_second_leaves_it_alone(one: OneFile) -> None:
    expect_hello(one)
    assert one.versions() == [sample.version_of(one)]
    assert stat.S_IMODE(one.cache.stat().st_mode) == 0o700
    module = one.cache / sample.version_of(one) / "site" / "cli.py"
    before = module.stat()
    expect_hello(one)
    assert os.path.samestat(module.stat(), before)


def edit_keeping_size_and_time(site: Path) -> None:
    module = site / "deep" / "late.py"
    before = module.stat()
    module.write_text(sample.LATE.replace("cache", "trap!"))
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert module.stat().st_size == before.st_size


@pytest.mark.parametrize(
    "spoil",
    [
        edit_keeping_size_and_time,
        lambda site: (site / "cli.py").write_text(""),
        lambda site: (site / "cli.py").unlink(),
        lambda site: (site / "sys_hook.py").write_text("print('trap')"),
        lambda site: (site / "deep").rename(site / "shallow"),
        lambda site: (site.parent / "seal").write_text(""),
        lambda site: (site.parent / "seal").unlink(),
        shutil.rmtree,
    ],
    ids=["edited", "cut", "lost", "added", "renamed", "seal cut", "seal lost", "all lost"],
)
def test_a_tree_that_changed_is_unpacked_anew(one: OneFile, spoil: Callable[[Path], object]) -> None:
    expect_hello(one)
    site = one.cache / sample.version_of(one) / "site"
    contents = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    spoil(site)
    expect_hello(one)
    assert {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()} == contents
    assert one.versions() == [sample.version_of(one)]


def test_first_starts_at_once_do_no_harm(one: OneFile) -> None:
    processes = [one.start() for _ in range(8)]
    results = [process.communicate(timeout=60) for process in processes]
    assert results == [(HELLO, "")] * 8
    assert one.versions() == [sample.version_of(one)]


def test_what_a_killed_start_left_is_cleared(one: OneFile) -> None:
    half = one.cache / "new-dead" / "site"
    half.mkdir(parents=True)
    (half / "cli.py").write_text("def main(): print('half')")
    expect_hello(one)
    assert one.versions() == [sample.version_of(one)]


def test_old_versions_go_but_for_the_last_and_for_those_that_run(tmp_path: Path) -> None:
    texts = ["one", "two", "three", "four"]
    first, second, third, fourth = (sample.make(tmp_path, text, name=text) for text in texts)
    names = [sample.version_of(one) for one in (first, second, third, fourth)]
    foreign = first.cache / ("x" * 32)
    foreign.mkdir(parents=True)
    with first.start("wait") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "one from the cache\n"
        for one in (second, third):
            assert one.run().returncode == 0
        assert first.versions() == sorted([*names[:3], foreign.name])
        assert running.communicate("\n", timeout=60) == ("later\n", "")
    assert fourth.run().returncode == 0
    assert first.versions() == sorted([*names[2:], foreign.name])


def test_it_works_without_home(one: OneFile) -> None:
    command, _ = one.command(str(one.path))
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60)
    places = [
        Path.home() / ".cache/corenode",
        *(Path(f"{top}/corenode-{os.geteuid()}") for top in ("/var/tmp", "/tmp")),
    ]
    made = [place / sample.version_of(one) for place in places if (place / sample.version_of(one)).exists()]
    for version in made:
        shutil.rmtree(version)
    assert (done.stdout, done.stderr) == (HELLO, "")
    assert len(made) == 1


def test_a_home_that_cannot_be_written_to_is_passed_over(one: OneFile) -> None:
    one.environment["HOME"] = "/proc/self"
    expect_hello(one)
    made = Path(f"/var/tmp/corenode-{os.geteuid()}", sample.version_of(one))
    assert made.is_dir()
    shutil.rmtree(made)


def world_writable(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def link(place: Path) -> None:
    target = place.with_name("target")
    target.mkdir(0o700)
    place.symlink_to(target)


def below_world_writable(place: Path) -> None:
    place.mkdir(0o700)
    place.parent.chmod(0o777)


def of_another_user(place: Path) -> None:
    place.mkdir(0o700)
    os.chown(place, 4711, 4711)


def below_another_user(place: Path) -> None:
    place.mkdir(0o700)
    os.chown(place.parent, 4711, 4711)


NEEDS_ROOT = pytest.mark.skipif(not sample.is_root(), reason="needs root to give a directory to another user")


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (world_writable, "others may write to it"),
        (link, "it is not a directory"),
        (below_world_writable, "anybody may write to "),
        pytest.param(of_another_user, "it belongs to user 4711", marks=NEEDS_ROOT),
        pytest.param(below_another_user, "above it belongs to user 4711", marks=NEEDS_ROOT),
    ],
)
def test_a_directory_that_may_be_a_trap_is_refused(
    one: OneFile, prepare: Callable[[Path], None], complaint: str
) -> None:
    place = one.home / "x" / "cache"
    place.parent.mkdir()
    prepare(place)
    one.environment["CORENODE_CACHE"] = str(place)
    done = one.run()
    assert (done.returncode, done.stdout) == (1, "")
    refusal, end = done.stderr.splitlines()
    assert complaint in refusal
    assert end.endswith("name a directory of your own in CORENODE_CACHE")
    assert list(place.iterdir()) == []


def test_a_cache_of_ours_that_others_may_read_is_closed(one: OneFile) -> None:
    one.cache.mkdir(parents=True)
    one.cache.chmod(0o755)
    expect_hello(one)
    assert stat.S_IMODE(one.cache.stat().st_mode) == 0o700


@NEEDS_ROOT
def test_a_full_disk_is_said_and_leaves_nothing(one: OneFile, tmp_path: Path) -> None:
    command, environment = one.command(str(one.path))
    script = (
        'mount -t tmpfs -o size=8k,mode=700 none "$CORENODE_CACHE" && "$@"; code=$?; ls "$CORENODE_CACHE"; exit $code'
    )
    environment |= {"CORENODE_CACHE": str(tmp_path / "full"), "PATH": os.environ["PATH"]}
    (tmp_path / "full").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "lock\n")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
