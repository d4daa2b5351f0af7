"""All benchmarks of quality, one after the other: `python -m benchmarks.quality --data FOLDER --write`.

Each keeps what it measured in `.bench/`, so a run that was stopped goes on where it was. `make clean` starts anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ALL = [
    *("alarms", "odd", "gate", "incidents", "guard", "images", "imageguard", "denoising"),
    *("cells", "dirty", "tables", "detection"),
    *(f"latent.{name}" for name in ("reduction", "completion", "generation", "traversal", "labels")),
]


def main() -> int:
    """Run the chosen benchmarks, each in a process of its own; return how many failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that adbench/, dirty_clean/ and so on lie in"
    )
    parser.add_argument("--only", nargs="+", default=ALL, choices=ALL)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    if not (args.data / "adbench").is_dir():
        print(f"{args.data}: holds no adbench/; say make bench-quality DATA=FOLDER", file=sys.stderr)
        return 2
    failed = 0
    for name in args.only:
        started = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.quality.{name}", "--data", str(args.data)]
        found = subprocess.run(command + ["--write"] * args.write, check=False)
        failed += found.returncode != 0
        print(f"{name}: exit {found.returncode} after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
