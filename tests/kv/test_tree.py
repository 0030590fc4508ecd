"""The v2 dialect's tree operations, one rule a row: what is there before, the command, and what it comes to.

An event is written `action /path=value @modified/created < what was there`, a directory with a slash at its end and a
deletion without value; a refusal as its code and cause. Every row is also held against the twin.
"""

import pytest

from core.kv import commands as c
from core.kv import tree
from core.kv.errors import LimitError
from core.kv.memory import MemoryStore
from core.kv.paths import MAX_DEPTH
from tests.kv.trial import Trial
from tests.kv.values import Value, Version


def node(found: Version) -> str:
    value = "/" if found.directory else "" if found.gone else f"={found.value.decode()}"
    ttl = f" until {found.deadline}" if found.deadline else ""
    return f"{found.key.decode()}{value} @{found.modified}/{found.created}{ttl}"


def text(done: Value) -> str:
    match done:
        case ("event", changed, previous):
            refresh = " (refresh)" if changed.refresh else ""
            return f"{changed.action} {node(changed)}{refresh}" + (f" < {node(previous)}" if previous else "")
        case ("TreeError", code, cause, _):
            return f"{code} {cause}"
    return str(done)


FILE: list[c.Command] = [c.Set(b"/f", b"1")]
DIRECTORY: list[c.Command] = [c.Set(b"/d", directory=True)]
DEEP: list[c.Command] = [c.Set(b"/d/e/f", b"1")]

