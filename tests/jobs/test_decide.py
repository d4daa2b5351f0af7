"""Decisions on refused partitions: what is released is scored, what is discarded stays out, until files change."""

from __future__ import annotations

import json
import os
import shutil
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import ConfigError, DataError, StoreError, UnfamiliarError
from ae_plugin.jobs.decide import decide, decisions
from ae_plugin.jobs.due import due, runs
from ae_plugin.jobs.history import learn_history, training_partitions
from ae_plugin.jobs.pictures.history import learn_picture_history
from ae_plugin.jobs.report import report
from ae_plugin.jobs.retrain import retrain_reasons
from ae_plugin.jobs.score import score
from ae_plugin.jobs.several import score_several
from ae_plugin.jobs.shards import commit_shards, plans, score_shard
from ae_plugin.jobs.train import train
from ae_plugin.schemas import DecisionRecord, RunRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import Folder, list_source, partitions_of
from tests.boards import checks, png, put_day
from tests.boards import written as pictures_of
from tests.conftest import Trained
from tests.jobs.test_score import alien
from tests.running import run_ae, tree, unchanged
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, train_and_promote, write_day

NAME, OTHER = f"date={day(FRESH)}", f"date={day(FRESH + 1)}"


def refuse(shop: Shop, partition: str | None = day(FRESH)) -> None:
    with pytest.raises(UnfamiliarError, match="unfamiliar data"):
        score(shop.pipeline, partition)


@pytest.fixture
def refused(shop: Shop) -> Shop:
    """The trained shop, with a day of quite another kind that the guard refused."""
    write_day(shop.source, FRESH, alien())
    refuse(shop)
    return shop


def run_of(shop: Shop, partition: str = NAME) -> RunRecord:
    return {run.partition: run for run in runs(shop.pipeline)}[partition]


def quarantined(shop: Shop) -> list[str]:
    return [str(path.relative_to(shop.output)) for path in shop.output.glob("quarantine/**/*") if path.is_file()]


def stored(shop: Shop) -> list[str]:
    """What is in decisions/, and whatever a commit left unfinished."""
    found = [*shop.output.glob("decisions/*"), *shop.output.glob("_staging/*"), *shop.output.glob("_runs/_journal/*")]
    return [str(path.relative_to(shop.output)) for path in found]


# --- a decision ---


@pytest.mark.parametrize("decision", ["release", "discard"])
def test_a_decision_is_kept_whole(refused: Shop, decision: str) -> None:
    made = decide(refused.pipeline, day(FRESH), decision, note="a fair", who="ann")
    path = refused.output / f"decisions/{NAME}.json"
    assert DecisionRecord.model_validate_json(path.read_text()) == made
    kept = json.loads(path.read_text())
    when = datetime.fromisoformat(kept.pop("when").replace("Z", "+00:00"))
    assert timedelta() <= datetime.now(timezone.utc) - when < timedelta(minutes=5)
    assert kept == {"partition": NAME, "decision": decision, "fingerprint": run_of(refused).input_fingerprint,
                    "who": "ann", "note": "a fair"}  # fmt: skip
    assert decisions(refused.pipeline) == {NAME: made}
    assert stored(refused) == [f"decisions/{NAME}.json"]


def test_the_last_word_counts(refused: Shop) -> None:
    before = due(refused.pipeline)
    decide(refused.pipeline, NAME, "discard")
    assert (before, due(refused.pipeline)) == ([OTHER], [OTHER])
    again = decide(refused.pipeline, NAME, "release")
    assert decisions(refused.pipeline) == {NAME: again} and due(refused.pipeline) == [NAME, OTHER]
    decide(refused.pipeline, NAME, "discard")
    assert due(refused.pipeline) == [OTHER]


