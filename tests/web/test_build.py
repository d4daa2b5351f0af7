"""The page that ships is what its sources and its lock file give."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import ROOT

PAGE, STATIC = ROOT / "ae_plugin/web/page", ROOT / "ae_plugin/web/static"
NODE = (20, 19)


def node_is_missing() -> str:
    """Why the page cannot be built here; empty when it can."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "no Node.js here"
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major, minor = (int(part) for part in found.lstrip("v").split(".")[:2])
    return "" if (major, minor) >= NODE else f"Node.js {found} is older than {NODE[0]}.{NODE[1]}"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(bool(node_is_missing()), reason=node_is_missing() or "never")
def test_the_build_gives_what_ships(tmp_path: Path) -> None:
    source = tmp_path / "web/page"
    shutil.copytree(PAGE, source, ignore=shutil.ignore_patterns("node_modules"))
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"], ["npm", "test"]):
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    built, shipped = files(tmp_path / "web/static"), files(STATIC)
    assert set(built) == set(shipped)
    assert [name for name, content in shipped.items() if built[name] != content] == []


def test_the_lock_file_names_no_registry() -> None:
    locked = (PAGE / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in locked and "registry" not in locked
    packages = json.loads(locked)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """Besides its own files: no fonts, no scripts, no pictures of others, and no absolute paths of its own."""
    index = (STATIC / "index.html").read_text(encoding="utf-8")
    for address in re.findall(r'(?:src|href)="([^"]*)"', index):
        assert address.startswith("./") and (STATIC / address).is_file(), address
    for name, content in files(STATIC).items():
        if name.endswith(".css"):
            assert re.findall(rb"url\((?!data:)|@import", content) == [], name
    assert sum(len(content) for name, content in files(STATIC).items() if name.endswith(".map")) == 0