ROWS: list[tuple[str, list[c.Command], c.Command, str]] = [
    # set
    ("set makes a file", [], c.Set(b"/f", b"1"), "set /f=1 @2/2"),
    ("set replaces, with new indexes", FILE, c.Set(b"/f", b"2"), "set /f=2 @3/3 < /f=1 @2/2"),
    ("set of a directory is refused", DIRECTORY, c.Set(b"/d", b"1"), "102 /d"),
    ("also with dir", DIRECTORY, c.Set(b"/d", directory=True), "102 /d"),
    ("set dir replaces a file", FILE, c.Set(b"/f", directory=True), "set /f/ @3/3 < /f=1 @2/2"),
    ("set below a file", FILE, c.Set(b"/f/x/y", b"1"), "104 /f"),
    ("set clears a TTL", [c.Set(b"/f", b"1", ttl=5)], c.Set(b"/f", b"2"), "set /f=2 @3/3 < /f=1 @2/2 until 5000000001"),
    ("set of the root", [], c.Set(b"/", b"1"), "107 /"),
    ("parents have the index of the write", DEEP, c.Update(b"/d/e"), "update /d/e/ @2/2 < /d/e/ @2/2"),
    ("an empty value is a value", [], c.Set(b"/f"), "set /f= @2/2"),
    # refresh
    ("refresh keeps the value", FILE, c.Set(b"/f", ttl=5, refresh=True),
     "set /f=1 @3/3 until 5000000001 (refresh) < /f=1 @2/2"),
    ("refresh of what is missing", [], c.Set(b"/f", ttl=5, refresh=True), "100 /f"),
    ("refresh names the first that is missing", DEEP, c.Set(b"/d/x/y", ttl=5, refresh=True), "100 /d/x"),
    ("refresh of a directory", DIRECTORY, c.Set(b"/d", ttl=5, refresh=True), "102 /d"),
    ("refresh below a file", FILE, c.Set(b"/f/x", ttl=5, refresh=True), "104 /f"),
    ("update with refresh", FILE, c.Update(b"/f", ttl=5, refresh=True),
     "update /f=1 @3/2 until 5000000001 (refresh) < /f=1 @2/2"),
    ("compareAndSwap with refresh", FILE, c.CompareAndSwap(b"/f", ttl=5, previous_value=b"1", refresh=True),
     "compareAndSwap /f=1 @3/2 until 5000000001 (refresh) < /f=1 @2/2"),
    # create
    ("create makes a file", [], c.Create(b"/f", b"1"), "create /f=1 @2/2"),
    ("create of what exists", FILE, c.Create(b"/f", b"2"), "105 /f"),
    ("create of a directory that exists", DIRECTORY, c.Create(b"/d", directory=True), "105 /d"),
    ("create a directory", [], c.Create(b"/d", directory=True), "create /d/ @2/2"),
    ("create below a file", FILE, c.Create(b"/f/x", b"1"), "104 /f"),
    ("create of the root", [], c.Create(b"/", b"1"), "107 /"),
    ("in order, named by the index", [], c.Create(b"/q", b"1", in_order=True),
     "create /q/00000000000000000002=1 @2/2"),
    ("in order below the root", FILE, c.Create(b"/", b"1", in_order=True), "create /00000000000000000003=1 @3/3"),
    ("in order below a file", FILE, c.Create(b"/f", b"1", in_order=True), "104 /f"),
    ("a directory in order", [], c.Create(b"/q", directory=True, in_order=True),
     "create /q/00000000000000000002/ @2/2"),
    # update
    ("update keeps createdIndex", FILE, c.Update(b"/f", b"2"), "update /f=2 @3/2 < /f=1 @2/2"),
    ("update without value stores an empty one", FILE, c.Update(b"/f", ttl=5),
     "update /f= @3/2 until 5000000001 < /f=1 @2/2"),
    ("update without TTL clears it", [c.Set(b"/f", b"1", ttl=5)], c.Update(b"/f", b"2"),
     "update /f=2 @3/2 < /f=1 @2/2 until 5000000001"),
    ("update of what is missing", [], c.Update(b"/f", b"1"), "100 /f"),
    ("update names the first that is missing", DEEP, c.Update(b"/d/x/y", b"1"), "100 /d/x"),
    ("update below a file", FILE, c.Update(b"/f/x", b"1"), "104 /f"),
    ("update of a directory's TTL keeps its indexes", DIRECTORY, c.Update(b"/d", ttl=5),
     "update /d/ @2/2 until 5000000001 < /d/ @2/2"),
    ("a directory takes no value", DIRECTORY, c.Update(b"/d", b"1"), "102 /d"),
    ("update of the root", [], c.Update(b"/", b"1"), "107 /"),
    # compareAndSwap
    ("by value", FILE, c.CompareAndSwap(b"/f", b"2", previous_value=b"1"), "compareAndSwap /f=2 @3/2 < /f=1 @2/2"),
    ("by index", FILE, c.CompareAndSwap(b"/f", b"2", previous_index=2), "compareAndSwap /f=2 @3/2 < /f=1 @2/2"),
    ("other value", FILE, c.CompareAndSwap(b"/f", b"2", previous_value=b"x"), "101 [x != 1]"),
    ("other index", FILE, c.CompareAndSwap(b"/f", b"2", previous_index=9), "101 [9 != 2]"),
    ("both differ", FILE, c.CompareAndSwap(b"/f", b"2", previous_value=b"x", previous_index=9),
     "101 [x != 1] [9 != 2]"),
    ("one of both differs", FILE, c.CompareAndSwap(b"/f", b"2", previous_value=b"1", previous_index=9),
     "101 [9 != 2]"),
    ("compareAndSwap of a directory", DIRECTORY, c.CompareAndSwap(b"/d", b"2", previous_index=2), "102 /d"),
    ("compareAndSwap of what is missing", [], c.CompareAndSwap(b"/f", b"2", previous_index=2), "100 /f"),
    ("compareAndSwap below a file", FILE, c.CompareAndSwap(b"/f/x", b"2", previous_index=2), "104 /f"),
    ("compareAndSwap of the root", [], c.CompareAndSwap(b"/", b"2", previous_index=2), "107 /"),
    # delete
    ("delete a file", FILE, c.Delete(b"/f"), "delete /f @3/2 < /f=1 @2/2"),
    ("delete a file with dir", FILE, c.Delete(b"/f", directory=True), "delete /f @3/2 < /f=1 @2/2"),
    ("delete what is missing", [], c.Delete(b"/f"), "100 /f"),
    ("delete below a file", FILE, c.Delete(b"/f/x"), "104 /f"),
    ("delete a directory without dir", DIRECTORY, c.Delete(b"/d"), "102 /d"),
    ("delete an empty directory", DIRECTORY, c.Delete(b"/d", directory=True), "delete /d/ @3/2 < /d/ @2/2"),
    ("a directory with children", DEEP, c.Delete(b"/d/e", directory=True), "108 /d/e"),
    ("a directory with a hidden child", [c.Set(b"/d/_h", b"1")], c.Delete(b"/d", directory=True), "108 /d"),
    ("a whole tree is one event", DEEP, c.Delete(b"/d", recursive=True), "delete /d/ @3/2 < /d/ @2/2"),
    ("delete the root", [], c.Delete(b"/", recursive=True), "107 /"),
    # compareAndDelete
    ("compareAndDelete by value", FILE, c.CompareAndDelete(b"/f", b"1"), "compareAndDelete /f @3/2 < /f=1 @2/2"),
    ("compareAndDelete by index", FILE, c.CompareAndDelete(b"/f", previous_index=2),
     "compareAndDelete /f @3/2 < /f=1 @2/2"),
    ("compareAndDelete differs", FILE, c.CompareAndDelete(b"/f", b"x", 9), "101 [x != 1] [9 != 2]"),
    ("compareAndDelete of a directory", DIRECTORY, c.CompareAndDelete(b"/d", b"1"), "102 /d"),
    ("compareAndDelete of what is missing", [], c.CompareAndDelete(b"/f", b"1"), "100 /f"),
    ("compareAndDelete of the root names no path", [], c.CompareAndDelete(b"/", b"1"), "102 "),
]  # fmt: skip


