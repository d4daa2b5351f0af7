"""Law 7: loading a model, a config or a batch never executes anything from it."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load_file, save_file

from ae_plugin.models.checkpoint import Checkpoint
from ae_plugin.store.registry import Registry
from tests.boards import board, png, put_day
from tests.conftest import Trained
from tests.running import ROOT, Outcome, ae_process, run_ae, unchanged
from tests.shop import FRESH, Shop, day

PACKAGE = ROOT / "ae_plugin"


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def sprung(tmp_path: Path) -> Iterator[Path]:
    """A file that is there when a trap was sprung; it must not be."""
    path = tmp_path / "sprung"
    yield path
    assert not path.exists(), "data was executed"


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def refused(outcome: Outcome) -> None:
    """Exit code 2, and one line."""
    assert outcome.code == 2, outcome
    assert outcome.err.splitlines() == [outcome.complaint] and outcome.complaint.startswith("ae: "), outcome.err


# Config.

YAML_TRAPS = {
    "apply": "!!python/object/apply:os.system [\"touch '{sprung}'\"]",
    "apply with keywords": "!!python/object/apply:os.system {{args: [\"touch '{sprung}'\"]}}",
    "new": "!!python/object/new:subprocess.Popen [[touch, '{sprung}']]",
    "object": "!!python/object:subprocess.Popen {{args: [touch, '{sprung}']}}",
    "name": "!!python/name:os.system",
    "module": "!!python/module:antigravity",
    "tuple": "!!python/tuple [a, b]",
    "a tag of one's own": "!ae_plugin.cli.main {{}}",
}


@pytest.mark.parametrize("verb", ["train", "score", "check"])
@pytest.mark.parametrize("trap", YAML_TRAPS)
@pytest.mark.parametrize("place", ["all of it", "the name", "the source"])
def test_a_yaml_with_a_tag_is_refused(shop: Shop, sprung: Path, trap: str, place: str, verb: str) -> None:
    text = YAML_TRAPS[trap].format(sprung=sprung)
    whole = {
        "all of it": text,
        "the name": f"name: {text}\nsource: {{uri: orders}}\noutput: out\n",
        "the source": f"name: shop\nsource: {{uri: orders, keys: {text}}}\noutput: out\n",
    }
    shop.yaml.write_text(whole[place])
    with unchanged(shop.root):
        refused(run_ae("--quiet", verb, shop.yaml))


# Models.


def version_folder(shop: Shop) -> Path:
    return shop.output / "_models/v0001"


def sign(shop: Shop) -> None:
    """Make every sha256 fit, as somebody would who may write to the whole registry."""
    folder = version_folder(shop)
    card = json.loads((folder / "model.json").read_text())
    if isinstance(card, dict) and "files" in card:
        card["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in card["files"]}
        (folder / "model.json").write_text(json.dumps(card))
    digest = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    (folder.parent / "v0001.sha256").write_text(f"{digest}  v0001/model.json\n")


def score(shop: Shop) -> Outcome:
    """A process of its own: whatever a broken network does, it must not do it to the tests."""
    process = ae_process("--quiet", "score", shop.yaml, "--partition", day(FRESH))
    out, err = process.communicate(timeout=60)
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith("INFO: ")]
    return Outcome(process.returncode, out, "".join(lines))


def test_a_signed_model_scores(shop: Shop) -> None:
    """What is refused below is not refused for its signature."""
    path = version_folder(shop) / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "created_at": "yesterday"}))
    sign(shop)
    assert score(shop).code == 0


FILES = ["weights.safetensors", "reference.safetensors", "network.tflite", "filler.tflite", "decoder.tflite"]
FILES += ["report.json"]


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", FILES)
def test_a_pickle_in_place_of_a_file_is_refused(shop: Shop, sprung: Path, name: str, protocol: int) -> None:
    (version_folder(shop) / name).write_bytes(pickle.dumps(Trap(sprung), protocol))
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)))
        refused(run_ae("--quiet", "promote", shop.yaml, "v0001"))


@pytest.mark.parametrize("name", ["reference.safetensors", "network.tflite", "filler.tflite"])
def test_a_signed_pickle_in_place_of_a_file_is_refused(shop: Shop, sprung: Path, name: str) -> None:
    (version_folder(shop) / name).write_bytes(pickle.dumps(Trap(sprung)))
    sign(shop)
    with unchanged(shop.root):
        refused(score(shop))


@pytest.mark.parametrize("name", ["weights.safetensors", "report.json"])
def test_a_signed_pickle_where_scoring_does_not_look_is_not_looked_at(shop: Shop, sprung: Path, name: str) -> None:
    (version_folder(shop) / name).write_bytes(pickle.dumps(Trap(sprung)))
    sign(shop)
    assert score(shop).code == 0
    if name == "report.json":
        refused(run_ae("--quiet", "promote", shop.yaml, "v0001"))
        listed = run_ae("--quiet", "models", shop.yaml)
        assert listed.code == 0 and "v0001/report.json: is not a training report" in listed.out


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_a_changed_model_json_cannot_become_champion(shop: Shop, verb: str) -> None:
    """Though every file fits it, and no pointer names its version."""
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    for _ in range(2):
        registry.register(files, card)
    path = shop.output / "_models/v0002/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "odd": 0.0}))
    force = ["--force"] if verb == "promote" else []
    with unchanged(shop.root):
        refused(run_ae("--quiet", verb, shop.yaml, "v0002", *force))
    assert registry.champion() == "v0001"


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["reference.safetensors", "network.tflite", "filler.tflite"])
def test_a_signed_file_that_was_cut_is_refused(shop: Shop, name: str, keep: float) -> None:
    path = version_folder(shop) / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    sign(shop)
    with unchanged(shop.root):
        refused(score(shop))


def trapped_schema(sprung: Path) -> pa.Schema:
    """A schema whose extension type is a pickle: Arrow once unpickled these (CVE-2023-47248)."""
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Trap(sprung)),
    }
    return pa.schema([pa.field("trap", pa.int64(), metadata=metadata)])


ODD_CARDS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "a list": lambda card, sprung: [card],
    "a module to import": lambda card, sprung: {**card, "module": "antigravity"},
    "a Keras config": lambda card, sprung: {
        **card,
        "config": {"module": "builtins", "class_name": "exec", "config": f"open('{sprung}', 'w')"},
    },
    "a column of a class of one's own": lambda card, sprung: {
        **card,
        "columns": [{**card["columns"][0], "kind": "os.system"}, *card["columns"][1:]],
    },
    "a column with code for a mean": lambda card, sprung: {
        **card,
        "columns": [{**column, "mean": f"open('{sprung}', 'w')"} for column in card["columns"]],
    },
    "code for a width": lambda card, sprung: {**card, "latent_dim": f"__import__('os').system('touch {sprung}')"},
    "a pickle for a schema": lambda card, sprung: {
        **card,
        "source_schema": base64.b64encode(pickle.dumps(Trap(sprung))).decode(),
    },
    "no base64 for a schema": lambda card, sprung: {**card, "source_schema": "ö"},
    "no columns": lambda card, sprung: {**card, "columns": []},
    "views that are not there": lambda card, sprung: {**card, "views": ["__class__"]},
    "a format to come": lambda card, sprung: {**card, "format": 999},
}


@pytest.mark.parametrize("case", ODD_CARDS)
def test_a_signed_model_json_that_is_odd_is_refused(shop: Shop, sprung: Path, case: str) -> None:
    path = version_folder(shop) / "model.json"
    path.write_text(json.dumps(ODD_CARDS[case](json.loads(path.read_text()), sprung)))
    sign(shop)
    with unchanged(shop.root):
        refused(score(shop))


def test_names_of_modules_in_model_json_are_not_imported(shop: Shop, tmp_path: Path) -> None:
    """Scoring needs no `kind`; whatever it says, it is not looked up."""
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    path = version_folder(shop) / "model.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "kind": "trap_module:build", "versions": {"trap_module": "1"}}))
    sign(shop)
    done = subprocess.run(
        [sys.executable, "-c", "from ae_plugin.cli import main; main()", "score", shop.yaml, "--partition", day(FRESH)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 2), done.stderr
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("protocol", [0, 5])
def test_a_pickle_for_a_checkpoint_is_no_checkpoint(tmp_path: Path, sprung: Path, protocol: int) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(pickle.dumps(Trap(sprung), protocol))
    assert Checkpoint.load(tmp_path) is None


# Batches.


def test_a_batch_with_a_pickle_for_a_type_is_only_data(shop: Shop, sprung: Path) -> None:
    path = shop.source / f"date={day(FRESH)}/part-0.parquet"
    table = pq.ParquetFile(path).read()
    field = trapped_schema(sprung).field("trap")
    table = table.append_column(field, pa.array(range(len(table)), pa.int64()))
    pq.write_table(table, path)
    schema = pq.read_metadata(path).metadata[b"ARROW:schema"]
    assert b"touch" in base64.b64decode(schema), "the trap is not in the file"
    outcome = score(shop)
    assert outcome.code == 0, outcome
    assert shop.read("denoised", FRESH)["trap"].to_pylist() == list(range(len(table)))


def test_a_model_with_a_pickle_for_a_type_is_only_data(shop: Shop, sprung: Path) -> None:
    path = version_folder(shop) / "model.json"
    card = json.loads(path.read_text())
    schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(card["source_schema"])))
    schema = schema.append(trapped_schema(sprung).field("trap"))
    card["source_schema"] = base64.b64encode(schema.serialize().to_pybytes()).decode()
    path.write_text(json.dumps(card))
    sign(shop)
    assert score(shop).code == 0


def test_cells_with_code_are_only_text(shop: Shop, sprung: Path) -> None:
    path = shop.source / f"date={day(FRESH)}/part-0.parquet"
    table = pq.ParquetFile(path).read()
    code = [f"__import__('os').system('touch {sprung}')", f"$(touch {sprung})", f"{{{{ touch }}}}; touch '{sprung}'"]
    words = [code[i % 3] if i % 20 < 3 else word for i, word in enumerate(table["product"].to_pylist())]
    table = table.set_column(table.schema.get_field_index("product"), "product", pa.array(words))
    pq.write_table(table, path)
    shop.set(score={"on_unfamiliar": "score", "alert_rate": 0.2})
    assert score(shop).code == 0
    assert set(code) <= set(shop.read("cells", FRESH)["observed"].to_pylist())


# Pictures.


@pytest.fixture
def own_boards(boards: Trained, tmp_path: Path) -> Shop:
    return boards.shop.copy(tmp_path / "boards")


def score_here(shop: Shop) -> Outcome:
    return run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))


def test_a_signed_model_of_pictures_scores(own_boards: Shop) -> None:
    path = version_folder(own_boards) / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "created_at": "yesterday"}))
    sign(own_boards)
    assert score_here(own_boards).code == 0


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.safetensors", "network.tflite", "report.json"])
def test_a_pickle_in_a_model_of_pictures_is_refused(own_boards: Shop, sprung: Path, name: str) -> None:
    """Signed too, where scoring looks at it."""
    (version_folder(own_boards) / name).write_bytes(pickle.dumps(Trap(sprung)))
    with unchanged(own_boards.root):
        refused(score_here(own_boards))
    sign(own_boards)
    outcome = score(own_boards) if name.endswith(".tflite") else score_here(own_boards)
    if name in ("reference.safetensors", "network.tflite"):
        refused(outcome)
    else:
        assert outcome.code == 0, outcome


@pytest.mark.parametrize("name", ["reference.safetensors", "network.tflite"])
def test_a_signed_file_of_pictures_that_was_cut_is_refused(own_boards: Shop, name: str) -> None:
    path = version_folder(own_boards) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sign(own_boards)
    with unchanged(own_boards.root):
        refused(score(own_boards))


ODD_PICTURE_CARDS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    **{name: odd for name, odd in ODD_CARDS.items() if "column" not in name},
    "a module for a kind": lambda card, sprung: {**card, "kind": "trap_module:build"},
    "a tile of another size": lambda card, sprung: {**card, "side": [48, 48]},
    "a tile beyond all memory": lambda card, sprung: {**card, "side": [2**30, 2**30]},
    "colours that it never saw": lambda card, sprung: {**card, "channels": 3},
    "a latent code of another length": lambda card, sprung: {**card, "latent_dim": 7},
    "a limit that is no number": lambda card, sprung: {**card, "far": f"open('{sprung}', 'w')"},
}


@pytest.mark.parametrize("case", ODD_PICTURE_CARDS)
def test_a_signed_model_json_of_pictures_that_is_odd_is_refused(own_boards: Shop, sprung: Path, case: str) -> None:
    path = version_folder(own_boards) / "model.json"
    path.write_text(json.dumps(ODD_PICTURE_CARDS[case](json.loads(path.read_text()), sprung)))
    sign(own_boards)
    with unchanged(own_boards.root):
        refused(score_here(own_boards))


@pytest.mark.parametrize("harm", ["missing", "cut", "of another dimension"])
def test_signed_arrays_of_pictures_that_do_not_fit_are_refused(own_boards: Shop, harm: str) -> None:
    path = version_folder(own_boards) / "reference.safetensors"
    whole = load_file(path)
    assert len(whole) > 10
    for name, array in whole.items():
        tampered = {other: values for other, values in whole.items() if other != name}
        if harm == "of another dimension":
            tampered[name] = array[None].copy()
        elif harm == "cut" and name != "calibration":
            tampered[name] = np.ascontiguousarray(array[..., :-1])
        save_file(tampered, path)
        sign(own_boards)
        refused(score_here(own_boards))


def test_pictures_with_code_are_only_pictures(own_boards: Shop, sprung: Path) -> None:
    """In a file's name, in its place, and in what it says of itself."""
    noted = PngInfo()
    noted.add_text("Comment", f"__import__('os').system('touch {sprung}')")
    stream = io.BytesIO()
    Image.fromarray(board(1)).save(stream, "PNG", pnginfo=noted)
    files = {
        "$(touch sprung).png": png(board(2)),
        "noted.png": stream.getvalue(),
        "pickle.png": pickle.dumps(Trap(sprung)),
        "{{ touch }}.png": png(board(3)),
    }
    put_day(own_boards.source, FRESH, files)
    assert score_here(own_boards).code == 0
    errors = dict(zip(*own_boards.read("scores", FRESH).select(["file", "error"]).to_pydict().values(), strict=True))
    assert list(errors) == sorted(files)
    assert errors == dict.fromkeys(files, None) | {"pickle.png": "is no picture that can be read"}