def test_who_says_nothing_of_himself_is_whoever_runs_it(refused: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ben")
    assert decide(refused.pipeline, NAME, "release").who == "ben"


@pytest.mark.parametrize("decision", ["release", "discard"])
def test_files_that_change_void_it(refused: Shop, decision: str) -> None:
    decide(refused.pipeline, NAME, decision)
    write_day(refused.source, FRESH, alien(rows=280))
    assert decisions(refused.pipeline) == {}
    assert due(refused.pipeline) == [NAME, OTHER]
    refuse(refused)
    assert run_of(refused).outcome == "quarantined" and not run_of(refused).notes
    assert refused.read("quarantine", FRESH).num_rows == 280
    assert due(refused.pipeline) == [OTHER], "refused, and nobody decided on these files"


def test_a_partition_that_left_the_source_has_no_decision(refused: Shop) -> None:
    decide(refused.pipeline, NAME, "discard")
    shutil.rmtree(refused.source / NAME)
    assert decisions(refused.pipeline) == {}


# --- release ---


@pytest.mark.parametrize("on_unfamiliar", ["quarantine", "fail"])
def test_what_is_released_is_scored_at_the_next_run_and_once(shop: Shop, on_unfamiliar: str) -> None:
    shop = shop.set(score={"on_unfamiliar": on_unfamiliar})
    write_day(shop.source, FRESH, alien())
    score(shop.pipeline, day(FRESH + 1))
    refuse(shop)
    assert due(shop.pipeline) == []
    made = decide(shop.pipeline, NAME, "release", note="new\nlorries", who="ann")
    done = run_ae("-q", "score", shop.yaml, "--json")
    assert done.code == 0
    (run,) = done.json["runs"]
    assert (run["partition"], run["outcome"], run["guard"]["verdict"]) == (NAME, "scored", "unfamiliar")
    assert run["notes"] == [
        f"unfamiliar, and scored since it was released by ann on {made.when:%Y-%m-%d %H:%M} UTC (new lorries)"
    ]
    assert shop.read("scores", FRESH).num_rows == shop.read("denoised", FRESH).num_rows == 300
    assert quarantined(shop) == []
    with unchanged(shop.output):
        again = run_ae("-q", "score", shop.yaml)
    assert (again.code, again.out) == (0, "nothing to do: no partition is new or changed\n")
    assert decisions(shop.pipeline) == {NAME: made}, "who released it is still known"


def test_a_released_partition_gives_the_bytes_that_it_gives_without_a_guard(refused: Shop, tmp_path: Path) -> None:
    decide(refused.pipeline, NAME, "release")
    released = score(refused.pipeline, NAME)
    free = refused.copy(tmp_path / "free").set(score={"on_unfamiliar": "score"})
    assert released.outputs == score(free.pipeline, NAME).outputs
    before = tree(refused.output / "scores")
    assert score(refused.pipeline, NAME).outputs == released.outputs, "named again, it is released still"
    assert tree(refused.output / "scores") == before


def test_a_release_is_for_its_partition_alone(refused: Shop) -> None:
    write_day(refused.source, FRESH + 1, alien(number=FRESH + 1))
    refuse(refused, day(FRESH + 1))
    decide(refused.pipeline, NAME, "release")
    told: list[str] = []
    done = score_several(refused.pipeline, due(refused.pipeline), tell=lambda error: told.append(str(error)))
    assert (list(done.scored), told) == ([NAME], [])
    refuse(refused, day(FRESH + 1))


def test_what_is_familiar_to_another_champion_needs_no_release(refused: Shop) -> None:
    decide(refused.pipeline, NAME, "release")
    for number in range(LAST_TRAINED + 1):
        write_day(refused.source, number, alien(number=number))
    train_and_promote(refused.set(train={"steps": 40}))
    run = score(refused.pipeline, NAME)
    assert (run.outcome, run.guard.verdict) == ("scored", "familiar")
    assert not any("released" in note for note in run.notes)


# --- discard ---


def test_what_is_discarded_leaves_quarantine_and_is_due_for_nobody(refused: Shop) -> None:
    score(refused.pipeline, OTHER)
    (kept,) = quarantined(refused)
    assert kept == f"quarantine/{NAME}/part-0.parquet"
    runs_before = tree(refused.output / "_runs")
    decide(refused.pipeline, NAME, "discard")
    assert quarantined(refused) == [] and due(refused.pipeline) == []
    assert tree(refused.output / "_runs") == runs_before, "what the run did is not rewritten"
    train_and_promote(refused.set(train={"steps": 20}))
    assert due(refused.pipeline) == [], "not for another champion either"
    (refused.output / f"_runs/_latest/{NAME}.json").unlink()
    assert due(refused.pipeline) == [], "nor when its run is forgotten"


def test_what_is_discarded_is_not_scored_when_it_is_named(refused: Shop) -> None:
    decide(refused.pipeline, NAME, "discard", who="ann", note="a test\nrun")
    with unchanged(refused.output):
        done = run_ae("-q", "score", refused.yaml, "--partition", NAME)
    assert done.code == 3
    assert done.complaint.startswith(f"ae: {NAME}: unfamiliar data, discarded by ann on ")
    assert done.complaint.endswith(" UTC (a test run). `ae release` takes that back")


def test_whoever_discards_while_it_is_scored_is_heard(refused: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another champion, say: its rows do not come back into quarantine."""
    from ae_plugin.jobs.table import TableRun

    verdict = TableRun._verdict

    def meanwhile(run: TableRun) -> object:
        decide(refused.pipeline, NAME, "discard")
        return verdict(run)

    monkeypatch.setattr(TableRun, "_verdict", meanwhile)
    refuse(refused)
    assert quarantined(refused) == [] and stored(refused) == [f"decisions/{NAME}.json"]


def test_rows_that_came_into_quarantine_meanwhile_stay(refused: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are of other files, on which nobody decided."""
    apply, others = Commit.apply, [alien(rows=250)]

    def after_another(commit: Commit) -> None:
        while others:
            write_day(refused.source, FRESH, others.pop())
            refuse(refused)
        apply(commit)

    monkeypatch.setattr(Commit, "apply", after_another)
    decide(refused.pipeline, NAME, "discard")
    assert refused.read("quarantine", FRESH).num_rows == 250
    assert decisions(refused.pipeline) == {}


def test_quarantine_of_a_run_before_goes_too(refused: Shop) -> None:
    """It was quarantined, then refused under `fail`, which withdraws nothing."""
    shop = refused.set(score={"on_unfamiliar": "fail"})
    write_day(shop.source, FRESH, alien(rows=280))
    refuse(shop)
    assert run_of(shop).outputs == {} and quarantined(shop)
    decide(shop.pipeline, NAME, "discard")
    assert quarantined(shop) == []


def test_other_partitions_keep_theirs(refused: Shop) -> None:
    write_day(refused.source, FRESH + 1, alien(number=FRESH + 1))
    refuse(refused, day(FRESH + 1))
    decide(refused.pipeline, NAME, "discard")
    assert quarantined(refused) == [f"quarantine/{OTHER}/part-0.parquet"]


# --- training ---


def test_drift_counts_what_is_released_and_not_what_is_discarded(refused: Shop) -> None:
    shop = refused.set(train={"on_drift": 2, "until": None})
    write_day(shop.source, FRESH + 1, alien(number=FRESH + 1))
    refuse(shop, day(FRESH + 1))
    assert len(retrain_reasons(shop.pipeline).reasons) == 1
    decide(shop.pipeline, NAME, "discard")
    assert retrain_reasons(shop.pipeline).reasons == []
    decide(shop.pipeline, NAME, "release")
    score(shop.pipeline, NAME)
    assert len(retrain_reasons(shop.pipeline).reasons) == 1, "the world has changed"
    decide(shop.pipeline, OTHER, "discard")
    shutil.rmtree(shop.source / OTHER)
    assert retrain_reasons(shop.pipeline).reasons == [], "also when it has left the source"


def test_training_leaves_out_what_was_discarded_and_says_so(refused: Shop) -> None:
    shop = refused.set(train={"until": day(FRESH), "steps": 20})
    assert NAME in training_partitions(shop.pipeline)
    decide(shop.pipeline, NAME, "discard", who="ann")
    assert run_ae("check", shop.yaml, "--json").json["train_partitions"][-1] == f"date={day(LAST_TRAINED)}"
    report = train(shop.pipeline)
    assert report.incidents == {NAME: "discarded by ann"}
    assert NAME not in report.partitions and len(report.partitions) == LAST_TRAINED + 1
    assert f"left out, since they were discarded: {NAME} (discarded by ann)" in report.notes
    write_day(shop.source, FRESH, make_orders(300, day(FRESH)))
    assert NAME in training_partitions(shop.pipeline), "other files"


def test_what_is_learned_is_what_would_be_learned_without_it(refused: Shop) -> None:
    shop = refused.set(train={"until": day(FRESH), "contamination": "auto"})
    decide(shop.pipeline, NAME, "discard")
    left = learn_history(shop.pipeline)
    alone = learn_history(shop.set(train={"until": day(LAST_TRAINED)}).pipeline)
    assert left.encoder.specs == alone.encoder.specs and left.sample.table.equals(alone.sample.table)
    assert left.incidents == {**alone.incidents, NAME: left.incidents[NAME]}


def test_when_nothing_else_is_left_to_train_on_it_says_so(refused: Shop) -> None:
    shop = refused.set(train={"until": day(FRESH), "partitions": 1})
    decide(shop.pipeline, NAME, "discard")
    done = run_ae("train", shop.yaml)
    assert done.code == 2 and "nothing to train on: 1 partition discarded. Release one" in done.complaint


# --- other sorts of partition ---


def test_a_partition_that_is_cut(shop: Shop) -> None:
    """Refused, released and committed by the tasks of its shards, then changed, refused and discarded."""

    def commit() -> RunRecord:
        (plan,) = plans(shop.pipeline, {NAME: partitions_of(list_source(shop.pipeline.source))[NAME]})
        for number in range(plan.shards):
            score_shard(shop.pipeline, plan, number)
        return commit_shards(shop.pipeline, plan)

    shop = shop.set(score={"shard_rows": 1_000})
    write_day(shop.source, FRESH, alien(rows=4_000), row_group_size=500)
    with pytest.raises(UnfamiliarError):
        commit()
    decide(shop.pipeline, NAME, "release", who="ann")
    assert NAME in due(shop.pipeline)
    run = commit()
    assert (run.outcome, run.guard.verdict, run.shards) == ("scored", "unfamiliar", 4)
    assert "released by ann" in run.notes[0] and not quarantined(shop)
    assert NAME not in due(shop.pipeline)
    files = sorted((shop.output / "denoised" / NAME).iterdir())
    assert sum(pq.read_metadata(path).num_rows for path in files) == 4_000 and len(files) == 4
    write_day(shop.source, FRESH, alien(rows=4_500), row_group_size=500)
    with pytest.raises(UnfamiliarError):
        commit()
    assert quarantined(shop)
    decide(shop.pipeline, NAME, "discard")
    assert not quarantined(shop) and NAME not in due(shop.pipeline)
    with pytest.raises(UnfamiliarError, match="discarded by"):
        commit()
    assert not quarantined(shop) and not list(shop.output.glob("_staging/*"))


def test_pictures_too(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "shop")
    files = {f"{number:03d}.png": png(checks(number)) for number in range(40)}
    for number in (FRESH, FRESH + 1):
        put_day(shop.source, number, files)
        refuse(shop, day(number))
    decide(shop.pipeline, NAME, "release", who="ann")
    decide(shop.pipeline, OTHER, "discard", who="ann")
    assert due(shop.pipeline) == [NAME]
    assert not pictures_of(shop.output, FRESH + 1, "quarantine")
    assert pictures_of(shop.output, FRESH, "quarantine") == files
    run = score(shop.pipeline, NAME)
    assert (run.outcome, run.guard.verdict) == ("scored", "unfamiliar") and "released by ann" in run.notes[0]
    assert pictures_of(shop.output, FRESH).keys() == files.keys()
    assert not pictures_of(shop.output, FRESH, "quarantine") and due(shop.pipeline) == []
    history = learn_picture_history(shop.set(train={"until": day(FRESH + 1)}).pipeline)
    assert history.incidents == {OTHER: "discarded by ann"} and OTHER not in history.groups and NAME in history.groups
    assert history.notes == [f"left out, since they were discarded: {OTHER} (discarded by ann)"]


def test_a_source_without_partitions(shop: Shop) -> None:
    shop = shop.set(source={"partition_by": []})
    for number in range(LAST_TRAINED + 3):
        shutil.rmtree(shop.source / f"date={day(number)}")
    pq.write_table(alien(), shop.source / "all.parquet")
    refuse(shop, None)
    done = run_ae("discard", shop.yaml, "--note", "a test")
    assert (done.code, done.out.splitlines()[0].partition(": discarded by ")[0]) == (0, "shop")
    assert due(shop.pipeline) == [] and not quarantined(shop)
    assert run_ae("release", shop.yaml, "--json").json["partition"] == ""
    assert due(shop.pipeline) == [""] and score(shop.pipeline).outcome == "scored"


def test_an_output_elsewhere_honours_it_too(refused: Shop, tmp_path: Path) -> None:
    """The decision is on the files, wherever they are scored to."""
    decide(refused.pipeline, NAME, "release", who="ann")
    assert score(refused.pipeline, NAME, output=str(tmp_path / "other")).notes[0].count("released by ann") == 1
    assert NAME in due(refused.pipeline), "here it is still to be scored"


# --- killed in between ---


def killed_before(change: int, shop: Shop) -> bool:
    """Discard in a process that is killed before its n-th change to the output; whether it was faster."""
    child = os.fork()
    if not child:
        left = change

        def dying(name: str) -> None:
            act = getattr(Folder, name)

            def step(*args: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return act(*args)

            setattr(Folder, name, step)

        for name in ("write", "move", "remove", "remove_file"):
            dying(name)
        try:
            decide(shop.pipeline, NAME, "discard")
        except BaseException:  # noqa: BLE001 - neither killed nor done
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status == 0


def test_killed_anywhere_it_is_made_whole_or_never_was(refused: Shop, tmp_path: Path) -> None:
    ends = []
    for change in range(40):
        shop = refused.copy(tmp_path / str(change), models_only=False)
        done = killed_before(change, shop)
        due(shop.pipeline)
        made, rows = bool(decisions(shop.pipeline)), bool(quarantined(shop))
        assert made != rows, "discarded, and quarantine is empty; or nothing happened"
        ends.append(made)
        if done:
            break
        assert decide(shop.pipeline, NAME, "discard").decision == "discard" and not quarantined(shop)
        assert stored(shop) == [f"decisions/{NAME}.json"]
    assert done and ends[-1] and not ends[0] and ends == sorted(ends)


def test_what_cannot_be_written_changes_nothing(refused: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("cannot be written (No space left on device)", where="out")

    monkeypatch.setattr(Folder, "write", full)
    with unchanged(refused.output), pytest.raises(StoreError, match="No space"):
        decide(refused.pipeline, NAME, "discard")


# --- what is wrong ---


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["2031-01-01"], "no partition date=2031-01-01. The newest is"),
        ([], "PARTITION: no partition given. The newest is"),
        (["month=3"], "PARTITION: 'month=3' names no partition. Wanted: date=VALUE"),
        (["a/b"], "PARTITION: 'a/b' names no partition"),
        ([".."], "climbs out"),
        ([OTHER], f"{OTHER}: was not scored yet, so nobody refused it. Run `ae score`"),
        ([day(0)], f"date={day(0)}: was not scored yet"),
        ([NAME, "--note", "caf\udce9"], "is not UTF-8"),
        (["--colour", "red"], "No such option"),
    ],
)
@pytest.mark.parametrize("verb", ["release", "discard"])
def test_what_is_wrong_is_one_line_and_changes_nothing(
    refused: Shop, verb: str, words: list[str], complaint: str
) -> None:
    with unchanged(refused.root):
        done = run_ae(verb, refused.yaml, *words, "--json")
    assert done.code == done.json["exit_code"] == 2
    assert complaint in done.json["error"]
    assert "Traceback" not in done.err


def test_what_was_scored_or_never_run_cannot_be_decided(refused: Shop) -> None:
    score(refused.pipeline, OTHER)
    with unchanged(refused.root), pytest.raises(ConfigError, match=f"{OTHER}: is not refused: v0001 scored it"):
        decide(refused.pipeline, OTHER, "discard")
    with pytest.raises(ConfigError, match="'keep' is no decision. Say release or discard"):
        decide(refused.pipeline, NAME, "keep")
    elsewhere = refused.set(output="elsewhere").pipeline
    with unchanged(refused.root), pytest.raises(ConfigError, match="was not scored yet"):
        decide(elsewhere, NAME, "discard")


def test_what_changed_since_cannot_be_decided(refused: Shop) -> None:
    seen = run_of(refused).input_fingerprint
    write_day(refused.source, FRESH, alien(rows=280))
    changed = f"{NAME}: changed since it was looked at. The next run judges it afresh"
    with pytest.raises(DataError, match=changed):
        decide(refused.pipeline, NAME, "release")
    refuse(refused)
    with pytest.raises(DataError, match=changed):
        decide(refused.pipeline, NAME, "release", seen=seen)
    assert stored(refused) == []
    decide(refused.pipeline, NAME, "release", seen=run_of(refused).input_fingerprint)


NONE = {"partition": "", "decision": "keep", "fingerprint": "", "who": "", "when": "2024-03-01T00:00Z"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b"\xff", json.dumps(NONE), json.dumps({**NONE, "decision": "release", "when": "soon"})],
)
def test_what_is_no_decision_is_named(refused: Shop, content: bytes | str) -> None:
    decide(refused.pipeline, NAME, "discard")
    (refused.output / f"decisions/{NAME}.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for words in (["score", refused.yaml], ["score", refused.yaml, "--partition", NAME], ["train", refused.yaml]):
        done = run_ae("-q", *words)
        assert done.code == 2
        assert f"decisions/{NAME}.json: is not a decision. Remove it, and decide anew" in done.complaint
    assert quarantined(refused) == []


def test_what_a_killed_writer_left_is_no_decision(refused: Shop) -> None:
    made = decide(refused.pipeline, NAME, "release")
    (refused.output / f"decisions/{OTHER}.json.partial.1.abc").write_bytes(b"{")
    assert decisions(refused.pipeline) == {NAME: made}


# --- what people are told ---


def test_the_lines_say_what_happens_next(refused: Shop) -> None:
    def lines(verb: str) -> list[str]:
        return run_ae("-q", verb, refused.yaml, day(FRESH), "--note", "new lorries").out.splitlines()

    first, then = lines("release")
    assert first.startswith(f"{NAME}: released by ") and first.endswith(" UTC (new lorries)")
    assert then == "next: the next run of shop__score scores it, or `ae score`"
    assert lines("discard")[1].startswith("next: not scored and not trained on until its files change; its rows in")
    refused.set(score={"schedule": "partition"})
    assert lines("release")[1] == "next: `ae score` scores it, or a run of shop__score that is started by hand"


def test_a_refusal_says_that_one_may_decide(refused: Shop) -> None:
    assert run_ae("-q", "score", refused.yaml, "--partition", NAME).complaint.endswith(
        "part-0.parquet; look at it, then release or discard it, or train anew"
    )


def test_the_report_says_what_was_decided(refused: Shop) -> None:
    def page() -> str:
        return Path(report(refused.pipeline)).read_text(encoding="utf-8")

    waiting = "Unfamiliar, so not scored: 1 of 1 partition"
    assert waiting in page() and "its rows are in quarantine/" in page()
    decide(refused.pipeline, NAME, "discard", who="<b>ann</b>")
    found = page()
    assert waiting not in found and "in quarantine/" not in found
    assert found.count("discarded by &lt;b&gt;ann&lt;/b&gt; on ") == 2 and "<b>ann" not in found
