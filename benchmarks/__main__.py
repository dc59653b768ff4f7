"""
    python -m benchmarks [--quick] [--only NAME,...] [--rounds N] [--output DIR]
    python -m benchmarks --against COMMIT [--quick] [--only NAME,...] [--rounds N]
    python -m benchmarks --status [--quick] [--rounds N]
    python -m benchmarks --resumption [--quick] [--rounds N]
    python -m benchmarks --names [--quick] [--rounds N]
    python -m benchmarks --proxy-out [--quick] [--rounds N]
    python -m benchmarks --pool [--quick] [--rounds N]

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


def main() -> int:
    """@return: an exit status; 1 if there was nothing to measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="within 3 minutes instead of 12 to 15")
    parser.add_argument("--against", metavar="COMMIT", help="the checkout beside this commit")
    parser.add_argument("--status", action="store_true", help="the checkout with and without it")
    parser.add_argument("--resumption", action="store_true", help="client mode with and without")
    parser.add_argument("--names", action="store_true", help="the checkout with one name and many")
    parser.add_argument("--proxy-out", action="store_true", help="with the PROXY protocol, without")
    parser.add_argument("--pool", action="store_true", help="the pool service beside a tunnel")
    parser.add_argument("--only", metavar="NAMES", help="these contenders, with commas between")
    parser.add_argument("--rounds", type=int, help="turns of every contender")
    parser.add_argument("--output", type=Path, metavar="DIR", help="instead of benchmarks/results")
    options = parser.parse_args()
    ratios = [
        bool(options.against),
        options.status,
        options.resumption,
        options.names,
        options.proxy_out,
        options.pool,
    ]
    named = "--against, --status, --resumption, --names, --proxy-out and --pool"
    if any(ratios) and options.output:
        parser.error(f"{named} only print their table")
    if sum(ratios) > 1:
        parser.error(f"{named} are measurements of their own")
    # OpenSSL reads this once, when it is loaded: the load's own TLS must find it.
    conf = str(_HERE / "openssl.cnf")
    if os.environ.get("OPENSSL_CONF") != conf:
        environment = {**os.environ, "OPENSSL_CONF": conf}
        return subprocess.call([sys.executable, "-m", "benchmarks", *sys.argv[1:]], env=environment)

    from benchmarks import against, bench, measures

    quick = options.quick or os.environ.get("QUICK", "") not in ("", "0")
    only = options.only.split(",") if options.only else None
    if options.status:
        return against.ofStatus(against.QUICK if quick else against.FULL, options.rounds)
    if options.resumption:
        return against.ofResumption(against.QUICK if quick else against.FULL, options.rounds)
    if options.names:
        return against.ofNames(against.QUICK if quick else against.FULL, options.rounds)
    if options.proxy_out:
        return against.ofProxyOut(against.QUICK if quick else against.FULL, options.rounds)
    if options.pool:
        return against.ofPool(against.QUICK if quick else against.FULL, options.rounds)
    if options.against:
        others = ([] if quick else ["stunnel"]) if only is None else only
        seconds = against.QUICK if quick else against.FULL
        return against.main(options.against, seconds, options.rounds, others)
    scale = measures.QUICK if quick else measures.FULL
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    if os.geteuid() == 0:
        subprocess.run([str(_HERE / "install")], check=True, stdout=subprocess.DEVNULL)
    return bench.main(scale, only, options.output or _HERE / "results")


if __name__ == "__main__":
    sys.exit(main())
