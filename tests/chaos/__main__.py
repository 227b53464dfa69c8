"""`python -m tests.chaos [--jobs N] [--seed N] [--write]`, `python -m tests.chaos --takeover`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.page import write
from tests.chaos.plan import LONG, SHORT, Plan
from tests.chaos.run import Result, run
from tests.chaos.takeover import measure


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the dice; by default new ones")
    parser.add_argument("--jobs", type=int, default=None, help="so many jobs must be accepted (300)")
    parser.add_argument("--seconds", type=float, default=None, help="for everything (600)")
    parser.add_argument("--short", action="store_true", help="the form that runs in `make test`")
    parser.add_argument("--takeover", action="store_true", help="how soon a killed worker's job starts elsewhere")
    parser.add_argument("--kills", type=int, default=5, help="with --takeover: so many kills")
    parser.add_argument("--write", action="store_true", help="put what came out into docs/reliability.md")
    parser.add_argument("--keep", type=Path, default=None, help="work in this folder, and leave it")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    size = SHORT if arguments.short else LONG
    given = {"jobs": arguments.jobs, "seconds": arguments.seconds}
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    return Plan(seed=seed, **{**size, **{name: value for name, value in given.items() if value is not None}})


def _say(result: Result) -> None:
    print(result.table(), result.summary(), sep="\n\n")
    for remark in result.verdict.remarks:
        print("  ", remark)
    for complaint in result.verdict.complaints:
        print("!!", complaint)


def main() -> int:
    """Run it; 0 where nobody has cause to complain."""
    arguments = _arguments()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="zoetrope-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    good = _takeover(folder, arguments) if arguments.takeover else _chaos(folder, arguments)
    if good and not arguments.keep:
        shutil.rmtree(folder)
    else:
        print(f"Logs, records and files are left in {folder}")
    return 0 if good else 1


def _takeover(folder: Path, arguments: argparse.Namespace) -> bool:
    takeover = asyncio.run(measure(folder, arguments.kills))
    print(takeover.markdown())
    if arguments.write:
        write("takeover", takeover.markdown())
    return takeover.good


def _chaos(folder: Path, arguments: argparse.Namespace) -> bool:
    result = asyncio.run(run(_plan(arguments), folder))
    _say(result)
    good = not result.verdict.complaints
    if arguments.write and good:
        write("chaos", f"{result.table()}\n\n{result.summary()[0].upper()}{result.summary()[1:]}.")
    return good


if __name__ == "__main__":
    sys.exit(main())
