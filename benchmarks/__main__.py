"""
    python -m benchmarks [--quick] [--only NAME,...] [--rounds N] [--output DIR]

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
    parser.add_argument("--quick", action="store_true", help="within 3 minutes instead of 15")
    parser.add_argument("--only", metavar="NAMES", help="these contenders, with commas between")
    parser.add_argument("--rounds", type=int, help="turns of every contender")
    parser.add_argument("--output", type=Path, default=_HERE / "results", metavar="DIR")
    options = parser.parse_args()
    # OpenSSL reads this once, when it is loaded: the load's own TLS must find it.
    conf = str(_HERE / "openssl.cnf")
    if os.environ.get("OPENSSL_CONF") != conf:
        environment = {**os.environ, "OPENSSL_CONF": conf}
        return subprocess.call([sys.executable, "-m", "benchmarks", *sys.argv[1:]], env=environment)

    from benchmarks import bench, measures

    quick = options.quick or os.environ.get("QUICK", "") not in ("", "0")
    scale = measures.QUICK if quick else measures.FULL
    if options.rounds:
        scale = replace(scale, rounds=options.rounds)
    if os.geteuid() == 0:
        subprocess.run([str(_HERE / "install")], check=True, stdout=subprocess.DEVNULL)
    return bench.main(scale, options.only.split(",") if options.only else None, options.output)


if __name__ == "__main__":
    sys.exit(main())
