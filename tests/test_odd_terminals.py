"""What `ae` says when it fails, and where nobody can hear it."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ae_plugin import cli, config
from tests.running import ROOT, Outcome, ae_process, run_ae
from tests.shop import FRESH, Shop, day
from tests.test_bad_input import nothing_but_nulls

SAY = "from ae_plugin.cli import main; main()"


def ae(*words: object, stdout: Any = subprocess.PIPE, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", SAY, *map(str, words)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--json"],
        ["models", "p", "--json", "--nope"],
        ["--json"],
        ["nosuch", "--json"],
        ["evaluate", "p", "--json"],
        ["models", "nowhere", "--json"],
    ],
    ids=" ".join,
)
def test_whatever_is_wrong_is_one_object(words: list[str]) -> None:
    done = run_ae(*words)
    assert done.code == 2
    assert set(done.json) == {"error", "exit_code"} and done.json["exit_code"] == 2
    assert done.json["error"] in done.err


def test_a_refusal_among_several_partitions_is_in_their_object(shop: Shop) -> None:
    shop.set(score={"on_unfamiliar": "fail"})
    path = shop.source / f"date={day(FRESH)}/part-0.parquet"
    pq.write_table(nothing_but_nulls(pq.ParquetFile(path).read()), path)
    done = run_ae("--quiet", "score", shop.yaml, "--json")
    assert done.code == done.json["exit_code"] == 3
    assert [done.json["error"]] == done.json["refused"] and len(done.json["runs"]) == 1
    path.write_bytes(b"nothing")
    done = run_ae("--quiet", "score", shop.yaml, "--json")
    assert done.code == done.json["exit_code"] == 2 and [done.json["error"]] == done.json["failed"]


def test_our_own_bug_is_one_object_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("nobody thought of that")

    monkeypatch.setattr(config, "load", bug)
    monkeypatch.setattr(sys, "argv", ["ae", "models", "p", "--json"])
    with pytest.raises(KeyError):
        cli.main()
    assert json.loads(capsys.readouterr().out) == {
        "error": "our bug: KeyError: 'nobody thought of that'",
        "exit_code": 1,
    }


def test_interrupted_is_one_object_too(shop: Shop) -> None:
    # A shell that starts this test in the background has told it to ignore SIGINT; `ae` would inherit that.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = ae_process("train", shop.set(train={"steps": 100_000}).yaml, "--json", preexec_fn=listening)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("history"):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert Outcome(130, out, "").json["exit_code"] == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--version"], ["models", "--help"]])
def test_a_stdout_that_is_full_is_one_line(shop: Shop, words: list[str], unbuffered: str) -> None:
    where = [words[0], shop.yaml, *words[1:]] if words[0] == "models" else words
    with Path("/dev/full").open("w") as full:
        done = ae(*where, stdout=full, unbuffered=unbuffered)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["ae: stdout: cannot be written (No space left on device)"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--version"], ["models", "--help"]])
def test_a_reader_that_went_away_is_quiet(shop: Shop, words: list[str], unbuffered: str) -> None:
    where = [words[0], shop.yaml, *words[1:]] if words[0] == "models" else words
    read, write = os.pipe()
    os.close(read)
    try:
        done = ae(*where, stdout=write, unbuffered=unbuffered)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_failure_keeps_its_code_where_nobody_reads(shop: Shop) -> None:
    with Path("/dev/full").open("w") as full:
        done = ae("models", "nowhere", "--json", stdout=full)
    assert done.returncode == 2 and "no such pipeline" in done.stderr
