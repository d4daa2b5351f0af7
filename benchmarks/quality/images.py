"""Anomalies in pictures beside the peers: `python -m benchmarks.quality.images --data FOLDER`.

Every method learns from good pictures only (`train.contamination: 0`); the product trains and scores through its own
jobs, with one recipe for all sets. Labels are used in the metric only. Results are kept in `.bench/images.csv` as they
come, so that a stopped run goes on. Rewrites its section of `docs/quality.md` with `--write`. The peers need the extra
`bench`.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import decode
from ae_plugin.jobs.pictures.versions import load_picture_version
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.store.registry import Registry
from benchmarks.quality.imagepeers import PEERS, Opinion
from benchmarks.quality.imagesets import TEXTURES, Bytes, Set, boards, fashion, texture
from benchmarks.quality.page import ROOT, rewrite

FOUND = ROOT / ".bench/images.csv"
OURS = "ae_plugin"
FIELDS = ["set", "method", "seed", "auroc", "easy", "pixel_ap", "before", "repaired", "untouched", "alarms", "seconds"]
KINDS = [str(kind) for kind in range(10)]
SETS = [*(f"fashion {kind}" for kind in KINDS), "boards", *TEXTURES]


def load(data: Path, name: str, seed: int) -> Set:
    """A set by its name."""
    if name == "boards":
        return boards(data, seed)
    return texture(name, seed) if name in TEXTURES else fashion(data, int(name.split()[1]), seed)


def ours(one: Set, seed: int) -> tuple[Opinion, float]:
    """Train and score through the product's jobs at the defaults; also the share of good pictures flagged."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, pictures in (("history", one.train), ("new", one.test)):
            pq.write_table(pa.table({"image": [png(picture) for picture in pictures]}), work / f"{name}.parquet")
        pipeline = Pipeline.model_validate(
            {
                "name": "bench",
                "source": {"uri": str(work / "history.parquet"), "format": "images"},
                "model": {"seed": seed},
                "train": {"contamination": 0},
                "score": {"on_unfamiliar": "score"},
                "output": str(work / "out"),
            }
        )
        report = train(pipeline)
        promote(pipeline, report.model_version, force=True)
        score(pipeline, source=str(work / "new.parquet"), output=str(work / "found"))
        scores = pq.read_table(work / "found/scores/part-0.parquet").to_pandas()
        denoised = pq.read_table(work / "found/denoised/part-0.parquet")["image"].to_pylist()
        version = load_picture_version(Registry(pipeline.output), report.model_version, pipeline.score.alert_rate)
    repaired = np.stack([decode(data).pixels[..., 0] for data in denoised]).astype(np.float32) / 255
    heat = None
    if one.wrong is not None:
        decoded = [decode(png(picture)) for picture in one.test]
        heat = np.stack([found.heat for found in version.scorer.score(decoded)]).astype(np.float32)
    opinion = Opinion(scores["anomaly_score"].to_numpy(np.float32), heat, repaired)
    return opinion, float(scores["is_anomaly"].to_numpy(bool)[~one.odd].mean())


def png(picture: Bytes) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def measure(data: Path, name: str, method: str, seed: int) -> dict[str, object]:
    """One method on one set."""
    one, started = load(data, name, seed), time.perf_counter()
    row: dict[str, object] = {"set": name, "method": method, "seed": seed}
    if method == OURS:
        found, alarms = ours(one, seed)
        row["alarms"] = round(alarms, 4)
    else:
        found = PEERS[method](one.train, one.test, seed)
    row |= {"seconds": round(time.perf_counter() - started), "auroc": _auroc(one.odd, found.scores)}
    row["easy"] = _auroc(one.odd[one.easy], found.scores[one.easy])
    if one.wrong is not None and found.heat is not None:
        row["pixel_ap"] = round(float(average_precision_score(one.wrong.ravel(), found.heat.ravel())), 4)
    if one.true is not None and found.repaired is not None:
        row |= _repair(one, found.repaired)
    return row


