"""`corenode up`: this host's node, in the foreground."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.commands.connection import VARIABLES
from core.commands.failure import Failure
from core.settings import SETTINGS, Setting

if TYPE_CHECKING:
    from core.config import Config

JOINED = "corenode.toml"

_HELP = """Run this host's node in the foreground until SIGTERM or Ctrl-C.

SIGHUP reads the configuration anew.

Every setting can also be a line of the configuration file (TOML: listen-client-urls = "http://127.0.0.1:2379") or a
variable (CORENODE_LISTEN_CLIENT_URLS). Flags come before variables before the file. Without --config the file is
corenode.toml in the data directory, or here, if there is one: `corenode join` leaves it there.

\b
Examples:
  corenode up --data-dir data
  corenode up --config /etc/corenode.toml --log-format json
  corenode up --listen-client-urls http://127.0.0.1:2379,http://127.0.0.1:4001
  corenode up --listen-client-urls https://10.0.0.5:2379 --cert-file node.pem --key-file node.key
"""


class _UpCommand(click.Command):
    """Shows its options under the headings of the settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {option.name: option.get_help_record(ctx) for option in self.get_params(ctx)}
        headings = {"Configuration": ["config"]}
        for setting in SETTINGS:
            headings.setdefault(setting.group, []).append(setting.field)
        for heading, fields in headings.items():
            with formatter.section(heading):
                formatter.write_dl([record for field in fields if (record := records[field]) is not None])


def _option(setting: Setting) -> click.Option:
    # The text is read by `core.config`, which reads the same text from a file and the environment.
    switch: dict[str, Any] = {"is_flag": False, "flag_value": "true", "metavar": "[true]"} if setting.flag else {}
    shown = f"{setting.help}  [default: {setting.default}]" if setting.default and not setting.flag else setting.help
    return click.Option([f"--{setting.name}", setting.field], help=shown, **{"metavar": setting.metavar, **switch})


def left_by_join(data_dir: str | None) -> Path | None:
    """The configuration that `corenode join` wrote into the data directory, which may be where we are."""
    file = Path(data_dir or os.environ.get("CORENODE_DATA_DIR", "")) / JOINED
    return file if file.exists() else None


def _up(config: Path | None, **given: str | None) -> None:
    from core.config import ConfigError, load, unknown_variables

    config = config or left_by_join(given["data_dir"])
    flags = {s.name: text for s in SETTINGS if (text := given[s.field]) is not None}
    try:
        settings = load(flags, config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    known = VARIABLES | {"CORENODE_CONFIG", "CORENODE_CACHE", "CORENODE_TOKEN"}
    unknown = unknown_variables(os.environ, known)
    serve(settings, [("this environment variable means nothing to corenode", {"variable": name}) for name in unknown])


def serve(settings: "Config", warnings: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Run the node of this configuration until a signal ends it; `warnings`, texts with what goes with them, go to the
    log first. Failure."""
    from core import daemon, logs, worker
    from core.kv.errors import DamagedError
    from core.service import StartError
    from core.store_lmdb.errors import StoreError

    handler = logs.setup(settings.log_format, settings.log_level)
    if settings.file is not None:
        logs.log.info("configuration read", extra={"file": str(settings.file.absolute())})
    for warning, about in warnings:
        logs.log.warning(warning, extra=dict(about))
    try:
        (worker if settings.role == "worker" else daemon).run(settings)
    except (StartError, StoreError, DamagedError) as error:
        raise Failure(str(error)) from None
    except BaseExceptionGroup as group:
        expected, unexpected = group.split((StartError, StoreError, DamagedError))
        if expected is None or unexpected is not None:
            raise
        raise Failure(str(_first(expected))) from None
    finally:
        handler.flush()


def _first(error: BaseException) -> BaseException:
    """The first exception of nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


command = _UpCommand(
    "up",
    callback=_up,
    help=_HELP,
    params=[
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            envvar="CORENODE_CONFIG",
            help="Configuration file, TOML; also CORENODE_CONFIG.",
        ),
        *(_option(setting) for setting in SETTINGS),
    ],
)
