"""`corenode kv txn`."""

import sys
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options

if TYPE_CHECKING:
    from core.client import KeyValue, Result, Store, TxnResult


@click.command()
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def txn(output_: str, connection: Connection) -> None:
    """Carry out the transaction on standard input, in etcdctl's form: conditions, an empty line, what to do if all of
    them hold, an empty line, what to do otherwise. Exits 0 in both cases, and says which on its first line.

    Conditions compare value, version, create, mod or lease of a key by =, !=, < or >. What can be done: put KEY VALUE
    [--lease ID] [--prev-kv], get KEY [END] [--prefix] [--limit N] [--rev N] [--keys-only] [--count-only], del KEY [END]
    [--prefix] [--prev-kv]. With -o json keys and values are in base64, as in the v3 dialect.

    \b
    Example:
      corenode kv txn <<END
      version("/deploy") = "0"
      mod("/app/config") > "0"

      put /deploy "in progress"
      get --prefix /app/

      get /deploy
      END
    """
    from core.commands.kv_txn_text import NotATransactionError, parse

    connection.find()  # wrong endpoints are said before anything is read
    if sys.stdin.isatty():
        output.note("Conditions, an empty line, what to do, an empty line, what to do otherwise; Ctrl-D ends it.")
    try:
        transaction = parse(sys.stdin.buffer.read().decode())
    except UnicodeDecodeError:
        raise click.UsageError("Standard input is not UTF-8 text.") from None
    except NotATransactionError as error:
        raise click.UsageError(f"{error}.") from None

    async def work(store: "Store") -> "TxnResult":
        return await store.txn(transaction.compare, transaction.then, transaction.otherwise)

    done = connection.run_store(work)
    if output_ == output.JSON:
        output.json(done)
        return
    click.echo("SUCCESS" if done.succeeded else "FAILURE")
    for response in done.responses:
        click.echo()
        _show(response)


def _show(result: "Result") -> None:
    from core.client import DeleteResult, PutResult, RangeResult, TxnResult

    match result:
        case PutResult():
            click.echo("OK")
            _pairs([] if result.previous is None else [result.previous])
        case DeleteResult():
            click.echo(result.deleted)
            _pairs(result.previous)
        case RangeResult():
            if result.kvs or not result.count:
                _pairs(result.kvs)
            else:
                click.echo(result.count)
        case TxnResult():
            click.echo("SUCCESS" if result.succeeded else "FAILURE")


def _pairs(found: "list[KeyValue] | tuple[KeyValue, ...]") -> None:
    for kv in found:
        click.echo(output.printable(kv.key.decode(errors="backslashreplace")))
        click.echo(output.printable(kv.value.decode(errors="backslashreplace")))
