"""Speed, beside the peers, in one run: `python -m benchmarks.speed.run`.

Contenders take turns, each in a process of its own; the table gives each one's best time, and ratios of those. Writes
`docs/benchmarks/speed.md` with `--write`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.speed.data import write_pipeline, write_table

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".bench"
PAGE = ROOT / "docs/benchmarks/speed.md"
SMALL = 1_000


def contender(name: str, *paths: Path) -> dict[str, float]:
    """Run one contender; returns its seconds and peak_mb."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.contenders", name, *map(str, paths)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(),
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return {key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def ae(*words: str) -> float:
    """Run `ae`; returns the whole process's seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ae"), "-q", *words], capture_output=True, text=True, env=_environment()
    )
    if done.returncode:
        raise SystemExit(f"ae {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "AE_ROOT")}
    return kept | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def prepare() -> dict[str, Path]:
    """Train once on 100,000 rows; the pipelines differ in the score's method alone."""
    history = write_table(WORK / "train.parquet", 100_000, seed=1)
    combined = write_pipeline(WORK, "combined", history, denoise="full")
    if not (WORK / "out/_models/champion.json").exists():
        ae("train", str(combined))
    return {
        "reconstruction": write_pipeline(WORK, "reconstruction", history, denoise="full", method="reconstruction"),
        "combined": combined,
        "repair": write_pipeline(WORK, "repair", history),
    }


def race(rows: int, repeats: int, pipelines: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Let all contenders take turns; keeps each one's best turn."""
    source = write_table(WORK / f"rows-{rows}.parquet", rows)
    target = WORK / "target"
    turns: dict[str, tuple[str, list[Path]]] = {
        "copy": ("copy", [source, target / "copy.parquet"]),
        **{f"ours, {name}": ("ours", [source, target / name, path]) for name, path in pipelines.items()},
        "keras": ("keras", [source, target / "keras.parquet"]),
    }
    best: dict[str, dict[str, float]] = {}
    for turn in range(repeats):
        for name, (kind, paths) in turns.items():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            found = contender(kind, *paths)
            print(f"turn {turn + 1}  {name:24s} {found['seconds']:8.2f} s  {found['peak_mb']:7.0f} MB", file=sys.stderr)
            if name not in best or found["seconds"] < best[name]["seconds"]:
                best[name] = found
    return best


def memory(pipelines: dict[str, Path], many: int) -> dict[int, float]:
    """Peak memory of the default score, MB, by rows."""
    peaks = {}
    for rows in (1_000_000, many):
        source = write_table(WORK / f"rows-{rows}.parquet", rows)
        shutil.rmtree(WORK / "target", ignore_errors=True)
        peaks[rows] = contender("ours", source, WORK / "target", pipelines["combined"])["peak_mb"]
        if rows > 5_000_000:
            source.unlink()
    return peaks


def small(pipelines: dict[str, Path]) -> float:
    """Whole `ae score` of a file of 1,000 rows: the best of five."""
    source = write_table(WORK / f"rows-{SMALL}.parquet", SMALL)
    target = str(WORK / "small")
    return min(ae("score", str(pipelines["repair"]), "--input", str(source), "--output", target) for _ in range(5))


def hundred_yamls() -> float:
    """Seconds to turn 100 YAMLs into 200 DAGs, Airflow's own import left out: the best of three."""
    folder = WORK / "hundred"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shipped = (ROOT / "dags/pipelines/flights.yaml").read_text(encoding="utf-8")
    for number in range(100):
        (folder / f"p{number}.yaml").write_text(shipped.replace("name: flights", f"name: p{number}"), encoding="utf-8")
    found = [contender("dags", folder) for _ in range(3)]
    if any(run["dags"] != 200 for run in found):
        raise SystemExit(f"wanted 200 DAGs, got {found}")
    return min(run["seconds"] for run in found)


def table(
    rows: int, best: dict[str, dict[str, float]], peaks: dict[int, float], score: float, yamls: float
) -> list[str]:
    """The table, Markdown."""
    base = best["copy"]["seconds"]
    peer = best["keras"]["seconds"]
    lines = [
        f"| {rows / 1e6:g}M rows x 30 float32 + id + string | s | x copy | keras / this | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    names = {
        "copy": "pyarrow read + write, serial",
        "ours, reconstruction": "ours, `method: reconstruction`, `denoise: full`",
        "ours, combined": "ours, defaults with `denoise: full`",
        "ours, repair": "ours, defaults",
        "keras": "pandas + `model.predict(batch_size=8192)` + `to_parquet`",
    }
    for key, name in names.items():
        took = best[key]["seconds"]
        lines.append(f"| {name} | {took:.2f} | {took / base:.2f} | {peer / took:.1f} | {best[key]['peak_mb']:.0f} |")
    few, many = sorted(peaks)
    lines += [
        "",
        "| bar | wanted | reached |",
        "|---|---|---|",
        _bar("reconstruction score, x copy", "<= 1.5", best["ours, reconstruction"]["seconds"] / base, 1.5),
        _bar("full score, x copy", "<= 2.5", best["ours, combined"]["seconds"] / base, 2.5),
        _bar("full score, times faster than keras", ">= 8", -peer / best["ours, combined"]["seconds"], -8),
        _bar(f"peak memory, {many / 1e6:g}M against {few / 1e6:g}M rows", "<= 1.10", peaks[many] / peaks[few], 1.1),
        _bar("peak memory, MB", "< 500", max(peaks.values()), 500),
        _bar("`ae score` of 1,000 rows, whole process, s", "< 1.5", score, 1.5),
        _bar("100 pipeline YAMLs as DAGs, s", "< 1", yamls, 1.0),
    ]
    return lines


def _bar(name: str, wanted: str, reached: float, limit: float) -> str:
    return f"| {name} | {wanted} | {abs(reached):.2f}{'' if reached <= limit else ' (missed)'} |"


def main() -> None:
    """Run all of it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--many", type=int, default=10_000_000, help="rows of the memory test")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    pipelines = prepare()
    best = race(args.rows, args.repeats, pipelines)
    lines = table(args.rows, best, memory(pipelines, args.many), small(pipelines), hundred_yamls())
    print("\n".join(lines))
    if args.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        head = f"# Speed\n\n`python -m benchmarks.speed.run --write`, {date.today()}, {machine}, shared machine.\n"
        how = f"Contenders take turns in processes of their own; each row is the best of its {args.repeats} turns.\n"
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text("\n".join([head + how, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
