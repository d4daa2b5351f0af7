"""Running `ae` in this process and in one of its own, and watching the disk meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """What `ae` did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        return json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    @property
    def complaint(self) -> str:
        """The last line on stderr, which says what went wrong."""
        return self.err.rstrip("\n").splitlines()[-1] if self.err.strip() else ""


def run_ae(*words: object) -> Outcome:
    """`ae WORDS` in this process: its real main(), exit code and streams."""
    from ae_plugin import cli

    out, err = io.StringIO(), io.StringIO()
    before, code = sys.argv, 0
    sys.argv = ["ae", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


def ae_process(*words: object, **options: Any) -> subprocess.Popen[str]:
    """`ae WORDS` as a process of its own."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPATH"] = str(ROOT)
    code = "from ae_plugin.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def tree(root: Path) -> dict[str, str]:
    """Every file and folder below `root`, with the content's hash."""
    found = {}
    for path in sorted(root.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(root))] = digest
    return found


@contextlib.contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Assert that nothing below `root` changes meanwhile."""
    before = tree(root)
    yield
    assert tree(root) == before