# What the code says, and what it does.

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "subprocess", "pty"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "np.load",
    "numpy.load",
    "pd.read_pickle",
    "pd.eval",
    "keras.models.load_model",
    "keras.saving.load_model",
    "keras.config.enable_unsafe_deserialization",
}
IMPORTING = {"importlib.import_module", "import_module", "entry_points"}
MAY_IMPORT = {"__init__.py", "models/catalog.py"}


def unsafe(source: str, name: str) -> list[str]:
    """What a module does that could execute data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS or (called in IMPORTING and name not in MAY_IMPORT):
                found.append(called)
            found += [f"{called}({kw.arg}=True)" for kw in node.keywords if kw.arg in ("allow_pickle", "shell")]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_execute_data(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8"), str(path.relative_to(PACKAGE))) == []


@pytest.mark.parametrize(
    "source", ["import pickle", "from joblib import load", "yaml.load(x)", "eval('1')", "np.load(x, allow_pickle=True)"]
)
def test_what_could_execute_data_is_found(source: str) -> None:
    assert unsafe(source, "core/columns.py")


AUDITED = """
import sys
seen = set()
watched = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
           "socket.connect", "socket.getaddrinfo", "urllib.Request"}
import ae_plugin, ae_plugin.jobs.score
import ai_edge_litert.interpreter, pandas, pyarrow.dataset, pyarrow.csv, safetensors.numpy
sys.addaudithook(lambda event, args: seen.add(event) if event in watched else None)
from ae_plugin import config
from ae_plugin.jobs.score import score
score(config.load(sys.argv[1]), sys.argv[2])
assert not seen, seen
import pickle
pickle.loads(pickle.dumps(print))
assert seen == {"pickle.find_class"}, seen
"""


@pytest.mark.parametrize("source", ["orders", "boards"])
def test_scoring_unpickles_starts_and_calls_nothing(shop: Shop, own_boards: Shop, source: str) -> None:
    """As the interpreter itself saw it."""
    chosen = shop if source == "orders" else own_boards
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, chosen.yaml, day(FRESH)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
