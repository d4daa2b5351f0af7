"""Law 4: killed at any instant, a reader sees the old partition or the new one, whole. A rerun gives the same bytes.

Three datasets are three files, and no file system moves three files at once. What is promised, and tested here:

- Each file is old or new, whole, at any instant.
- The run's record, which names the sha256 of every file, moves last: where it fits the files, they are the old
  partition or the new one, whole; and where it is the new one, all of them are new.
- Old and new files are mixed only while a journal says so. The next run, of whichever partition, ends it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from ae_plugin.errors import StoreError, UnfamiliarError
from ae_plugin.jobs.due import runs
from ae_plugin.jobs.history import learn_history
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import checkpoint_folder
from ae_plugin.models.checkpoint import Checkpoint
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from tests.boards import BROKEN, good, put_day, scratched, write_boards
from tests.conftest import Trained
from tests.running import ROOT, ae_process, run_ae, tree
from tests.shop import FRESH, ORDERS, Shop, day, make_orders, spoil, write_day, write_days

T = TypeVar("T")
R = TypeVar("R")
DATASETS = ("scores", "cells", "denoised", "heatmaps", "quarantine")
OTHER = FRESH + 1
SEED = 4

# A real `ae` that stops itself just before the n-th time it touches the disk below a folder: for good (SIGKILL), or
# until a file appears. With no n it only counts.
WATCHED_AE = """
import os, signal, sys, time
from pathlib import Path
what, n, root, note = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
sys.argv[1:5] = []
touching = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
seen = 0

