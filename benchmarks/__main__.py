"""
    python -m benchmarks [--quick] [--only NAME,...] [--rounds N] [--output DIR]

or one part of that alone, of which only the tables are printed:

    python -m benchmarks --defaults|--floods|--workers [--quick] [--only NAME,...] [--rounds N]
    python -m benchmarks --instructions [--keep] [--quick]

or the checkout beside itself, in another form:

    python -m benchmarks --against COMMIT [--quick] [--only NAME,...] [--rounds N]
    python -m benchmarks --status|--resumption|--names|--proxy-out|--pool [--quick] [--rounds N]

QUICK=1 in the environment is the same as C{--quick}.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

_HERE = Path(__file__).parent

_PARTS = {
    "defaults": "every contender as its package configures it",
    "floods": "how long others wait beside a flood",
    "workers": "what several workers are worth",
    "instructions": "counted, and beside what is kept: an exit status of 1 where it is worse",
}
_COMPARISONS = {
    "status": "the checkout with and without it",
    "resumption": "client mode with and without",
    "names": "the checkout with one name and many",
    "proxy-out": "with the PROXY protocol, without",
    "pool": "the pool service beside a tunnel",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="within 5 minutes instead of 30")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--against", metavar="COMMIT", help="the checkout beside this commit")
    for name, text in {**_COMPARISONS, **_PARTS}.items():
        alone.add_argument(f"--{name}", action="store_const", const=name, dest="alone", help=text)
    parser.add_argument("--keep", action="store_true", help="with --instructions: these, from now")
    parser.add_argument("--only", metavar="NAMES", help="these contenders, with commas between")
    parser.add_argument("--rounds", type=int, help="turns of every contender")
    parser.add_argument("--output", type=Path, metavar="DIR", help="instead of benchmarks/results")
    return parser


def main() -> int:
    """@return: an exit status; 1 if there was nothing to measure."""
    parser = _parser()
    options = parser.parse_args()
    if options.output and (options.alone or options.against):
        parser.error("--output is for all of it: what is measured alone only prints its table")
    if options.keep and options.alone != "instructions":
        parser.error("--keep is for --instructions")
    # OpenSSL reads this once, when it is loaded: the load's own TLS must find it.
    conf = str(_HERE / "openssl.cnf")
    if os.environ.get("OPENSSL_CONF") != conf:
        environment = {**os.environ, "OPENSSL_CONF": conf}
        return subprocess.call([sys.executable, "-m", "benchmarks", *sys.argv[1:]], env=environment)

    quick = options.quick or os.environ.get("QUICK", "") not in ("", "0")
    only = options.only.split(",") if options.only else None
    if options.against or options.alone in _COMPARISONS:
        return _compare(options, quick, only)
    return _measure(options, quick, only)


def _compare(options: argparse.Namespace, quick: bool, only: list[str] | None) -> int:
    from benchmarks import against

    seconds = against.QUICK if quick else against.FULL
    if options.against:
        others = ([] if quick else ["stunnel"]) if only is None else only
        return against.main(options.against, seconds, options.rounds, others)
    comparison = {
        "status": against.ofStatus,
        "resumption": against.ofResumption,
        "names": against.ofNames,
        "proxy-out": against.ofProxyOut,
        "pool": against.ofPool,
    }[options.alone]
    return comparison(seconds, options.rounds)


def _measure(options: argparse.Namespace, quick: bool, only: list[str] | None) -> int:
    from benchmarks import bench, kept, measures, parts

    scale = measures.QUICK if quick else measures.FULL
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    if os.geteuid() == 0:
        subprocess.run([str(_HERE / "install")], check=True, stdout=subprocess.DEVNULL)
    if options.alone == "instructions":
        return kept.main(bench.main(scale, ["tlstunnel"], (parts.counts,)), options.keep)
    alone = {"defaults": parts.byDefault, "floods": parts.floods, "workers": parts.workers}
    if options.alone:
        return 0 if bench.main(scale, only, (alone[options.alone],)) else 1
    run = bench.main(scale, only, parts.EVERYTHING, options.output or _HERE / "results")
    if run is None:
        return 1
    kept.show(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
