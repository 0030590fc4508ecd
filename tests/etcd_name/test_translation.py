"""What becomes of etcd's flags."""

import shutil
import subprocess
from pathlib import Path

import pytest

from core.config import load
from core.etcd_name.flags import FLAGS
from core.etcd_name.reading import UsageError, read
from core.etcd_name.translation import Translated, check_directory, translate


def of(line: str) -> Translated:
    return translate(read(line.split(), {}))


def test_without_flags_it_is_as_etcd_is() -> None:
    found = of("")
    assert found.warnings == ()
    config = load(found.settings, environ={})
    assert (config.name, config.data_dir) == ("default", Path("default.etcd"))
    assert [str(url) for url in config.listen_client_urls] == ["http://localhost:2379"]
    assert [str(url) for url in config.listen_peer_urls] == ["http://localhost:2380"]
    assert config.initial_cluster_token == "etcd-cluster"


def test_what_has_the_same_name_means_the_same() -> None:
    line = (
        "--name n1 --data-dir /d --listen-client-urls http://127.0.0.1:1 --advertise-client-urls http://127.0.0.1:1 "
        "--listen-peer-urls http://127.0.0.1:2 --initial-advertise-peer-urls http://127.0.0.1:2 "
        "--initial-cluster n1=http://127.0.0.1:2,n2=http://127.0.0.1:3 --initial-cluster-state existing "
        "--heartbeat-interval 50 --election-timeout=500 --max-request-bytes 1000 "
        "--cors http://a.example --log-level warn"
    )
    config = load(of(line).settings, environ={})
    assert [name for name, _ in config.initial_cluster] == ["n1", "n2"]
    assert (config.initial_cluster_state, config.heartbeat_interval, config.election_timeout) == ("existing", 50, 500)
    assert (config.max_request_bytes, config.cors, config.log_level) == (1000, ("http://a.example",), "warning")


@pytest.mark.parametrize(
    ("line", "setting", "value"),
    [
        ("--quota-backend-bytes 0", "quota-backend-bytes", None),
        ("--quota-backend-bytes 4096", "quota-backend-bytes", "4096"),
        ("--auto-compaction-retention 5", "auto-compaction-retention", "5"),
        ("--auto-compaction-retention 0", "auto-compaction-retention", "0"),
        ("--auto-compaction-mode revision --auto-compaction-retention 500", "history-revisions", "500"),
        ("--debug", "log-level", "debug"),
        ("--log-level panic", "log-level", "error"),
        ("--force-new-cluster", "force-new-cluster", "true"),
        ("--force-new-cluster=false", "force-new-cluster", None),
        ("--name x", "data-dir", "x.etcd"),
        ("--listen-client-urls http://0.0.0.0:2379", "allow-plain-http", "true"),
        ("--listen-client-urls http://127.0.0.1:2379", "allow-plain-http", None),
    ],
)
def test_what_is_said_otherwise_here(line: str, setting: str, value: str | None) -> None:
    assert of(line).settings.get(setting) == value


def test_plain_http_that_others_reach_is_accepted_with_a_warning() -> None:
    urls = "http://0.0.0.0:2379"
    found = of(f"--listen-client-urls {urls} --advertise-client-urls {urls}")
    assert "reads and writes every key" in found.warnings[0]
    assert "clients are told" in found.warnings[1]
    config = load(found.settings, environ={})
    assert not config.advertise_client_urls[0].wildcard


@pytest.mark.parametrize(
    "line",
    [
        "--snapshot-count 5", "--wal-dir /w", "--pre-vote=false", "--enable-v2=false", "--bcrypt-cost 4",
        "--grpc-keepalive-interval 1h", "--strict-reconfig-check=false", "--cipher-suites TLS_X", "--enable-pprof",
    ],
)  # fmt: skip
def test_what_has_no_effect_is_accepted_with_a_warning(line: str) -> None:
    (warning,) = of(line).warnings
    assert warning.startswith("--")
    assert "has no effect here: " in warning
    load(of(line).settings, environ={})


@pytest.mark.parametrize("line", ["--enable-v2", "--pre-vote", "--wal-dir=", "--metrics extensive", "--proxy off"])
def test_what_is_so_anyway_needs_no_word(line: str) -> None:
    assert of(line).warnings == ()


@pytest.mark.parametrize(
    "line",
    [
        "--proxy on", "--auto-tls", "--peer-auto-tls", "--client-crl-file f", "--peer-crl-file f",
        "--peer-cert-allowed-cn x", "--discovery-srv example.org", "--auth-token jwt,pub-key=x",
        "--listen-metrics-urls http://127.0.0.1:2381", "--log-level loud", "--auto-compaction-mode daily",
        "--listen-client-urls nonsense", "--discovery-fallback dance",
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(line: str) -> None:
    with pytest.raises(UsageError) as refused:
        of(line)
    assert line.split()[0] in str(refused.value)


def test_an_etcds_data_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "member").mkdir()
    with pytest.raises(UsageError, match="data directory of an etcd"):
        check_directory(tmp_path)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's package etcd-server")
def test_every_flag_of_debians_etcd_is_known() -> None:
    told = subprocess.run(["etcd", "--help"], capture_output=True, text=True, timeout=20, check=False)
    lines = [line.split()[0] for line in (told.stdout + told.stderr).splitlines() if line.startswith("  --")]
    named = {line.removeprefix("--") for line in lines}
    assert len(named) >= 80
    assert named - FLAGS.keys() == set()