def watch(event, args):
    global seen
    if event == "open":
        path, mode, flags = args
        if not (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            return
    elif event in touching:
        path = args[0]
    else:
        return
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(root):
        return
    seen += 1
    if seen != n:
        return
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    note.write_text(f"{event} {os.fspath(path)[len(root):]}")
    while not note.with_suffix(".go").exists():
        time.sleep(0.01)

sys.addaudithook(watch)
code = 0
try:
    exec(sys.stdin.read())
finally:
    if what == "count":
        note.write_text(str(seen))
"""
RUN_AE = "from ae_plugin.cli import main; main()"


def watched(what: str, n: int, root: Path, note: Path, *words: object, code: str = RUN_AE) -> subprocess.Popen[str]:
    """Start `ae WORDS` (or other code) that is killed or paused just before it touches the disk the n-th time."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED_AE, what, str(n), str(root), str(note), *map(str, words)],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(code)
    process.stdin.close()
    process.stdin = None
    return process


def partition(output: Path, number: int = FRESH) -> dict[str, str]:
    """What a reader of the partition sees, as its record names it: a Parquet file or a folder of pictures -> sha256."""
    seen = {}
    for name in DATASETS:
        folder = output / name / f"date={day(number)}"
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        digests = {path: sha256(file.read_bytes()).hexdigest() for path, file in files.items()}
        if set(digests) <= {"part-0.parquet"}:
            seen |= {f"{name}/{path}": digest for path, digest in digests.items()}
        else:
            printed = "".join(f"{digest}  {path}\n" for path, digest in digests.items())
            seen[f"{name}/"] = sha256(printed.encode()).hexdigest()
    return seen


def journals(output: Path) -> list[Path]:
    return sorted((output / "_runs/_journal").glob("*.json"))


def leftovers(output: Path) -> list[str]:
    """Files that are neither outputs nor records nor models."""
    wanted = (*DATASETS, "_models", "_runs/_latest", "_runs/_profiles")
    return [
        name
        for name in tree(output)
        if not name.startswith(tuple(f"{w}/" for w in wanted))
        and name not in (*wanted, "_runs")
        and not (name.startswith("_runs/") and name.count("/") == 1 and name.endswith(".json"))
    ] + [name for name in tree(output) if name.endswith(".partial")]


@dataclass(frozen=True)
class Change:
    """A partition that was scored, and whose source changed since.

    Attributes:
        shop: the pipeline, scored before the change.
        old: what a reader of the partition sees before it is scored anew.
        new: what a reader sees after an undisturbed run.
        steps: how often an undisturbed run touches the disk.
        seconds: how long it takes.
        every: how many steps lie between two of those before which a run is killed.
    """

    shop: Shop
    old: dict[str, str]
    new: dict[str, str]
    steps: int
    seconds: float
    every: int = 1


def words(shop: Shop) -> list[object]:
    return ["--quiet", "score", shop.yaml, "--partition", day(FRESH)]


def rescore(shop: Shop, number: int = FRESH) -> None:
    """Score in this process, whether refused or not."""
    with contextlib.suppress(UnfamiliarError):
        score(shop.pipeline, day(number))


def change(trained: Trained, root: Path, table: pa.Table) -> Change:
    """Score a day of normal orders, replace it by `table`, and see what an undisturbed run makes of that."""
    shop = trained.shop.copy(root / "shop").set(score={"alert_rate": 0.05})
    write_day(shop.source, FRESH, make_orders(300, day(FRESH), seed=1))
    return changed(shop, root, lambda: write_day(shop.source, FRESH, table))


def change_of_boards(boards: Trained, root: Path) -> Change:
    """The same of a few good boards, that others replace: some scratched, some files that are none."""
    shop = boards.shop.copy(root / "shop")
    shutil.rmtree(shop.source)
    for number in (FRESH, OTHER):
        put_day(shop.source, number, good(5, number))
    return changed(shop, root, lambda: put_day(shop.source, FRESH, {**good(3, 99), **scratched(3, 99), **BROKEN}))


def changed(shop: Shop, root: Path, make: Callable[[], object]) -> Change:
    """Score a day and the next one, change the day, and see what an undisturbed run makes of that."""
    rescore(shop)
    rescore(shop, OTHER)
    old = partition(shop.output)
    make()
    undisturbed = shop.copy(root / "undisturbed", models_only=False)
    note, start = root / "steps", time.perf_counter()
    process = watched("count", 0, undisturbed.output, note, *words(undisturbed))
    _, err = process.communicate(timeout=60)
    seconds = time.perf_counter() - start
    assert process.returncode in (0, 3), err
    new = partition(undisturbed.output)
    assert leftovers(undisturbed.output) == []
    assert not set(old.items()) & set(new.items()), "old and new must be told apart"
    return Change(shop, old, new, int(note.read_text()), seconds)


SCORED = {f"{name}/part-0.parquet" for name in ("scores", "cells", "denoised")}


@pytest.fixture(scope="module", params=["scored", "quarantined", "pictures"])
def small(
    request: pytest.FixtureRequest, trained: Trained, boards: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Change:
    """A few hundred orders with other faults than before; or nothing but nulls, which is refused; or boards."""
    if request.param == "pictures":
        found = replace(change_of_boards(boards, tmp_path_factory.mktemp("small-pictures")), every=3)
        assert set(found.new) == {"scores/part-0.parquet", "denoised/", "heatmaps/part-0.parquet"}
        return found
    table = spoil(make_orders(260, day(FRESH), seed=2), seed=2)
    if request.param == "quarantined":
        keys = table.select(["order_id"])
        table = pa.table(
            {
                n: keys[n] if n in keys.column_names else pa.nulls(260, table.schema.field(n).type)
                for n in table.column_names
            }
        )
    found = change(trained, tmp_path_factory.mktemp(f"small-{request.param}"), table)
    assert set(found.old) == SCORED
    assert set(found.new) == (SCORED if request.param == "scored" else {"quarantine/part-0.parquet"})
    return found


@dataclass(frozen=True)
class Killed:
    """What a killed run left behind.

    Attributes:
        when: before which step, or after how many seconds it was killed.
        shop: the pipeline as the run left it.
        change: what it was about to change.
    """

    when: float
    shop: Shop
    change: Change

    def __str__(self) -> str:
        return f"killed at {self.when:g} of {self.change.steps} steps, {self.change.seconds:.2f} s"

    @property
    def began(self) -> bool:
        """Whether it had begun to move files into place, and had not finished."""
        return bool(journals(self.shop.output))

    def copy(self, root: Path) -> Shop:
        return self.shop.copy(root, models_only=False)


def at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Run processes two at a time: there are two cores."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def killed(small: Change, tmp_path_factory: pytest.TempPathFactory) -> list[Killed]:
    """Runs killed before each (of pictures, which start slowly, every third) of the steps that touch the disk."""
    root = tmp_path_factory.mktemp("killed")

    def kill(n: int) -> Killed:
        shop = small.shop.copy(root / str(n), models_only=False)
        process = watched("kill", n, shop.output, root / f"{n}.note", *words(shop))
        _, err = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, err
        return Killed(n, shop, small)

    found = at_once(kill, sorted({*range(1, small.steps + 1, small.every), small.steps}))
    assert any(run.began for run in found) and not all(run.began for run in found)
    return found


def told(output: Path) -> dict[str, str]:
    """What the partition's newest record says of its files, read as anybody would who does not use this package."""
    record = json.loads((output / f"_runs/_latest/date={day(FRESH)}.json").read_text())
    return {name.replace(f"date={day(FRESH)}/", ""): digest for name, digest in record["outputs"].items()}


def see(change: Change, output: Path, when: object) -> dict[str, str]:
    """What a reader sees at any instant, and that it is what was promised."""
    seen, record = partition(output), told(output)
    for name, digest in seen.items():
        assert digest in (change.old.get(name), change.new.get(name)), f"{when}: half a file, {name}"
    assert record in (change.old, change.new), str(when)
    assert record == change.old or seen == change.new, f"{when}: the record came before a file"
    mixed = seen not in (change.old, change.new)
    assert not mixed or journals(output), f"{when}: a mix, and nothing that ends it"
    return seen


def test_what_a_reader_sees_after_a_kill(killed: list[Killed]) -> None:
    seen = [see(run.change, run.shop.output, run) for run in killed]
    assert seen[0] == killed[0].change.old
    assert seen[-1] == killed[0].change.new
    fits = [files == told(run.shop.output) for files, run in zip(seen, killed, strict=True)]
    assert all(fits[n] or killed[n].began for n in range(len(killed)))
    assert not all(fits), "never killed while files were moved"


def test_what_runs_says_is_what_the_files_are(killed: list[Killed], tmp_path: Path) -> None:
    """It finishes what a killed writer began."""
    for number, run in enumerate(killed):
        shop = run.copy(tmp_path / str(number))
        record = {record.partition: record for record in runs(shop.pipeline)}[f"date={day(FRESH)}"]
        assert told(shop.output) == partition(shop.output), str(run)
        assert record.outputs.keys() == {name.replace("/", f"/date={day(FRESH)}/") for name in told(shop.output)}
        assert partition(shop.output) in (run.change.old, run.change.new), str(run)


def test_the_next_run_of_another_partition_finishes_what_was_begun(killed: list[Killed], tmp_path: Path) -> None:
    for number, run in enumerate(killed):
        shop = run.copy(tmp_path / str(number))
        before = partition(shop.output)
        rescore(shop, OTHER)
        assert partition(shop.output) == (run.change.new if run.began else before), str(run)
        assert told(shop.output) == partition(shop.output), str(run)


def test_a_rerun_gives_the_same_bytes(killed: list[Killed], tmp_path: Path) -> None:
    for number, run in enumerate(killed):
        shop = run.copy(tmp_path / str(number))
        rescore(shop)
        assert partition(shop.output) == run.change.new, str(run)


def test_a_rerun_leaves_no_temporary_files(killed: list[Killed], tmp_path: Path) -> None:
    left = {}
    for number, run in enumerate(killed):
        shop = run.copy(tmp_path / str(number))
        rescore(shop)
        left[str(run)] = leftovers(shop.output)
    assert not any(left.values()), {run: names for run, names in left.items() if names}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_stopped_at_any_move_while_its_process_goes_on(
    small: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Ctrl-C, a task's time-out or a disk's error: what the run does then must not undo what it has begun."""
    ends = []
    for n in range(1, 20):
        shop = small.shop.copy(tmp_path / str(n), models_only=False)
        moves, move = iter(range(1, 20)), Folder.move

        def stop(folder: Folder, old: str, new: str, moves: Iterator[int] = moves, n: int = n) -> None:
            if next(moves) == n:
                raise error
            move(folder, old, new)

        with monkeypatch.context() as broken, contextlib.suppress(KeyboardInterrupt, StoreError):
            broken.setattr(Folder, "move", stop)
            rescore(shop)
        seen, begun = see(small, shop.output, n), bool(journals(shop.output))
        rescore(shop, OTHER)
        assert partition(shop.output) == (small.new if begun else seen) == told(shop.output), n
        assert leftovers(shop.output) == [], n
        ends.append(partition(shop.output) == small.new)
        if next(moves) <= n:
            break
    assert ends == sorted(ends) and not ends[0] and len(ends) > 4


def test_killed_at_random_moments(trained: Trained, tmp_path: Path) -> None:
    """SIGKILL by the clock, as a machine does it, over a partition that takes a while."""
    table = spoil(make_orders(20_000, day(FRESH), seed=3), seed=3)
    big = change(trained, tmp_path / "big", table)
    rng = random.Random(SEED)
    moments = [rng.uniform(0.3, 1.0) * big.seconds for _ in range(8)]
    ended = 0
    for number, seconds in enumerate(moments):
        shop = big.shop.copy(tmp_path / str(number), models_only=False)
        process = ae_process(*words(shop))
        time.sleep(seconds)
        process.kill()
        process.communicate(timeout=60)
        ended += process.returncode == 0
        run = Killed(seconds, shop, big)
        see(big, shop.output, run)
        rescore(shop)
        assert partition(shop.output) == big.new, str(run)
        assert leftovers(shop.output) == [], str(run)
    assert ended < len(moments), "killed too late to mean anything"


# Two runs at the same time, one of them halted in mid-air.


@pytest.fixture(scope="module")
def scored(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Change:
    table = spoil(make_orders(260, day(FRESH), seed=2), seed=2)
    return change(trained, tmp_path_factory.mktemp("scored"), table)


@pytest.mark.parametrize("number", [OTHER, FRESH], ids=["another partition", "the same partition"])
def test_two_runs_at_the_same_time_do_not_disturb_each_other(scored: Change, tmp_path: Path, number: int) -> None:
    """One run halts before each of its steps in turn, until a second one is done or has to wait: both must succeed."""
    lock, troubles = Lock(), []

    def meet(n: int) -> None:
        shop = scored.shop.copy(tmp_path / str(n), models_only=False)
        note = tmp_path / f"{n}.note"
        first = watched("pause", n, shop.output, note, *words(shop))
        while not note.exists():
            assert first.poll() is None, first.communicate()
            time.sleep(0.01)
        where = note.read_text()
        see(scored, shop.output, f"step {n}, {where}")

        def second() -> None:
            try:
                with lock:
                    rescore(shop, number)
            except Exception as error:
                troubles.append(f"step {n}, {where}: the second run failed: {error}")

        other = Thread(target=second)
        other.start()
        # While the first one moves files into place, the second one waits for it: give it a while, not forever.
        other.join(2)
        note.with_suffix(".go").touch()
        _, err = first.communicate(timeout=60)
        other.join(60)
        assert not other.is_alive(), f"step {n}, {where}: the second run hangs"
        if first.returncode != 0:
            troubles.append(f"step {n}, {where}: the first run failed: {err.splitlines()[-1]}")
        elif partition(shop.output) != scored.new or leftovers(shop.output):
            troubles.append(f"step {n}, {where}: {leftovers(shop.output)}")

    at_once(meet, range(1, scored.steps + 1, 1 if number == OTHER else 3))
    assert not troubles, "\n".join(troubles)


# Training.

REGISTER = """
from ae_plugin.store.registry import Registry
import sys
print(Registry(sys.argv[1]).register({"a": b"1" * 1000, "b": b"2" * 1000}, {"columns": []}))
"""


def registered(output: Path) -> list[str]:
    """Versions that a reader sees, each of which is whole."""
    registry = Registry(str(output))
    found = registry.versions()
    for version in found:
        assert registry.read(version)[1] == {"a": b"1" * 1000, "b": b"2" * 1000}
    pointer = registry.pointer("challenger")
    assert pointer is None or pointer.version in found
    return found


@pytest.fixture(scope="module")
def killed_registrations(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Registries with one version, in which a second registration was killed at each of its steps."""
    root = tmp_path_factory.mktemp("registrations")
    counted = watched("count", 0, root / "whole", root / "steps", root / "whole", code=REGISTER)
    assert counted.communicate(timeout=60)[0] == "v0001\n"
    steps = int((root / "steps").read_text())
    assert steps > 5

    def kill(n: int) -> Path:
        output = shutil.copytree(root / "whole", root / str(n))
        process = watched("kill", n, output, root / f"{n}.note", output, code=REGISTER)
        process.communicate(timeout=60)
        return output

    return at_once(kill, range(1, steps + 1))


def test_a_killed_registration_leaves_a_version_or_none(killed_registrations: list[Path]) -> None:
    seen = [registered(output) for output in killed_registrations]
    assert seen[0] == ["v0001"] and seen[-1] == ["v0001", "v0002"]
    assert all(versions in (["v0001"], ["v0001", "v0002"]) for versions in seen)


def test_a_registration_after_a_killed_one_takes_a_new_version(killed_registrations: list[Path]) -> None:
    for output in killed_registrations:
        before = registered(output)
        version = Registry(str(output)).register({"a": b"1" * 1000, "b": b"2" * 1000}, {"columns": []})
        assert version not in before
        assert registered(output) == [*before, version]
        pointer = Registry(str(output)).pointer("challenger")
        assert pointer is not None and pointer.version == version


def test_a_registration_leaves_no_temporary_files_of_a_killed_one(killed_registrations: list[Path]) -> None:
    left = []
    for output in killed_registrations:
        version = Registry(str(output)).register({"a": b"1"}, {"columns": []})
        known = {f"{name}{end}" for name in Registry(str(output)).versions() for end in ("", ".sha256")}
        known |= {"_models", "challenger.json"}
        paths = [*output.iterdir(), *(output / "_models").iterdir()]
        left += [f"{version}: {path.name}" for path in paths if path.name not in known]
    assert left == []


def test_registrations_that_race_take_different_versions(tmp_path: Path) -> None:
    code = "import time\nwhile time.time() < " + str(time.time() + 2) + ": pass\n" + REGISTER * 5
    racing = [watched("count", 0, tmp_path, tmp_path / f"{i}.note", tmp_path / "out", code=code) for i in range(4)]
    said = []
    for process in racing:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said += out.split()
    assert len(set(said)) == 20
    assert registered(tmp_path / "out") == sorted(said)


def orders_to_train_on(root: Path, steps: int) -> Shop:
    shop = Shop(root, ORDERS).write().set(train={"steps": steps})
    write_days(shop.source, 3, 200)
    return shop


def boards_to_train_on(root: Path, steps: int) -> Shop:
    return write_boards(root, history=10, steps=steps)


def weights(shop: Shop, version: str = "v0001") -> str:
    digest: str = json.loads((shop.output / f"_models/{version}/model.json").read_text())["files"][
        "weights.safetensors"
    ]
    return digest


def lines_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if wanted in line:
            return
    pytest.fail(f"never said {wanted!r}")


@pytest.mark.parametrize(("make", "steps"), [(orders_to_train_on, 500), (boards_to_train_on, 60)])
def test_a_killed_training_goes_on_from_its_checkpoint(
    tmp_path: Path, make: Callable[[Path, int], Shop], steps: int
) -> None:
    """And ends with the weights of one that was never disturbed; a checkpoint that is broken is as good as none."""
    undisturbed = make(tmp_path / "undisturbed", steps)
    assert run_ae("train", undisturbed.yaml).code == 0
    shop = make(tmp_path / "killed", steps)
    checkpoint = kill_after_a_checkpoint(shop, steps)
    saved = checkpoint.read_bytes()
    assert Registry(str(shop.output)).versions() == []
    resumed = run_ae("train", shop.yaml)
    assert resumed.code == 0, resumed.err
    assert "resuming at step" in resumed.err and not re.search(f"^step 20/{steps}", resumed.err, re.M)
    assert weights(shop) == weights(undisturbed)
    assert not checkpoint.parent.exists()
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(saved[: len(saved) // 2])
    again = run_ae("train", shop.yaml)
    assert again.code == 0 and re.search(f"^step 20/{steps}", again.err, re.M)
    assert weights(shop, "v0002") == weights(undisturbed)


@pytest.mark.parametrize("case", ["other shapes", "other arrays"])
def test_a_checkpoint_of_another_release_is_as_good_as_none(tmp_path: Path, case: str) -> None:
    """Its name says which config and rows it belongs to, and nothing of the code that wrote it."""
    shop = orders_to_train_on(tmp_path / "shop", 20)
    folder = checkpoint_folder(shop.pipeline, learn_history(shop.pipeline))
    some = [np.zeros((3, 3), np.float32)] * 4
    Checkpoint(5, 0, 1.0, [(5, 1.0, 1.0)], some, some, some).save(folder)
    if case == "other arrays":
        path = folder / "checkpoint.safetensors"
        save_file({**load_file(path), "momentum.0000": some[0]}, path)
    outcome = run_ae("train", shop.yaml)
    assert outcome.code == 0, outcome.err
    assert "step 20/20" in outcome.err


def kill_after_a_checkpoint(shop: Shop, steps: int) -> Path:
    """Train in a process of its own, and kill it as soon as it has saved its progress; return the checkpoint."""
    process = ae_process("train", shop.yaml)
    lines_until(process, f"step 20/{steps}")
    # It saves every five seconds, and is done in three: time goes on while it stands still.
    process.send_signal(signal.SIGSTOP)
    time.sleep(5.5)
    process.send_signal(signal.SIGCONT)
    while not (found := sorted((shop.output / "_models").glob(".training-*/checkpoint.safetensors"))):
        assert process.poll() is None, "done before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    return found[0]


def test_two_trainings_that_race_make_two_versions(tmp_path: Path) -> None:
    shop = orders_to_train_on(tmp_path / "shop", 300)
    racing = [ae_process("train", shop.yaml, "--json") for _ in range(2)]
    reports = []
    for process in racing:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    registry = Registry(str(shop.output))
    assert sorted(report["model_version"] for report in reports) == registry.versions() == ["v0001", "v0002"]
    assert weights(shop, "v0001") == weights(shop, "v0002")
    for name in ("champion", "challenger"):
        pointer = registry.pointer(name)
        assert pointer is not None and registry.read(pointer.version)
