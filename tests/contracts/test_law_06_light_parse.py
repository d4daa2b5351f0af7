"""Law 6: loading DAGs, the provider or the web plugin imports neither tensorflow nor keras; scoring needs neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Trained
from tests.running import ROOT
from tests.shop import FRESH, Shop, day

HEAVY = ("tensorflow", "keras")

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")
        return None

sys.meta_path.insert(0, Blocked())
"""

REPORT = """
import json, sys
print("\\n" + json.dumps({"found": FOUND, "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def python(code: str, *words: object, airflow_home: Path | None = None, blocked: tuple[str, ...] = ()) -> Any:
    """Run code in a Python of its own; it leaves an answer in FOUND. Returns that, and the modules it loaded."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    env |= {"PYTHONPATH": str(ROOT), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    if airflow_home is not None:
        env |= {"AIRFLOW_HOME": str(airflow_home)}
    head = f"BLOCKED = {set(blocked)!r}\n{BLOCK}" if blocked else ""
    done = subprocess.run(
        [sys.executable, "-c", f"{head}\nimport sys\n{code}\n{REPORT}", *map(str, words)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["found"], set(answer["modules"])


LOADING = {
    "the DAG file": (
        "import runpy\n"
        "dags = runpy.run_path(sys.argv[1] + '/dags/pipelines.py')\n"
        "FOUND = [name for name, value in dags.items() if type(value).__name__ == 'DAG']",
        "flights__train",
    ),
    "every example, as Airflow does": (
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1] + '/dags')\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "FOUND = sorted(bag.dags)",
        "flights__score",
    ),
    "the provider": (
        "from importlib.metadata import entry_points\n"
        "from ae_plugin.provider.info import get_provider_info\n"
        "import ae_plugin.provider.assets, ae_plugin.provider.operators, ae_plugin.provider.dag_factory\n"
        "FOUND = [get_provider_info()['package-name']]",
        "airflow-provider-autoencoder",
    ),
    "the web plugin": (
        "from ae_plugin.web.plugin import AnomaliesPlugin\n"
        "FOUND = [app['name'] for app in AnomaliesPlugin.fastapi_apps]",
        "ae_plugin",
    ),
    "plugins, as Airflow does": (
        "from airflow import plugins_manager\n"
        "plugins, errors = plugins_manager._get_plugins()\n"
        "assert not errors, errors\n"
        "FOUND = [plugin.name for plugin in plugins]",
        "ae_plugin",
    ),
    "the package": (
        "import ae_plugin\nFOUND = [name for name in ae_plugin.__all__ if getattr(ae_plugin, name) is not None]",
        "load",
    ),
    "the command line": (
        "from ae_plugin.cli import app\nFOUND = [c.callback.__name__ for c in app.registered_commands]",
        "score",
    ),
}


@pytest.mark.parametrize("what", LOADING)
def test_loading_imports_neither_tensorflow_nor_keras(what: str, tmp_path: Path) -> None:
    code, wanted = LOADING[what]
    found, modules = python(code, ROOT, airflow_home=tmp_path)
    assert wanted in found
    assert "ae_plugin" in modules
    assert not modules & set(HEAVY)


def test_every_pipeline_has_its_dags(tmp_path: Path) -> None:
    found, _ = python(LOADING["the DAG file"][0], ROOT, airflow_home=tmp_path)
    yamls = [path.stem for path in (ROOT / "dags/pipelines").glob("*.y*ml")]
    assert yamls
    assert not [name for name in found if name.endswith("__broken")]
    for verb in ("train", "score"):
        assert len([name for name in found if name.endswith(f"__{verb}")]) == len(yamls)


def test_training_does_import_them() -> None:
    """So that the tests above mean something: this is how they would be seen."""
    _, modules = python("import ae_plugin.models.training\nFOUND = []")
    assert modules >= set(HEAVY)


# Scoring where airflow, keras and tensorflow are not installed.

NOT_THERE = ("airflow", *HEAVY)


@pytest.fixture
def fresh(trained: Trained, tmp_path: Path) -> Shop:
    return trained.shop.copy(tmp_path / "shop")


def test_what_is_blocked_cannot_be_imported() -> None:
    for name in NOT_THERE:
        code = f"try:\n    import {name}\n    FOUND = True\nexcept ImportError:\n    FOUND = False"
        assert python(code, blocked=NOT_THERE)[0] is False


