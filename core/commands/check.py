"""`corenode check`: a data directory read from end to end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.store_lmdb.directory import DataDirectory


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Of a stopped node.")
@output.format_option(output.TABLE, output.JSON)
def command(data_dir: Path, output_: str) -> None:
    """Read all of a data directory, every page and every row against its checksum. Exit 1 if anything is damaged.

    For a node that does not run; of one that runs, `corenode health` says what it has met (ALARM CORRUPT). Nothing is
    repaired: a damaged member is replaced by a new one, or by a restored snapshot.

    \b
    Examples:
      corenode check --data-dir /var/lib/corenode
      corenode check --data-dir data -o json
    """
    from core.store_lmdb.directory import DataDirectory
    from core.store_lmdb.errors import CorruptError, StoreError

    try:
        directory = DataDirectory.open(data_dir)
        try:
            found = _read(directory)
        finally:
            directory.close()
    except CorruptError as error:
        if output_ == output.JSON:
            output.json({"data_dir": str(data_dir), "whole": False, "problem": str(error)})
        raise Failure(str(error)) from None
    except StoreError as error:
        raise Failure(f"{error}.".replace("..", ".")) from None
    if output_ == output.JSON:
        output.json({"data_dir": str(data_dir), "whole": True, **found})
        return
    log = f"{found['log']['first']} to {found['log']['last']}"
    rows = [(f"state, {table}", f"{count} rows") for table, count in found["rows"].items()]
    output.table(("WHOLE", "HOLDS"), [("log", f"entries {log}"), *rows])


def _read(directory: "DataDirectory") -> dict[str, Any]:
    """What is in it. CorruptError at the first damage."""
    rows = directory.verify()
    log = directory.log
    return {
        "cluster_id": f"{directory.identity.cluster:x}",
        "member_id": f"{directory.identity.member:x}",
        "log": {"first": log.floor.index + 1, "last": log.last.index},
        "rows": rows,
    }
