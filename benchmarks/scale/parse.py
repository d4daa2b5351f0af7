"""What pipelines cost Airflow's DAG processor: `python -m benchmarks.scale.parse`.

Each number of pipelines is parsed in a process of its own: YAMLs to DAGs by `build_dags`, then to what Airflow stores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (1, 100, 1_000)
YAML = """name: p{number:05d}
source: {{uri: lake/p{number:05d}, partition_by: date, keys: [id]}}
train: {{schedule: "0 3 * * 1", partitions: 28}}
score: {{schedule: asset}}
output: out/p{number:05d}
"""
PARSE = """
import json, resource, sys, time
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
began = time.process_time()
from ae_plugin.provider.dag_factory import build_dags
imported = time.process_time()
dags = build_dags(sys.argv[1])
built = time.process_time()
stored = sum(len(json.dumps(DagSerialization.to_dict(dag))) for dag in dags.values())
done = time.process_time()
print(json.dumps({"dags": len(dags), "import_s": imported - began, "build_s": built - imported,
    "serialize_s": done - built, "stored_kb": stored / 1024,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measure(count: int) -> dict[str, float]:
    """Parse so many pipelines in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            Path(folder, f"p{number:05d}.yaml").write_text(YAML.format(number=number), encoding="utf-8")
        command = [sys.executable, "-c", PARSE, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def lines(found: dict[int, dict[str, float]]) -> list[str]:
    """A table, one line a number of pipelines."""
    head = (
        "| pipelines | DAGs | our import | YAMLs to DAGs | Airflow's serialization | stored, kB a pipeline | peak, MB |"
    )
    rows = [
        f"| {count:,} | {one['dags']:,} | {one['import_s']:.2f} | {one['build_s']:.2f} | {one['serialize_s']:.2f} "
        f"| {one['stored_kb'] / count:.1f} | {one['peak_mb']:.0f} |"
        for count, one in found.items()
    ]
    return [head, "|---:|---:|---:|---:|---:|---:|---:|", *rows]


def main() -> None:
    """Print the table: the best of three of each."""
    found = {n: min((measure(n) for _ in range(3)), key=lambda one: one["build_s"]) for n in COUNTS}
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
