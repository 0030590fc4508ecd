"""`corenode bench`: a load for a cluster that runs, and what it made of it."""

import secrets
import sys
from typing import TYPE_CHECKING, Any

import click

from core.commands import holding, output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client import Store
    from core.commands.bench_load import Tally
    from core.commands.bench_run import Settings

OPERATIONS = ("put", "get", "range", "txn", "mixed", "watch")
PARTS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
PREFIX = "/corenode-bench"


@click.command()
@click.argument("operation", type=click.Choice(OPERATIONS))
@click.option(
    "--dialect", type=click.Choice(["v3", "v2"]), default="v3", show_default=True, help="The v3 gateway, or /v2/keys."
)
@click.option(
    "--connections",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    metavar="NUMBER",
    help="Open at a time, spread over the endpoints; of watch, watchers.",
)
@click.option(
    "--keys",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    metavar="NUMBER",
    help="Written before, then taken at random.",
)
@click.option(
    "--value-size",
    type=click.IntRange(1, 1 << 20),
    default=64,
    show_default=True,
    metavar="BYTES",
    help="Of each value that is written.",
)
@click.option("--requests", type=click.IntRange(min=1), metavar="NUMBER", help="How many; of watch, puts.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long, unless --requests come first.  [default: 10, or until --requests]",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="PER-SECOND",
    help="Send so many, each at its time.  [default: the next when the last was answered]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 128),
    default=10,
    show_default=True,
    metavar="NUMBER",
    help="Puts of a transaction.",
)
@click.option("--local", is_flag=True, help="Reads may be answered by one member from its memory.")
@click.option("--yes", is_flag=True, help="Also where the cluster holds keys of others.")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def command(
    operation: str,
    dialect: str,
    connections: int,
    keys: int,
    value_size: int,
    requests: int | None,
    seconds: float | None,
    rate: float | None,
    batch: int,
    local: bool,
    yes: bool,
    output_: str,
    connection: Connection,
) -> None:
    """Load a running cluster, and say how many requests a second it served and how long they took.

    put writes a key, get reads one, range ten; txn writes --batch keys at once (v3); mixed is nine gets to a put; watch
    has --connections watchers of one key that is put, and counts the events. Reads are linearizable without --local.

    Keys are below /corenode-bench and are deleted at the end; what was written stays in the history until compaction.
    A cluster that holds other keys may be in use and become slow: then --yes is asked for.

    Failed requests did nothing. Writes of unknown outcome got no answer, and may have been done. Either makes exit 1.

    This is one process of Python. It tells latency well, but a core of its own sends no more than 20,000 to 30,000
    requests a second: where the rate comes near that, it is the limit and not the cluster. Then run several at once.

    \b
    Examples:
      corenode bench put
      corenode bench mixed --connections 16 --rate 1000 --seconds 60
      corenode bench get --local --dialect v2 --endpoints http://127.0.0.1:2379
      corenode bench watch --connections 500 --requests 100 -o json
    """
    from core.commands.bench_load import Limit
    from core.commands.bench_requests import Plan
    from core.commands.bench_run import Settings

    if operation == "txn" and dialect == "v2":
        raise click.UsageError("v2 has no transactions: leave out --dialect v2.")
    limit = Limit(requests, seconds if seconds or requests else 10.0, rate)
    prefix = f"{PREFIX}/{secrets.token_hex(4)}"
    plan = Plan(operation, dialect, prefix, keys, value_size, min(batch, keys), local)
    settings = Settings(plan, limit, connections, PREFIX, yes)
    connection = connection.asked()
    outcome: list[Tally] = []

    async def work(store: "Store") -> int:
        from core.commands.bench_run import Run

        run = Run(connection, store, settings)
        try:
            await run.measure()
        finally:
            if run.tally.seconds:
                outcome.append(run.tally)
                _show(settings, run.tally, run.endpoints, output_)
        return 0

    holding.run_held(connection, work)
    if outcome and (outcome[0].failed or outcome[0].unknown):
        raise Failure(_problem(outcome[0]))


def _show(settings: "Settings", tally: "Tally", endpoints: list[str], output_: str) -> None:
    """What came of it, also of a part."""
    plan = settings.plan
    milliseconds = {name: round(1e3 * tally.latencies.quantile(part), 3) for name, part in PARTS}
    milliseconds["longest"] = round(1e3 * tally.latencies.longest, 3)
    if output_ == output.JSON:
        found: dict[str, Any] = {
            "operation": plan.operation,
            "dialect": plan.dialect,
            "endpoints": endpoints,
            "connections": settings.connections,
            "value_bytes": plan.value_bytes,
            "seconds": round(tally.seconds, 6),
            "done": tally.done,
            "rate": round(tally.rate, 1),
            "milliseconds": milliseconds,
            "failed": dict(tally.failed),
            "unknown": dict(tally.unknown),
        }
        output.json(found)
        return
    what = "events" if plan.operation == "watch" else "requests"
    rows = [
        ("load", f"{plan.dialect} {plan.operation}, {settings.connections} connections to {', '.join(endpoints)}"),
        ("done", f"{tally.done:,} {what} in {tally.seconds:.1f} s"),
        ("rate", f"{tally.rate:,.1f} a second"),
        *((name, f"{value:.2f} ms") for name, value in milliseconds.items()),
        ("failed", f"{tally.failed.total():,}"),
        ("unknown outcome", f"{tally.unknown.total():,}"),
    ]
    output.table(("MEASURED", "FIGURE"), rows)
    sys.stdout.flush()


def _problem(tally: "Tally") -> str:
    """What went wrong, the most frequent first."""
    reasons = [f"{count:,} failed ({why})" for why, count in tally.failed.most_common(3)]
    reasons += [f"{count:,} of unknown outcome ({why})" for why, count in tally.unknown.most_common(3)]
    return f"Not all was done: {'; '.join(reasons)}.\nSee `corenode health` and the log of the node."
