"""Random commands: few names, so that they meet; sizes and forms that have been trouble elsewhere."""

from collections.abc import Callable
from random import Random

from core.kv import commands as c
from tests.kv.model import SECOND, Model

NAMES = ["a", "b", "c", "_h", "a-", "a0", "é"]
LONG = "x" * 600
ODD_KEYS = [
    b"plain", b"\0", b"\xff\xff", b"/", b"/a/", b"/a//b", b"/a/./b", b"/a/../b", b"/a/\xff", b"//a", b"/a/b/\xc3",
    b"a", b"/a\0", b"\0corenode/unit", b"\0corenode", b"0",
]  # fmt: skip
LEASES = [1, 2, 7, 2**63 - 1]


class Chance:
    """Draws commands that suit the present state, from one generator."""

    def __init__(self, random: Random, model: Model, *, compact: int = 2, hot: int = 8) -> None:
        """`compact` and `hot` say how often history is cut and how often the same key is written, of about 100."""
        self._random = random
        self._model = model
        self._count = 0
        draws = {
            self._set: 20, self._create: 8, self._update: 7, self._compare_and_swap: 7, self._delete: 7,
            self._compare_and_delete: 3, self._expire: 5, self.put: 14, self.delete_range: 4, self.txn: 9,
            self._grant: 4, self._revoke: 2, self._keep_alive: 2, self._compact: compact, self._hot: hot,
        }  # fmt: skip
        self._draws = [draw for draw, weight in draws.items() for _ in range(weight)]

    def batch(self) -> tuple[int, list[c.Command]]:
        """Cluster time in ns and the commands of one log entry."""
        random = self._random
        step = random.choice([0, 1, SECOND // 3, SECOND, 3 * SECOND, 70 * SECOND if self._rarely() else -SECOND])
        commands = [self._random.choice(self._draws)() for _ in range(random.choice([0, 1, 1, 1, 2, 5]))]
        return max(0, self._model.time + step), commands

    def path(self) -> bytes:
        """A clean path, the root at times."""
        if self._rarely():
            return self._random.choice([b"/", ("/a/" + LONG).encode(), ("/" + LONG + "/" + LONG).encode()])
        names = [self._random.choice(NAMES[:3] if self._often() else NAMES) for _ in range(self._random.randint(1, 3))]
        return ("/" + "/".join(names)).encode()

    def key(self) -> bytes:
        """Any key that v3 may write, clean paths more often."""
        if self._often():
            path = self.path()
            return path if path != b"/" else b"/a"
        return self._random.choice(ODD_KEYS)

    def _often(self) -> bool:
        return self._random.randrange(10) < 8

    def _rarely(self) -> bool:
        return self._random.randrange(20) == 0

    def _maybe(self) -> bool:
        return self._random.randrange(4) == 0

    def _value(self) -> bytes:
        self._count += 1
        return b"" if self._rarely() else b"v%d" % self._count

    def _ttl(self) -> int | None:
        return self._random.choice([None, None, None, None, 0, 1, 2, 5])

    def _hot(self) -> c.Command:
        """The same few keys again and again, so that their rows overflow."""
        kind = self._random.randrange(6)
        if kind == 0:
            return c.Delete(b"/hot/key")
        if kind == 1:
            return c.Put(b"/hot/v3", self._value())
        if kind == 2:
            return c.Update(b"/hot", ttl=self._random.choice([100, 200, None]))
        return c.Set(b"/hot/key", self._value())

    def _set(self) -> c.Command:
        directory = self._maybe()
        refresh = self._rarely()
        value = b"" if directory else self._value()
        return c.Set(self.path(), value, directory, self._ttl(), refresh)

    def _create(self) -> c.Command:
        return c.Create(self.path(), self._value(), self._maybe(), self._ttl(), self._maybe())

    def _update(self) -> c.Command:
        value = b"" if self._maybe() else self._value()
        return c.Update(self.path(), value, self._ttl(), self._rarely())

    def _compare_and_swap(self) -> c.Command:
        path = self.path()
        value, index = self._expected(path)
        return c.CompareAndSwap(path, self._value(), self._ttl(), value, index, self._rarely())

    def _compare_and_delete(self) -> c.Command:
        path = self.path()
        return c.CompareAndDelete(path, *self._expected(path))

    def _expected(self, path: bytes) -> tuple[bytes | None, int]:
        """What is really there, mostly."""
        found = self._model.files.get(path)
        value = found.value if found and self._often() else b"other"
        index = found.modified if found and self._often() else self._random.randrange(1, 9)
        return self._random.choice([(value, 0), (None, index), (value, index)])

    def _delete(self) -> c.Command:
        return c.Delete(self.path(), self._maybe(), self._maybe())

    def _expire(self) -> c.Command:
        return c.Expire(self._random.choice([0, 1, 2, 100]))

    def put(self) -> c.Put:
        """A v3 put."""
        lease = self._random.choice([*LEASES, *self._model.leases]) if self._maybe() else 0
        return c.Put(self.key(), self._value(), lease, self._rarely(), self._rarely())

    def range_end(self, key: bytes) -> bytes | None:
        """None, all that follows, a prefix, or something else."""
        return self._random.choice([None, None, None, key + b"0", b"/a/b", b"\0" if self._rarely() else b"/b"])

    def delete_range(self) -> c.DeleteRange:
        """A v3 delete."""
        key = self.key()
        return c.DeleteRange(key, self.range_end(key))

    def read(self) -> c.Range:
        """A v3 read, at an old revision at times."""
        key = self.key()
        revision = self._random.randint(1, self._model.revision + 1) if self._maybe() else 0
        return c.Range(key, self.range_end(key), revision, self._random.choice([0, 0, 1, 2]))

    def _compare(self) -> c.Compare:
        key = self.key()
        targets: list[c.Target] = ["value", "version", "create", "mod", "lease"]
        relations: list[c.Relation] = ["=", "!=", "<", ">"]
        target = self._random.choice(targets)
        operand: int | bytes = b"v1" if target == "value" else self._random.choice([0, 1, 2, self._model.revision])
        end = self.range_end(key) if self._maybe() else None
        return c.Compare(key, target, self._random.choice(relations), operand, end)

    def txn(self, depth: int = 0) -> c.Txn:
        """A transaction, with others inside at times."""
        compare = tuple(self._compare() for _ in range(self._random.choice([0, 0, 1, 1, 2])))
        return c.Txn(compare, self._branch(depth), self._branch(depth))

    def _branch(self, depth: int) -> tuple[c.Operation, ...]:
        draws: list[Callable[[], c.Operation]] = [self.put, self.put, self.put, self.read, self.delete_range]
        found: list[c.Operation] = [self._random.choice(draws)() for _ in range(self._random.choice([0, 1, 2, 3]))]
        if depth < 2 and self._maybe():
            found.insert(self._random.randint(0, len(found)), self.txn(depth + 1))
        return tuple(found)

    def _lease(self) -> int:
        known = list(self._model.leases)
        return self._random.choice(known) if known and self._often() else self._random.choice(LEASES)

    def _grant(self) -> c.Command:
        return c.LeaseGrant(self._random.choice(LEASES), self._random.choice([1, 2, 5, 60]))

    def _revoke(self) -> c.Command:
        return c.LeaseRevoke(self._lease())

    def _keep_alive(self) -> c.Command:
        return c.LeaseKeepAlive(self._lease())

    def _compact(self) -> c.Command:
        near = self._model.revision - self._random.choice([0, 1, 2, 5, 40, -1])
        return c.Compact(max(1, near))
