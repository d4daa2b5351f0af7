"""All benchmarks of quality, one after the other: `python -m benchmarks.quality --data FOLDER --write`.

Each keeps what it measured in `.bench/`, so a run that was stopped goes on where it was. `make clean` starts anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

from benchmarks.quality.page import ROOT

ALL = [
    *("alarms", "odd", "gate", "incidents", "guard", "images", "imageguard", "denoising"),
    *("cells", "dirty", "tables", "detection"),
    *(f"latent.{name}" for name in ("reduction", "looking", "completion", "generation", "traversal", "labels")),
]


SDV = ("torch==2.13.0", "sdv==2.0.0", "sdmetrics==0.32.0")
"""Want an older pandas than we do: they have an environment of their own, in which ours is seen second."""


def python_for(name: str) -> str:
    """The Python that a benchmark runs in; made when it is not there yet."""
    if name != "latent.generation":
        return sys.executable
    home = ROOT / ".bench/sdv"
    python = home / "bin/python"
    pins = home / "pins.txt"
    if not pins.exists() or pins.read_text(encoding="utf-8").split() != list(SDV):
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *SDV], check=True)
        ours = sysconfig.get_paths()["purelib"]
        site = sysconfig.get_path("purelib", vars={"base": str(home)})
        Path(site, "zz.pth").write_text(f"{ours}\n", encoding="utf-8")
        pins.write_text("\n".join(SDV), encoding="utf-8")
    return str(python)


def main() -> int:
    """Run the chosen benchmarks, each in a process of its own; return how many failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that adbench/, dirty_clean/ and so on lie in"
    )
    parser.add_argument("--only", nargs="+", default=ALL, choices=ALL)
    parser.add_argument(
        "--write", action="store_true", help="rewrite docs/quality.md, docs/latent.md and their pictures"
    )
    args = parser.parse_args()
    if not (args.data / "adbench").is_dir():
        print(f"{args.data}: holds no adbench/; say make bench-quality DATA=FOLDER", file=sys.stderr)
        return 2
    failed = 0
    for name in args.only:
        started = time.perf_counter()
        try:
            python = python_for(name)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"{name}: its environment cannot be made: {error}", file=sys.stderr)
            failed += 1
            continue
        command = [python, "-m", f"benchmarks.quality.{name}", "--data", str(args.data)]
        own = {**os.environ, "PYTHONPATH": str(ROOT)}
        found = subprocess.run(command + ["--write"] * args.write, check=False, env=own)
        failed += found.returncode != 0
        print(f"{name}: exit {found.returncode} after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
