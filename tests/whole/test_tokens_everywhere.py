"""A token of v3, got from one member, shown to the others and to a worker."""

import http.client
import json
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.whole.cluster import ClusterOf
from tests.whole.servers import HOST, Server
from tests.whole.test_access_under_load import administer
from tests.whole.test_worker import worker_of

pytestmark = pytest.mark.slow


def ask(server: Server, path: str, body: object, token: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    connection.request("POST", f"/v3/{path}", json.dumps(body), headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


def answers(server: Server, put: object, token: str, status: int) -> bool:
    return ask(server, "kv/put", put, token)[0] == status


def test_it_is_good_at_every_member_until_the_password_changes(tmp_path: Path) -> None:
    put = {"key": b64encode(b"a").decode(), "value": ""}
    with ClusterOf(tmp_path, "n1", "n2", "n3") as cluster:
        one, *others = cluster.servers.values()
        for name, password in (("root", "secret"), ("alice", "first")):
            administer(one, "POST", "/v3/auth/user/add", {"name": name, "password": password})
        administer(one, "POST", "/v3/auth/user/grant", {"user": "root", "role": "root"})
        administer(one, "POST", "/v3/auth/role/add", {"name": "writer"})
        right = {"permType": "READWRITE", "key": put["key"]}
        administer(one, "POST", "/v3/auth/role/grant", {"name": "writer", "perm": right})
        administer(one, "POST", "/v3/auth/user/grant", {"user": "alice", "role": "writer"})
        administer(one, "POST", "/v3/auth/enable", {})
        status, told = ask(one, "auth/authenticate", {"name": "alice", "password": "first"})
        assert status == 200, told
        token = told["token"]
        with worker_of(tmp_path, *others) as worker:
            for server in (one, *others, worker):
                cluster.until(partial(answers, server, put, token, 200), "the token is good")
                assert ask(server, "kv/put", put, token[:-12] + 12 * "x")[0] == 401
                assert ask(server, "kv/put", put)[0] != 200
            administer(one, "POST", "/v3/auth/user/changepw", {"name": "alice", "password": "second"})
            for server in (one, *others, worker):
                cluster.until(partial(answers, server, put, token, 401), "it is good no more")