def test_a_detector_scores_without_them(fresh: Shop) -> None:
    code = """
import ae_plugin, pyarrow.parquet as pq
detector = ae_plugin.load(sys.argv[1])
table = pq.ParquetFile(sys.argv[2]).read()
frame = table.drop_columns(["lines", "receipt"]).to_pandas()
scores = detector.score(frame, partition=sys.argv[3])
FOUND = {
    "version": detector.version,
    "flagged": int(scores["is_anomaly"].sum()),
    "cells": len(detector.explain(table, partition=sys.argv[3])),
    "denoised": detector.denoise(frame, partition=sys.argv[3]).shape,
    "codes": detector.embed(table, partition=sys.argv[3]).shape,
}
"""
    path = fresh.source / f"date={day(FRESH)}/part-0.parquet"
    rows = pq.ParquetFile(path).metadata.num_rows
    found, modules = python(code, fresh.output, path, f"date={day(FRESH)}", blocked=NOT_THERE)
    assert not modules & set(NOT_THERE)
    assert found["version"] == "v0001" and found["codes"][0] == rows and found["denoised"] == [rows, 15]
    assert 0 < found["flagged"] < rows / 10 and found["cells"] > 0


def test_a_detector_of_pictures_scores_without_them(boards: Trained) -> None:
    code = """
import ae_plugin, pathlib
detector = ae_plugin.load(sys.argv[1], alert_rate=0.05)
paths = sorted(pathlib.Path(sys.argv[2]).iterdir())
FOUND = {
    "flagged": int(detector.score(paths)["is_anomaly"].sum()),
    "explained": len(detector.explain(paths)),
    "denoised": len(detector.denoise(paths)),
    "codes": detector.embed(paths).shape[0],
}
"""
    shop = boards.shop
    found, modules = python(code, shop.output, shop.source / f"date={day(FRESH)}", blocked=NOT_THERE)
    assert not modules & set(NOT_THERE)
    assert found["flagged"] == found["explained"] >= 4 and found["denoised"] == found["codes"] == 35


def test_rows_are_generated_without_them(fresh: Shop) -> None:
    code = """
from ae_plugin import config
from ae_plugin.jobs.latent.generate import generate
FOUND = generate(config.load(sys.argv[1]), 50).rows
"""
    found, modules = python(code, fresh.yaml, blocked=NOT_THERE)
    assert found == 50 and not modules & set(NOT_THERE)


@pytest.fixture(params=["orders", "boards"])
def either(request: pytest.FixtureRequest, trained: Trained, boards: Trained) -> Shop:
    """A pipeline of a table, or of pictures."""
    return {"orders": trained, "boards": boards}[request.param].shop


def test_a_job_scores_without_them_what_it_scores_with_them(either: Shop, tmp_path: Path) -> None:
    code = """
from ae_plugin import config
from ae_plugin.jobs.due import due
from ae_plugin.jobs.score import score
pipeline = config.load(sys.argv[1])
FOUND = [due(pipeline), score(pipeline, sys.argv[2]).model_dump(mode="json")]
"""
    without_them = either.copy(tmp_path / "without")
    (due, record), modules = python(code, without_them.yaml, day(FRESH), blocked=NOT_THERE)
    assert not modules & set(NOT_THERE)
    assert f"date={day(FRESH)}" in due
    with_them = either.copy(tmp_path / "with")
    (_, wanted), _ = python(code, with_them.yaml, day(FRESH))
    assert record["outputs"] == wanted["outputs"] and len(record["outputs"]) == 3


@pytest.mark.parametrize("verb", ["check", "score", "models", "promote", "rollback"])
def test_the_command_line_works_without_them(either: Shop, tmp_path: Path, verb: str) -> None:
    code = """
from ae_plugin.cli import main
try:
    main()
    FOUND = 0
except SystemExit as stop:
    FOUND = stop.code or 0
"""
    code_seen, modules = python(code, verb, either.copy(tmp_path / "own").yaml, blocked=NOT_THERE)
    assert not modules & set(NOT_THERE)
    assert code_seen == (2 if verb == "rollback" else 0), "there is one champion, and none before it"


def test_a_table_is_scored_without_what_reads_pictures(fresh: Shop) -> None:
    """It is slow to import, and only there where pictures are."""
    code = """
from ae_plugin import config
from ae_plugin.jobs.score import score
FOUND = score(config.load(sys.argv[1]), sys.argv[2]).rows
"""
    found, modules = python(code, fresh.yaml, day(FRESH))
    assert found > 0 and "PIL" not in modules
