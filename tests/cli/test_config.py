"""Where settings come from, in which order, and what is refused with which sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.addresses import Url, parse
from core.config import Config, ConfigError, load, unknown_variables
from core.setting_texts import duration, size
from core.settings import SETTINGS


def test_defaults() -> None:
    config = load({}, None, {})
    assert config.name == "default"
    assert config.data_dir == Path("default.corenode")
    assert config.socket == Path("default.corenode/corenode.sock")
    assert config.listen_client_urls == (Url("http", "127.0.0.1", 2379),)
    assert (config.auto_compaction_retention, config.history_revisions) == (86400.0, 1_000_000)
    assert (config.quota_backend_bytes, config.max_request_bytes) == (8 << 30, 1_572_864)


def test_every_setting_is_a_field_and_the_other_way_round() -> None:
    assert {s.field for s in SETTINGS} == set(Config.__struct_fields__) - {"flags", "file"}


def test_flag_before_variable_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "corenode.toml"
    file.write_text(
        'name = "file"\nlog-level = "error"\nhistory-revisions = 7\nallow-plain-http = true\ncors = ["a", "b"]'
    )
    config = load({"name": "flag"}, file, {"CORENODE_NAME": "variable", "CORENODE_LOG_LEVEL": "debug"})
    assert (config.name, config.log_level, config.history_revisions) == ("flag", "debug", 7)
    assert config.allow_plain_http
    assert config.cors == ("a", "b")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('data_dir = "x"', "there is no setting 'data_dir'; did you mean data-dir?"),
        ('quux = "x"', "there is no setting 'quux'; `corenode up --help` lists them."),
        ("name = 1.5", "a text, a number, true, false or a list of texts is expected"),
        ("name = ", "is not valid TOML"),
        ('log-level = "loud"', "log-level: 'loud' is not one of debug, info, warning, error."),
    ],
)
def test_wrong_file(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "corenode.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load({}, file, {})
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load({}, tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"listen-client-urls": "ftp://127.0.0.1:1"}, "does not begin with http:// or https://"),
        ({"listen-client-urls": "http://127.0.0.1"}, "names no port; write it like http://127.0.0.1:2379"),
        ({"listen-client-urls": "http://127.0.0.1:99999"}, "is not a number from 0 to 65535"),
        ({"listen-client-urls": "http://:1"}, "names no host"),
        ({"listen-client-urls": "http://127.0.0.1:1/v2"}, "more than a scheme, a host and a port"),
        ({"listen-client-urls": "http://me@127.0.0.1:1"}, "more than a scheme, a host and a port"),
        ({"listen-client-urls": ""}, "is empty"),
        ({"listen-client-urls": "http://example.org:1"}, "has a host name"),
        ({"listen-client-urls": "http://127.0.0.1:1,http://127.0.0.1:1"}, "is there twice"),
        ({"listen-client-urls": "http://10.0.0.1:1"}, "add --allow-plain-http if you mean it"),
        ({"listen-client-urls": "http://0.0.0.0:1", "allow-plain-http": "true"}, "add --advertise-client-urls"),
        ({"advertise-client-urls": "http://0.0.0.0:1"}, "nobody can connect to http://0.0.0.0:1"),
        ({"advertise-client-urls": "http://127.0.0.1:0"}, "nobody can connect to http://127.0.0.1:0"),
        ({"listen-client-urls": "https://127.0.0.1:1"}, "add --cert-file and --key-file"),
        ({"cert-file": "/dev/null"}, "no --listen-client-urls URL begins with https://"),
        ({"client-cert-auth": "true"}, "--client-cert-auth needs an https:// URL"),
        ({"client-cert-auth": "perhaps"}, "neither true nor false"),
        ({"socket": "/" + "s" * 120}, "longer than the 107 bytes"),
        ({"name": "a=b"}, "is no name"),
        ({"initial-cluster": "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380"}, "does not name this member, default"),
        ({"initial-cluster": "default=http://10.0.0.1:2380,b=http://10.0.0.2:2380"}, "members speak only TLS"),
        ({"initial-cluster": "default=https://10.0.0.1:2380,b=https://10.0.0.2:2380"}, "need all of --peer-cert-file"),
        ({"initial-cluster": "default=http://127.0.0.1:1,b=http://127.0.0.1:1"}, "cannot be both default and b"),
        ({"initial-cluster": "default"}, "is no member; write it like"),
        ({"initial-cluster": "default=http://a:1,b=http://b:1"}, "add --listen-peer-urls"),
        (
            {"initial-cluster": "default=http://127.0.0.1:1", "initial-advertise-peer-urls": "http://127.0.0.1:2"},
            "write the same in both",
        ),
        ({"initial-cluster-state": "existing"}, "add --initial-cluster with the members of that cluster"),
        ({"listen-peer-urls": "http://10.0.0.1:2380"}, "members speak only TLS"),
        ({"listen-peer-urls": "http://0.0.0.0:2380"}, "members speak only TLS"),
        ({"listen-peer-urls": "http://name:2380"}, "has a host name"),
        ({"peer-cert-file": "/dev/null"}, "need all of --peer-cert-file"),
        ({"election-timeout": "400"}, "at least five times"),
        ({"initial-cluster-token": ""}, "is empty"),
        ({"history-revisions": "0"}, "not a whole number above 0"),
        ({"quota-backend-bytes": "8 apples"}, "is no size"),
        ({"auto-compaction-retention": "soon"}, "is no duration"),
        ({"update-slot": "C"}, "is neither A nor B"),
        ({"update-group": "a/b"}, "is no group"),
        ({"update-healthy": "60"}, "has no unit; write it like 60s or 60m"),
        ({"update-check": "sh -c 'open"}, "is no command: No closing quotation"),
        ({"reboot-strategy": "best-effort"}, "is not one of lock, reboot, off"),
        ({"reboot-command": ""}, "write --reboot-strategy off"),
        ({"reboot-window-start": "04:00"}, "belong together"),
        ({"reboot-window-start": "04:00", "reboot-window-length": "25h"}, "is no length of a window"),
    ],
)
def test_wrong_flags(flags: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags, None, {})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_updates_are_configured_in_locksmiths_words() -> None:
    found = load({"reboot-strategy": "etcd-lock", "update-check": "sh -c 'a b'", "update-rate-limit": "2MiB"}, None, {
        "CORENODE_REBOOT_WINDOW_START": "Thu 23:00", "CORENODE_REBOOT_WINDOW_LENGTH": "1h30m",
    })  # fmt: skip
    assert (found.reboot_strategy, found.update_check, found.update_rate_limit) == (
        "lock",
        ("sh", "-c", "a b"),
        2 << 20,
    )
    assert found.reboot_window is not None
    assert found.reboot_window.weekday == 3
    assert load({}, None, {}).reboot_window is None


def test_unreadable_certificate(tmp_path: Path) -> None:
    flags = {"listen-client-urls": "https://127.0.0.1:1", "cert-file": str(tmp_path / "no"), "key-file": "/dev/null"}
    with pytest.raises(ConfigError, match=r"--cert-file: .*/no cannot be read: No such file"):
        load(flags, None, {})


def test_what_fits_a_cluster_of_one_is_taken() -> None:
    config = load({"initial-cluster": "default=http://localhost:2380", "initial-cluster-state": "new"}, None, {})
    assert config.initial_cluster == (("default", (Url("http", "localhost", 2380),)),)
    assert config.initial_advertise_peer_urls == (Url("http", "localhost", 2380),)
    assert config.listen_peer_urls == ()


def test_wildcard_is_taken_when_meant() -> None:
    flags = {
        "listen-client-urls": "http://0.0.0.0:1,http://[::]:1",
        "allow-plain-http": "true",
        "advertise-client-urls": "http://host.example:1",
    }
    config = load(flags, None, {})
    assert config.advertised(config.listen_client_urls) == (Url("http", "host.example", 1),)


def test_a_reload_takes_what_is_live_and_names_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "corenode.toml"
    file.write_text('log-level = "info"\nhistory-revisions = 5')
    config = load({}, file, {})
    file.write_text('log-level = "debug"\nhistory-revisions = 6')
    fresh, restart = config.reload({})
    assert (fresh.log_level, fresh.history_revisions, restart) == ("debug", 5, ["history-revisions"])
    file.write_text("nonsense")
    with pytest.raises(ConfigError):
        fresh.reload({})


def test_unknown_variables_are_named() -> None:
    environ = {"CORENODE_NAME": "a", "CORENODE_ENDPOINTS": "b", "CORENODE_NMAE": "c", "HOME": "/"}
    assert unknown_variables(environ, frozenset({"CORENODE_ENDPOINTS"})) == ["CORENODE_NMAE"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("500ms", 0.5), ("0", 0), ("2", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("1k", 1024), ("512MiB", 512 << 20), ("8GiB", 8 << 30)])
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_refusal(text: str) -> None:
    try:
        url = parse(text)
    except ValueError:
        return
    assert parse(str(url)) == url