@pytest.fixture
def trial() -> Trial:
    return Trial(MemoryStore())


@pytest.mark.parametrize(("before", "command", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_row(trial: Trial, before: list[c.Command], command: c.Command, expected: str) -> None:
    trial.step(*before)
    revision = trial.keyspace.revision
    done = trial.step(command)[0]
    assert text(done) == expected
    assert trial.keyspace.revision == revision + (done[0] == "event")
    if done[0] == "TreeError":
        assert done[3] == revision
    trial.check()


def listed(trial: Trial, directory: str, after: str = "", limit: int = 1000, at: int | None = None) -> str:
    found = trial.keyspace.children(directory.encode(), after.encode(), limit, at).records
    return " ".join(record.key.decode() + "/" * record.directory for record in found)


class TestDirectories:
    def test_parents_are_silent(self, trial: Trial) -> None:
        _, told = trial.keyspace.apply(1, 1, c.Batch(0, (c.Set(b"/a/b/c", b"1"),)))
        assert [event.record.key for event in told] == [b"/a/b/c"]
        assert [record.key for record in trial.keyspace.history(1)] == [b"/a/b/c", b"/a", b"/a/b"]

    def test_they_outlive_their_last_child(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a/b", b"1"), c.Delete(b"/a/b"), c.Put(b"/c/d", b"1"), c.DeleteRange(b"/c/d"))
        assert listed(trial, "/") == "/a/ /c/"

    def test_listing_is_one_level_in_byte_order_with_hidden_names(self, trial: Trial) -> None:
        names = ["/a/b/c", "/a/b-", "/a/b0", "/a/_h", "/a/.x", "/a/é", "/a/b/d", "/a!/x"]
        trial.step(*(c.Set(name.encode(), b"1") for name in names))
        assert listed(trial, "/a") == "/a/.x /a/_h /a/b/ /a/b- /a/b0 /a/é"
        trial.check()

    def test_a_listing_can_be_read_in_pages(self, trial: Trial) -> None:
        trial.step(*(c.Set(f"/a/{name}/x".encode(), b"1") for name in "abcd"), c.Set(b"/a/b-", b"1"))
        assert listed(trial, "/a", limit=2) == "/a/a/ /a/b/"
        assert listed(trial, "/a", after="/a/b", limit=2) == "/a/b- /a/c/"
        assert listed(trial, "/a", after="/a/d") == ""

    def test_a_listing_of_an_old_revision(self, trial: Trial) -> None:
        trial.step(c.Set(b"/a/x", b"1"), c.Set(b"/a/y", b"1"), c.Delete(b"/a", recursive=True), c.Set(b"/a/z", b"1"))
        assert [listed(trial, "/a", at=revision) for revision in (1, 2, 3, 4, 5)] == [
            "", "/a/x", "/a/x /a/y", "", "/a/z",
        ]  # fmt: skip

    def test_keys_that_are_no_clean_path_are_not_in_the_tree(self, trial: Trial) -> None:
        odd = [b"/a//b", b"/a/", b"/a/./b", b"/a/\xff", b"plain", b"/", b"/a/b/../c"]
        trial.step(c.Set(b"/a", directory=True), *(c.Put(key, b"1") for key in odd))
        assert (listed(trial, "/"), listed(trial, "/a")) == ("/a/", "")
        assert text(trial.step(c.Delete(b"/a", directory=True))[0]) == "delete /a/ @10/2 < /a/ @2/2"
        assert trial.keyspace.range(c.Range(b"\0", b"\0")).count == len(odd)

    def test_a_recursive_delete_leaves_them_and_takes_the_rest(self, trial: Trial) -> None:
        trial.step(c.Put(b"/a/b", b"1"), c.Put(b"/a//b", b"1"), c.Put(b"/a/c/d", b"1"), c.Put(b"/a/c/", b"1"))
        trial.step(c.Delete(b"/a", recursive=True))
        assert [one.key for one in trial.keyspace.range(c.Range(b"\0", b"\0")).records] == [b"/a//b", b"/a/c/"]
        trial.check()


class TestDepth:
    """What lies deeper than MAX_DEPTH is no path: no listing would show it and no delete of its tree would take it."""

    DEEPEST = b"/x" * MAX_DEPTH

    def test_the_deepest_path_is_in_the_tree(self, trial: Trial) -> None:
        trial.step(c.Set(self.DEEPEST, b"1"))
        trial.step(c.Delete(b"/x", recursive=True))
        assert trial.keyspace.range(c.Range(b"\0", b"\0")).count == 0
        trial.check()

    @pytest.mark.parametrize(
        "command",
        [
            c.Create(DEEPEST, b"1", in_order=True),
            c.Create(DEEPEST + b"/y", b"1"),
            c.Set(DEEPEST + b"/y", b"1"),
            c.Set(DEEPEST + b"/y", directory=True),
        ],
    )
    def test_nothing_is_made_below_it(self, trial: Trial, command: c.Command) -> None:
        outcome = trial.keyspace.apply(1, 1, c.Batch(0, (command,)))[0][0]
        assert isinstance(outcome, LimitError)
        assert trial.keyspace.revision == 1

    def test_v3_may_put_there_and_v2_does_not_see_it(self, trial: Trial) -> None:
        trial.step(c.Put(self.DEEPEST + b"/y", b"1"))
        assert listed(trial, "/") == ""
        trial.check()


class TestFilesOverDirectories:
    """Decision 2: v3 may put a value where a directory is. v2 then sees the file, and 104 below it."""

    @pytest.fixture
    def trial(self) -> Trial:
        trial = Trial(MemoryStore())
        trial.step(c.Set(b"/d/x", b"1"), c.Set(b"/d/e/y", b"2"), c.Put(b"/d", b"file"))
        return trial

    def test_v2_sees_the_file(self, trial: Trial) -> None:
        assert listed(trial, "/") == "/d"
        assert trial.keyspace.node(b"/d").value == b"file"
        for path in (b"/d/x", b"/d/e", b"/d/e/y", b"/d/none"):
            assert text(trial.step(c.Update(path, b"1"))[0]) == "104 /d"
            assert text(trial.step(c.Set(path, b"1"))[0]) == "104 /d"

    def test_v3_sees_and_writes_all(self, trial: Trial) -> None:
        trial.step(c.Put(b"/d/new", b"3"))
        assert trial.keyspace.range(c.Range(b"/d", b"/e")).count == 4

    @pytest.mark.parametrize("command", [c.DeleteRange(b"/d"), c.Delete(b"/d"), c.CompareAndDelete(b"/d", b"file")])
    def test_after_its_delete_the_tree_is_visible_again(self, trial: Trial, command: c.Command) -> None:
        trial.step(c.Put(b"/d/new", b"3"), command)
        assert listed(trial, "/d") == "/d/e/ /d/new /d/x"
        assert trial.keyspace.node(b"/d").directory
        trial.check()

    def test_a_directory_set_in_its_place_shows_the_tree_and_ends_the_old_terms(self, trial: Trial) -> None:
        trial.step(c.DeleteRange(b"/d"), c.Update(b"/d", ttl=5), c.Put(b"/d", b"file"))
        trial.step(c.Set(b"/d", directory=True))
        assert listed(trial, "/d") == "/d/e/ /d/x"
        assert trial.keyspace.next_deadline() is None
        trial.step(c.Expire(10), time=60_000_000_000)
        trial.step(c.Compact(trial.keyspace.revision))
        trial.sweep()
        trial.check_swept()
        trial.check()

    def test_a_hidden_directory_still_expires_with_all_below(self, trial: Trial) -> None:
        trial.step(c.Set(b"/t", directory=True, ttl=5), c.Set(b"/t/x", b"1"), c.Put(b"/t", b"file"))
        trial.step(c.Expire(10), time=6_000_000_000)
        assert [one.key for one in trial.keyspace.range(c.Range(b"/t", b"/u")).records] == [b"/t"]
        trial.check()


def test_a_page_over_deleted_names_is_short_and_goes_on(trial: Trial) -> None:
    """A queue leaves thousands of deleted names: no call may walk all of them."""
    for start in range(0, 2 * tree.SCANNED, 100):
        trial.keyspace.apply(
            trial.keyspace.applied[0] + 1,
            1,
            c.Batch(0, tuple(c.Set(b"/q/%06d" % n) for n in range(start, start + 100))),
        )
    names = [record.key for record in trial.keyspace.children(b"/q", limit=10_000).records]
    gone = tuple(c.Delete(b"/q/%06d" % n) for n in range(2 * tree.SCANNED - 1))
    trial.keyspace.apply(trial.keyspace.applied[0] + 1, 1, c.Batch(0, gone))
    assert len(names) == tree.SCANNED
    page = trial.keyspace.children(b"/q")
    assert (page.records, page.more) == ((), names[-1])
    page = trial.keyspace.children(b"/q", after=names[-1])
    assert [record.key for record in page.records] == [b"/q/%06d" % (2 * tree.SCANNED - 1)]