def _auroc(odd: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    return round(float(roc_auc_score(odd, scores)), 4)


def _repair(one: Set, repaired: npt.NDArray[np.floating]) -> dict[str, float]:
    """Mean PSNR of visible anomalies before and after repair, and what good pictures lose by it, in dB."""
    assert one.true is not None
    before, after = _psnr(one.test.astype(np.float32) / 255, one.true), _psnr(repaired, one.true)
    seen, good = one.odd & one.easy, ~one.odd
    return {
        "before": round(float(before[seen].mean()), 2),
        "repaired": round(float(after[seen].mean()), 2),
        "untouched": round(float((after - before)[good].mean()), 3),
    }


def _psnr(pictures: npt.NDArray[np.floating], true: Bytes) -> npt.NDArray[np.float64]:
    errors = np.square(pictures - true / np.float32(255), dtype=np.float64).mean(axis=(1, 2))
    return np.asarray(-10 * np.log10(np.maximum(errors, 1e-6)))


def turns(args: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """What there is to measure: set, method, seed."""
    for seed in range(args.seeds):
        for name in args.sets:
            for method in args.methods:
                whole = name.startswith("fashion")
                if whole and method in ("kNN on patches", "Gaussian of each pixel", "PCA, oddest pixel"):
                    continue
                yield name, method, seed


def collect(args: argparse.Namespace) -> pd.DataFrame:
    """Measure what is not yet known."""
    FOUND.parent.mkdir(exist_ok=True)
    fresh = not FOUND.exists() or not FOUND.stat().st_size
    known = set() if fresh else {tuple(row) for row in pd.read_csv(FOUND)[["set", "method", "seed"]].to_numpy()}
    with FOUND.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, FIELDS)
        if fresh:
            writer.writeheader()
        for turn in turns(args):
            if turn not in known:
                row = measure(args.data, *turn)
                writer.writerow(row)
                handle.flush()
                print(row, flush=True)
    return pd.read_csv(FOUND)


def lines_of(found: pd.DataFrame) -> list[str]:
    """The tables, Markdown."""
    found = found.assign(group=found["set"].str.split().str[0])
    seeds = ", ".join(f"{group} {part['seed'].nunique()}" for group, part in found.groupby("group", sort=False))
    lines = [f"Seeds: {seeds}.", "", "### One class of Fashion-MNIST", "", "| method | classes | mean AUROC | worst |"]
    lines.append("|---|---:|---:|---:|")
    for method, part in _by_auroc(found[found["group"] == "fashion"]):
        each = part.groupby("set")["auroc"].mean()
        worst = str(each.idxmin()).removeprefix("fashion ")
        lines.append(f"| {method} | {len(each)} | {each.mean():.4f} | {each.min():.3f} ({worst}) |")
    for group, title in (("boards", "Circuit boards (DeepPCB)"), *((name, f"Texture: {name}") for name in TEXTURES)):
        part = found[found["group"] == group]
        if len(part):
            lines += ["", f"### {title}", "", *_located(part)]
    own = found[found["method"] == OURS].groupby("group", sort=False)["alarms"].mean()
    lines += ["", "### Good pictures flagged, 1% promised", "", "| set | flagged |", "|---|---:|"]
    return lines + [f"| {group} | {share:.2%} |" for group, share in own.items()]


def _located(part: pd.DataFrame) -> list[str]:
    lines = ["| method | AUROC, all | visible | pixel AP | PSNR before -> repaired | good pictures, dB |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for method, rows in _by_auroc(part):
        mean = rows.select_dtypes("number").mean()
        ap = "" if np.isnan(mean["pixel_ap"]) else f"{mean['pixel_ap']:.3f}"
        gain = "" if np.isnan(mean["repaired"]) else f"{mean['before']:.1f} -> {mean['repaired']:.1f}"
        lost = "" if np.isnan(mean["untouched"]) else f"{mean['untouched']:+.2f}"
        lines.append(f"| {method} | {mean['auroc']:.3f} | {mean['easy']:.3f} | {ap} | {gain} | {lost} |")
    return lines


def _by_auroc(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    parts = [(str(method), part) for method, part in found.groupby("method")]
    return sorted(parts, key=lambda pair: -float(pair[1]["auroc"].mean()))


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that fashion_mnist/ and deeppcb/ lie in")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--methods", nargs="+", default=[OURS, *PEERS], choices=[OURS, *PEERS])
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    lines = lines_of(collect(args))
    print("\n".join(lines))
    if args.write:
        rewrite("images", "python -m benchmarks.quality.images --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
