"""Where etcd's flags come from, and how they are spelled."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from core.etcd_name.reading import UsageError, parse, read

SPELLINGS: list[tuple[str, dict[str, str]]] = [
    ("", {}),
    ("--name a", {"name": "a"}),
    ("-name a", {"name": "a"}),
    ("--name=a", {"name": "a"}),
    ("-name=a", {"name": "a"}),
    ("--name=a=b", {"name": "a=b"}),
    ("--name=", {"name": ""}),
    ("--name --debug", {"name": "--debug"}),
    ("--name a --name b", {"name": "b"}),
    ("--name a -name=b", {"name": "b"}),
    ("--debug", {"debug": "true"}),
    ("-debug=false", {"debug": "false"}),
    ("--debug=T --name a", {"debug": "true", "name": "a"}),
    ("--debug --debug=0", {"debug": "false"}),
    ("--enable-v2 --name x", {"enable-v2": "true", "name": "x"}),
    ("--listen-client-urls http://a:1,http://b:2", {"listen-client-urls": "http://a:1,http://b:2"}),
    ("-h", {"help": "true"}),
    ("--help", {"help": "true"}),
    ("--name a --", {"name": "a"}),
]


@pytest.mark.parametrize(("line", "found"), SPELLINGS)
def test_every_spelling_that_go_takes(line: str, found: dict[str, str]) -> None:
    assert parse(line.split()) == found


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--nonsense", "flag provided but not defined: -nonsense"),
        ("--name", "flag needs an argument: -name"),
        ("---name a", "bad flag syntax"),
        ("--=a", "bad flag syntax"),
        ("member", "'member' is not a valid flag"),
        ("--debug true", "'true' is not a valid flag"),
        ("--name a -- b", "'b' is not a valid flag"),
        ("-", "'-' is not a valid flag"),
        ("--debug=yes", "invalid boolean value 'yes' for --debug"),
    ],
)
def test_what_go_refuses(line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(line.split())


def values(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    return read(arguments, environ).values


def test_flags_come_before_variables() -> None:
    given = read(
        ["--name", "flag"], {"ETCD_NAME": "variable", "ETCD_DATA_DIR": "/d", "ETCD_ENABLE_V2": "1", "HOME": "/"}
    )
    assert given.values == {"name": "flag", "data-dir": "/d", "enable-v2": "true"}
    assert given.warnings == ("the flag --name counts, and not the variable ETCD_NAME",)


def test_variables_that_mean_nothing_are_warned_of() -> None:
    given = read([], {"ETCD_NMAE": "x", "ETCD_UNSUPPORTED_ARCH": "arm64", "ETCD_NAME": ""})
    assert given.values == {}
    assert given.warnings == ("the variable ETCD_NMAE means nothing to etcd",)


FILE = """
name: 'from-file'
data-dir: /var/lib/etcd
wal-dir:
snapshot-count: 10000
quota-backend-bytes: 0
strict-reconfig-check: false
listen-client-urls: https://10.0.0.1:2379
client-transport-security:
  cert-file: c.crt
  client-cert-auth: true
peer-transport-security:
  cert-file: p.crt
  trusted-ca-file: ca.crt
log-outputs: [stderr]
colour: blue
"""


def test_a_file_counts_alone(tmp_path: Path) -> None:
    file = tmp_path / "etcd.yml"
    file.write_text(FILE)
    wanted = {
        "name": "from-file",
        "data-dir": "/var/lib/etcd",
        "snapshot-count": "10000",
        "quota-backend-bytes": "0",
        "strict-reconfig-check": "false",
        "listen-client-urls": "https://10.0.0.1:2379",
        "cert-file": "c.crt",
        "client-cert-auth": "true",
        "peer-cert-file": "p.crt",
        "peer-trusted-ca-file": "ca.crt",
        "log-outputs": "stderr",
    }
    given = read(["--name", "flag", "--config-file", str(file)], {"ETCD_DATA_DIR": "/elsewhere"})
    assert given.values == wanted
    assert given.warnings == (
        f"the configuration is that of {file}; other flags and variables are ignored",
        f"{file}: colour means nothing to etcd",
    )
    assert values([], {"ETCD_CONFIG_FILE": str(file)}) == wanted
    assert values(["--version", "--config-file", str(file)], {})["version"] == "true"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "must hold names and values"),
        ("name: {a: b}", "name: a text"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("debug: maybe", "invalid boolean"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "etcd.yml"
    file.write_text(content)
    with pytest.raises(UsageError, match=why):
        read(["--config-file", str(file)], {})
    with pytest.raises(UsageError, match="cannot be read"):
        read(["--config-file", str(tmp_path / "nothing")], {})
