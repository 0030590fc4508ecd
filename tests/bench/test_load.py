"""The load is what it claims to be: both servers take every request of it, over mutual TLS, and hold what it wrote."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.fanout import one_key
from bench.programs import corenode, etcd
from bench.rounds import fill, grant
from bench.servers import Cluster, Keys
from bench.start import first_answer
from bench.workloads import OPERATIONS
from bench.wrk import Load, Target, drive

pytestmark = pytest.mark.slow

KEYS, BYTES = 100, 100
V3_KEYS = '{"key":"L2JlbmNoMy8t","range_end":"L2JlbmNoMy8u"}'  # /bench3/- and on
OF_WRK = [operation for operation in OPERATIONS.values() if not operation.startswith("fan-out")]


@pytest.fixture(params=["corenode", "etcd"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    program = corenode() if request.param == "corenode" else etcd()
    with Cluster(program, tmp_path / "members", 1, Keys(tmp_path / "keys")) as running:
        yield running


def test_every_operation_is_taken(cluster: Cluster) -> None:
    [member] = cluster.members
    target = Target(member.url, 4)

    def write(operation: str) -> None:
        fill(cluster, Load(operation, KEYS, BYTES))

    def run(operation: str) -> bool:
        for _ in range(5):  # a machine at its limit may answer nothing for a second
            answers = drive([target], Load(operation, KEYS, BYTES), 1, cluster.certificate)
            assert answers.failed == 0, (operation, answers)
            assert answers.p50_ms <= answers.p99_ms <= answers.p999_ms
            if answers.requests:
                return True
        return False

    with ThreadPoolExecutor(len(OF_WRK)) as pool:
        assert list(pool.map(write, ("put2", "put3"))) == [None, None]
        page = json.loads(member.ask("GET", "/v2/keys/bench") or b"")
        assert {node["key"] for node in page["node"]["nodes"]} == {f"/bench/{number:09}" for number in range(KEYS)}
        assert {len(node["value"]) for node in page["node"]["nodes"]} == {BYTES}
        found = json.loads(member.ask("POST", "/v3/kv/range", V3_KEYS) or b"")
        assert found["count"] == str(KEYS)
        assert {len(each["value"]) for each in found["kvs"]} == {-(-BYTES // 3) * 4}
        grant(cluster)
        assert all(pool.map(run, OF_WRK))
    events = one_key(member.plain_port, 20, 0.2)
    assert events.requests >= 20


def test_without_its_certificate_nothing_is_served(cluster: Cluster) -> None:
    answers = drive([Target(cluster.members[0].url, 2)], Load("get2", KEYS, BYTES), 1)
    assert (answers.requests, answers.failed > 0) == (0, True)


def test_the_first_answer_is_one_to_a_put(tmp_path: Path) -> None:
    cluster = Cluster(corenode(), tmp_path, 1)
    try:
        assert 0.05 < first_answer(cluster) < 20
        assert b'"value":"x"' in (cluster.members[0].ask("GET", "/v2/keys/first") or b"")
    finally:
        cluster.kill()
