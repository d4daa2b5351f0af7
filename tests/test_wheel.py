"""The wheel installs and works outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.running import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which the wheel's package, not the checkout's, is the one that is found."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "AE_ROOT")}
    return kept | {"PYTHONPATH": str(target)}


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"ae_plugin", wheel.name.split("-py3")[0] + ".dist-info"}
    assert "ae_plugin/jobs/report/page.html.j2" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    built = {str(path.relative_to(ROOT)) for path in (ROOT / "ae_plugin/web/static").rglob("*") if path.is_file()}
    assert "ae_plugin/web/static/index.html" in built and built <= set(names)
    assert not [name for name in names if name.startswith("ae_plugin/web/page")], "what the page is built from"
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "ae_plugin").rglob("*.py")}
    assert shipped <= set(names)


def test_airflow_finds_the_provider_and_the_plugin(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(name).decode()
    assert "[apache_airflow_provider]\nprovider_info = ae_plugin.provider.info:get_provider_info" in text
    assert "[airflow.plugins]\nae_plugin = ae_plugin.web.plugin:AnomaliesPlugin" in text


def test_the_way_from_a_table_to_a_report(installed: dict[str, str], tmp_path: Path) -> None:
    def run(*words: str) -> dict[str, object]:
        code = "from ae_plugin.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "-q", *words, "--json"],
            cwd=tmp_path,
            env=installed,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    where = "import ae_plugin; print(ae_plugin.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert found.stdout.startswith(installed["PYTHONPATH"])
    for day in range(1, 6):
        name = f"date=2013-01-{day:02d}"
        shutil.copytree(ROOT / "sample_data/flights" / name, tmp_path / "flights" / name)
    run("init", "flights")
    settings = yaml.safe_load((tmp_path / "flights.yaml").read_text(encoding="utf-8"))
    settings["train"] |= {"steps": 150, "until": "2013-01-04"}
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert run("check", "flights.yaml")["partitions"] == 5
    assert run("train", "flights.yaml")["model_version"] == "v0001"
    run("promote", "flights.yaml", "--force")
    runs = run("score", "flights.yaml")["runs"]
    assert isinstance(runs, list)
    assert [one["partition"] for one in runs] == ["date=2013-01-05"]
    run("report", "flights.yaml")
    assert "<h1" in (tmp_path / "out/flights/report.html").read_text(encoding="utf-8")
