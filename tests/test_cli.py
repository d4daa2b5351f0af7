"""`ae`: every verb for people and for programs, and the exit codes."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ae_plugin
from ae_plugin import cli, latent_schemas, schemas
from ae_plugin.jobs.check import CheckRecord
from tests.running import ROOT, ae_process, run_ae, tree
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day

VERBS = ["init", "check", "train", "score", "evaluate", "models", "promote", "rollback", "report"]
VERBS += ["feedback", "release", "discard", "embed", "complete", "generate", "traverse"]
VERBS += ["label-fit", "classify"]
LABELS = Path(tempfile.gettempdir()) / f"ae-labels-{os.getpid()}.csv"


def labelled(shop: Shop) -> Shop:
    """The fresh days with a label column that the model never saw."""
    for number in (FRESH, FRESH + 1):
        table = make_orders(300, day(number), seed=2)
        odd = np.arange(300) % 20 == 0
        weight = pc.if_else(pa.array(odd), pa.scalar(999.0), table["weight"])
        table = table.set_column(table.column_names.index("weight"), "weight", weight)
        write_day(shop.source, number, table.append_column("is_fraud", pa.array(odd)))
    return shop.set(source={"exclude": ["is_fraud"]})


def with_labels(shop: Shop) -> Shop:
    """A file of labels: of two orders what they are."""
    LABELS.write_text(f"date,row,label\n{day(2)},0,small\n{day(2)},1,large\n")
    return shop


def with_head(shop: Shop) -> Shop:
    """A head, fitted to them."""
    from ae_plugin.jobs.latent.heads import label_fit

    label_fit(with_labels(shop).pipeline, str(LABELS))
    return shop


def unfamiliar(shop: Shop, number: int = FRESH) -> Shop:
    """One day of quite other orders."""
    table = make_orders(300, day(number))
    for name in ("weight", "quantity", "price", "rating", "courier"):
        place = table.column_names.index(name)
        far = pc.multiply(table[name].cast(pa.float64()), 37.0).cast(table.schema.field(name).type, safe=False)
        table = table.set_column(place, table.schema.field(name), far)
    for name in ("product", "store", "customer"):
        table = table.set_column(table.column_names.index(name), name, pa.array(["?"] * 300))
    write_day(shop.source, number, table)
    return shop


def trained_again(shop: Shop) -> Shop:
    """A second version in the registry: a copy of the first."""
    from ae_plugin.store.registry import Registry

    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    registry.register(files, {**card, "seed": 1})
    return shop


def two_champions(shop: Shop) -> Shop:
    assert run_ae("promote", trained_again(shop).yaml, "v0002", "--force").code == 0
    return shop


def refused(shop: Shop) -> Shop:
    assert run_ae("score", unfamiliar(shop).yaml, "--partition", day(FRESH)).code == 3
    return shop


def quick(shop: Shop) -> Shop:
    return shop.set(train={"until": day(2), "steps": 20})


CASES: dict[str, tuple[Callable[[Shop], Shop], list[Any], type | None]] = {
    "check": (lambda shop: shop, [], CheckRecord),
    "train": (quick, [], schemas.TrainReport),
    "score": (lambda shop: shop, ["--partition", day(FRESH)], schemas.RunRecord),
    "evaluate": (labelled, ["--label", "is_fraud"], schemas.EvaluateRecord),
    "models": (trained_again, [], None),
    "promote": (trained_again, ["v0002", "--force"], schemas.PromoteRecord),
    "rollback": (two_champions, [], schemas.PromoteRecord),
    "report": (lambda shop: shop, [], None),
    "feedback": (
        lambda shop: shop,
        ["--partition", day(2), "--row", "1", "--verdict", "confirmed"],
        schemas.FeedbackRecord,
    ),
    "release": (refused, [day(FRESH), "--note", "new lorries"], schemas.DecisionRecord),
    "discard": (refused, [day(FRESH)], schemas.DecisionRecord),
    "embed": (lambda shop: shop, ["--partition", day(FRESH)], latent_schemas.EmbedRecord),
    "complete": (lambda shop: shop, ["--partition", day(FRESH)], latent_schemas.CompleteRecord),
    "generate": (lambda shop: shop, ["20", "--where", "product=eggs"], latent_schemas.GenerateRecord),
    "traverse": (lambda shop: shop, ["--latents", "3"], latent_schemas.TraverseRecord),
    "label-fit": (with_labels, ["--labels", str(LABELS)], latent_schemas.LabelFitRecord),
    "classify": (with_head, ["--partition", day(FRESH)], latent_schemas.ClassifyRecord),
}


def test_every_verb_is_here() -> None:
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]  # type: ignore[union-attr]
    assert sorted(names) == sorted(VERBS)
    assert set(CASES) == set(VERBS) - {"init"}


@pytest.mark.parametrize("verb", CASES)
def test_json_is_one_object_on_stdout_and_logs_are_on_stderr(shop: Shop, verb: str) -> None:
    prepare, words, record = CASES[verb]
    done = run_ae(verb, prepare(shop).yaml, *words, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert isinstance(found, dict)
    assert "Traceback" not in done.err
    if record is not None:
        assert set(record.model_fields) <= set(found)  # type: ignore[attr-defined]
        record.model_validate({name: found[name] for name in record.model_fields})  # type: ignore[attr-defined]
    if verb in ("train", "score"):
        assert done.err.strip(), "the log"


@pytest.mark.parametrize("verb", CASES)
def test_lines_for_people_are_no_json_and_short(shop: Shop, verb: str) -> None:
    prepare, words, _ = CASES[verb]
    done = run_ae("--quiet", verb, prepare(shop).yaml, *words)
    assert done.code == 0, done.err
    assert 1 <= len(done.out.splitlines()) <= 20
    assert not done.out.lstrip().startswith("{")
    assert all("is not promoted" in line for line in done.err.splitlines()), "warnings only"


# Each verb.


def test_init_writes_a_yaml_that_check_takes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    monkeypatch.delenv("AE_ROOT", raising=False)
    done = run_ae("init", "orders", "--name", "mine", "--json")
    assert (done.code, done.json) == (0, {"path": "mine.yaml"})
    assert run_ae("check", "mine.yaml").code == 0
    again = run_ae("init", "orders", "--name", "mine")
    assert again.code == 2 and "--force" in again.complaint
    assert run_ae("init", "orders", "--name", "mine", "--force").code == 0
    placed = run_ae("init", "orders", "--path", "deep/other.yaml")
    assert placed.code == 0 and "deep/other.yaml" in placed.out
    assert run_ae("check", "deep/other.yaml").code == 0


def test_check_says_what_there_is_and_changes_nothing(shop: Shop) -> None:
    before = tree(shop.root)
    found = run_ae("check", shop.yaml, "--json").json
    assert found["partitions"] == found["files"] == LAST_TRAINED + 3
    assert found["champion"] == "v0001"
    assert found["train_partitions"][-1] == f"date={day(LAST_TRAINED)}"
    assert "quantity: int32" in found["columns"]
    assert tree(shop.root) == before


def test_train_promotes_as_the_pipeline_says(shop: Shop) -> None:
    quick(shop)
    found = run_ae("train", shop.yaml, "--json").json
    assert found["model_version"] == "v0002"
    assert found["promotion"]["champion"] == ("v0002" if found["promotion"]["promoted"] else "v0001")
    assert found["gate"]["champion"] == "v0001"
    shop.set(promote="approval")
    waiting = run_ae("-q", "train", shop.yaml)
    assert waiting.code == 0
    assert "v0003 waits as challenger" in waiting.out
    assert [e["version"] for e in run_ae("models", shop.yaml, "--json").json["models"]] == ["v0001", "v0002", "v0003"]


def test_score_takes_all_that_is_due(shop: Shop) -> None:
    found = run_ae("-q", "score", shop.yaml, "--json").json
    assert [run["partition"] for run in found["runs"]] == [f"date={day(FRESH)}", f"date={day(FRESH + 1)}"]
    assert (found["pipeline"], found["refused"], found["failed"]) == ("shop", [], [])
    again = run_ae("-q", "score", shop.yaml)
    assert (again.code, again.out) == (0, "nothing to do: no partition is new or changed\n")
    assert run_ae("-q", "score", shop.yaml, "--json").json["runs"] == []


def test_when_all_was_trained_on_it_says_so(shop: Shop) -> None:
    for number in (FRESH, FRESH + 1):
        shutil.rmtree(shop.source / f"date={day(number)}")
    write_day(shop.source, -400, make_orders(50, day(-400)))
    done = run_ae("-q", "score", shop.yaml)
    told = rf"nothing to do: of {FRESH + 1} partitions {FRESH} were trained on, 1 are older, .* train\.until"
    assert done.code == 0 and re.match(told, done.out)


def test_score_takes_another_input_and_output(shop: Shop) -> None:
    source = next((shop.source / f"date={day(FRESH)}").iterdir())
    before = tree(shop.output)
    where = shop.root / "elsewhere"
    words = ["--input", source, "--output", where, "--partition", day(FRESH)]
    record = run_ae("-q", "score", shop.yaml, *words, "--json").json
    assert record["rows"] == 300
    assert set(record["outputs"]) == {f"{d}/date={day(FRESH)}/part-0.parquet" for d in ("scores", "cells", "denoised")}
    for name in record["outputs"]:
        assert (where / name).is_file()
    assert tree(shop.output) == before


def test_scoring_goes_on_after_a_partition_that_is_refused(shop: Shop) -> None:
    done = run_ae("-q", "score", unfamiliar(shop).yaml, "--json")
    assert done.code == 3
    found = done.json
    assert [run["partition"] for run in found["runs"]] == [f"date={day(FRESH + 1)}"]
    assert len(found["refused"]) == 1 and f"date={day(FRESH)}" in found["refused"][0]
    assert f"ae: date={day(FRESH)}: unfamiliar data" in done.err
    assert (shop.output / f"quarantine/date={day(FRESH)}/part-0.parquet").is_file()
    again = run_ae("-q", "score", shop.yaml)
    assert (again.code, again.out) == (0, "nothing to do: no partition is new or changed\n")


def test_scoring_goes_on_after_a_partition_that_fails(shop: Shop) -> None:
    """Each is said in one line; failures weigh more than refusals; nothing blocks the next run."""
    unfamiliar(shop, FRESH)
    write_day(shop.source, FRESH + 2, make_orders(300, day(FRESH + 2)).drop_columns("price"))
    next((shop.source / f"date={day(FRESH + 1)}").iterdir()).write_bytes(b"garbage")
    write_day(shop.source, FRESH + 3, make_orders(300, day(FRESH + 3)))
    done = run_ae("-q", "score", shop.yaml, "--json")
    assert done.code == 2
    assert [run["partition"] for run in done.json["runs"]] == [f"date={day(FRESH + 3)}"]
    assert [len(done.json[name]) for name in ("refused", "failed")] == [1, 2]
    said = [line for line in done.err.splitlines() if line.startswith("ae: ")]
    assert [line.removeprefix("ae: ") for line in said] == [*done.json["refused"], *done.json["failed"]]
    assert "Traceback" not in done.err
    again = run_ae("-q", "score", shop.yaml)
    assert (again.code, again.out) == (2, ""), "what failed is due still"


def test_evaluate_tells_the_labelled_rows(shop: Shop) -> None:
    found = run_ae("evaluate", labelled(shop).yaml, "--label", "is_fraud", "--json").json
    assert (found["rows"], found["positives"]) == (600, 30)
    assert found["auroc"] > 0.99 and found["recall"] > 0.9


def test_models_shows_pointers(shop: Shop) -> None:
    found = run_ae("models", trained_again(shop).yaml, "--json").json
    assert found["pipeline"] == "shop"
    assert {e["version"]: e["pointers"] for e in found["models"]} == {"v0001": ["champion"], "v0002": ["challenger"]}
    lines = run_ae("models", shop.yaml).out.splitlines()
    assert [line.split()[0] for line in lines] == ["v0001", "v0002"]
    assert lines[0].endswith("champion") and lines[1].endswith("challenger")


def test_promote_and_rollback_move_the_champion(shop: Shop) -> None:
    two_champions(shop)
    done = run_ae("rollback", shop.yaml, "--json").json
    assert (done["champion"], done["previous"], done["promoted"]) == ("v0001", "v0002", True)
    assert "rolled back" in run_ae("rollback", shop.yaml, "v0002").out
    assert run_ae("check", shop.yaml, "--json").json["champion"] == "v0002"


def test_report_writes_one_page(shop: Shop) -> None:
    found = run_ae("report", shop.yaml, "--json").json
    assert Path(found["path"]) == shop.output / "report.html"
    page = Path(found["path"]).read_text(encoding="utf-8")
    assert "v0001" in page and "</html>" in page
    assert run_ae("report", shop.yaml, "--path", shop.root / "mine.html").code == 0
    assert (shop.root / "mine.html").is_file()


# Exit codes.


def test_help_and_version() -> None:
    assert run_ae("--version").out == f"{ae_plugin.__version__}\n"
    found = run_ae("--help")
    assert found.code == 0
    for verb in VERBS:
        assert verb in found.out
        shown = run_ae(verb, "--help")
        assert shown.code == 0 and "--json" in shown.out


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["score"],
        ["score", "--colour", "red"],
        ["evaluate", "shop"],
        ["check", "a", "b"],
        ["promote", "a", "b", "c"],
    ],
)
def test_a_command_that_is_none(words: list[str]) -> None:
    done = run_ae(*words)
    assert done.code == 2
    assert done.out == "" and "Usage" in done.err


@pytest.mark.parametrize("verb", CASES)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_such_pipeline(tmp_path: Path, verb: str, as_json: bool) -> None:
    needed = {"evaluate": ["--label", "x"], "generate": ["5"], "label-fit": ["--labels", "x"]}
    words = needed.get(verb, [])
    done = run_ae(verb, tmp_path / "nothing.yaml", *words, *(["--json"] if as_json else []))
    assert done.code == 2
    assert done.complaint.startswith("ae: ") and "no such pipeline" in done.complaint
    if as_json:
        assert done.json["exit_code"] == 2 and "no such pipeline" in done.json["error"]
    else:
        assert done.out == ""


def test_bad_data_is_two(shop: Shop) -> None:
    next((shop.source / f"date={day(FRESH)}").iterdir()).write_bytes(b"garbage")
    done = run_ae("-q", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert done.code == 2 and done.json["exit_code"] == 2


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_no_champion_is_four(shop: Shop, verb: str) -> None:
    (shop.output / "_models/champion.json").unlink()
    done = run_ae(verb, shop.yaml, *(["--label", "x"] if verb == "evaluate" else []))
    assert done.code == 4
    assert "ae promote" in done.complaint
    assert run_ae("check", shop.yaml).code == 0, "check says so, and does not fail"


def test_a_refusal_is_three(shop: Shop) -> None:
    done = run_ae("-q", "score", unfamiliar(shop).yaml, "--partition", day(FRESH), "--json")
    assert done.code == 3
    assert done.json["exit_code"] == 3 and "quarantine" in done.json["error"]


def test_a_gate_that_says_no_is_no_failure(shop: Shop) -> None:
    done = run_ae("promote", shop.yaml, "--json")
    assert done.code == 0
    assert done.json["promoted"] is False and "v0001 is the champion already" in done.json["reasons"]


# As a process.


def test_a_real_process_keeps_stdout_for_the_answer(shop: Shop) -> None:
    """Its libraries' greetings included: they go to stderr, or nowhere."""
    with ae_process("score", shop.yaml, "--partition", day(FRESH), "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["rows"] == 300 and out.count("\n") == 1
    assert "scoring date=" in err


def test_a_name_in_dags_pipelines(shop: Shop) -> None:
    folder = shop.root / "dags/pipelines"
    folder.mkdir(parents=True)
    shop.yaml.rename(folder / "shop.yaml")
    env = {k: v for k, v in os.environ.items() if k != "AE_ROOT"}
    code = "from ae_plugin.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "models", "shop", "--json"],
        cwd=shop.root, env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["models"][0]["version"] == "v0001"


def test_an_interrupted_training_says_so_and_changes_nothing(shop: Shop) -> None:
    shop.set(train={"steps": 100_000})
    before = tree(shop.output)
    # A shell that starts this test in the background has told it to ignore SIGINT; `ae` would inherit that.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with ae_process("train", shop.yaml, preexec_fn=listening) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training "):
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.stdout is not None and process.stdout.read() == ""
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "ae: interrupted" in err
    after = {name: digest for name, digest in tree(shop.output).items() if "/.training-" not in name}
    assert after == before


def test_rows_and_files_add_up(shop: Shop) -> None:
    """What `--json` says is what the files hold."""
    record = run_ae("-q", "score", shop.yaml, "--partition", day(FRESH), "--json").json
    scores = pq.ParquetFile(shop.output / f"scores/date={day(FRESH)}/part-0.parquet").read()
    assert record["rows"] == scores.num_rows
    assert record["anomalies"] == pc.sum(scores["is_anomaly"]).as_py()
    assert record["cells_flagged"] == shop.read("cells", FRESH).num_rows
