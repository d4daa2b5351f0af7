"""The pipeline YAML: each key with its default, what it may be and what it may not; and where its paths start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin import config
from ae_plugin.config import OUTPUT_COLUMNS, Pipeline
from ae_plugin.errors import ConfigError
from tests.running import ROOT

QUICK = settings(max_examples=80, deadline=None, derandomize=True)
LEAST: dict[str, Any] = {"name": "shop", "source": {"uri": "orders"}, "output": "out"}

DEFAULTS = {
    "source.format": "parquet",
    "source.partition_by": [],
    "source.keys": [],
    "source.exclude": [],
    "model.kind": "auto",
    "model.image_size": "auto",
    "model.latent_dim": None,
    "model.seed": 0,
    "train.schedule": None,
    "train.partitions": None,
    "train.until": None,
    "train.contamination": "auto",
    "train.steps": "auto",
    "train.max_rows": 200_000,
    "train.queue": None,
    "train.pool": None,
    "train.on_drift": None,
    "train.on_feedback": None,
    "score.queue": None,
    "score.pool": None,
    "score.schedule": "asset",
    "score.partition_key": None,
    "score.partition_offset": 0,
    "score.method": "combined",
    "score.alert_rate": 0.01,
    "score.alert_rate_of": "rows",
    "score.on_unfamiliar": "quarantine",
    "score.cells": "flagged",
    "score.denoise": "repair",
    "score.at_once": 4,
    "score.shard_rows": 4_000_000,
    "promote": "auto",
    "alerts": [],
}

GOOD: dict[str, list[Any]] = {
    "name": ["a", "a1", "a-b_c", "a" * 63],
    "source.uri": [
        "orders",
        "orders/*.parquet",
        "s3://lake/orders",
        "s3://my_conn@lake/orders",
        "/abs/orders",
        "a..b/c",
    ],
    "source.format": ["parquet", "csv", "images"],
    "source.partition_by": ["date", ["year", "month"], []],
    "source.keys": ["order_id", ["a", "b"]],
    "source.exclude": ["label", ["a", "b"]],
    "model.kind": ["auto", "dense", "variational"],
    "model.image_size": ["auto"],
    "model.latent_dim": ["auto", 1, 16, 1_024, None],
    "model.seed": [0, 7, 2**31 - 1],
    "train.schedule": ["0 3 * * 1", "@daily", "@hourly", "*/5 * * * *", None],
    "train.partitions": [1, 28, None],
    "train.until": ["2013-01-28", None],
    "train.contamination": ["auto", 0, 0.0, 0.1, 0.499],
    "train.steps": ["auto", 1, 1_000_000],
    "train.max_rows": [200, 10**9],
    "train.queue": ["large", None],
    "train.pool": ["few", None],
    "train.on_drift": [None],
    "train.on_feedback": [1, 100, None],
    "score.queue": ["small", None],
    "score.pool": ["many", None],
    "score.schedule": ["asset", "0 3 * * 1", "@weekly", None],
    "score.partition_key": [None],
    "score.partition_offset": [0],
    "score.method": ["combined", "reconstruction"],
    "score.alert_rate": [1e-6, 0.01, 0.5, 0.999],
    "score.alert_rate_of": ["rows", "alarms"],
    "score.on_unfamiliar": ["score", "quarantine", "fail"],
    "score.cells": ["flagged", "all"],
    "score.denoise": ["repair", "full"],
    "score.at_once": [1, 500],
    "score.shard_rows": [1_000, 10**12],
    "promote": ["auto", "approval", "never"],
    "alerts": [
        [],
        [{"when": ["unfamiliar"], "notifier": "a.B"}],
        [{"when": ["late", "unfamiliar"], "after": "90m", "notifier": "a.B"}],
        [{"when": ["anomalies_above", "not_promoted"], "above": 0.1, "notifier": "a.b.C", "args": {"to": "x"}}],
    ],
    "output": ["out", "s3://lake/out", "s3://my_conn@lake/out", "/abs/out"],
}

BAD: dict[str, list[Any]] = {
    "name": ["", "A", "1a", "-a", "a b", "a.b", "é", "a" * 64, "a\n", "a/b", 7, None, ["a"]],
    "source": ["orders", None, [], {}],
    "source.uri": ["", "  ", "../orders", "a/../b", "a\\..\\b", "s3://x/../y", "s3://@x/y", "s3://k:s@x/y", None, 3],
    "source.format": ["pictures", "PARQUET", "", None, 1],
    "source.partition_by": [3, {"a": 1}, [1], None],
    "source.keys": [3, [None], None, "row", ["order_id", "p_value"]],
    "source.exclude": [3, [["a"]], None],
    "model": ["dense", 1],
    "model.kind": ["conv", "transformer", "", None],
    "model.image_size": [64, 0, 15, 4_097, 1.5, "large", None],
    "model.latent_dim": [0, -1, 1_025, 1.5, "knee"],
    "model.seed": [-1, 2**31, 1.5, "x", None],
    "train.schedule": ["daily", "0 3 * *", "0 3 * * 1 2013", "61 * * * *", "@yesterday", "asset", "", 5],
    "train.partitions": [0, -1, 1.5, "all"],
    "train.contamination": [-0.1, 0.5, 1, "some", None, float("nan"), float("inf")],
    "train.steps": [0, -5, 1_000_001, 1.5, "many", None],
    "train.max_rows": [199, 0, -1, "many", None],
    "train.queue": ["", 3, ["a"]],
    "train.pool": ["", 3, ["a"]],
    "train.on_drift": [0, -1, 1.5, "some"],
    "train.on_feedback": [0, -1, 1.5, "some"],
    "score.partition_key": ["day", "%H:%M", "", 3],
    "score.partition_offset": [-1001, 1001, 0.5, "x", None],
    "score.queue": ["", 3, ["a"]],
    "score.pool": ["", 3, ["a"]],
    "score.schedule": ["daily", "0 3 * *", "", 5],
    "score.method": ["pca", "", None],
    "score.alert_rate": [0, 1, -0.01, 1.01, float("nan"), float("inf"), "low", None],
    "score.alert_rate_of": ["cells", "", None, True],
    "score.on_unfamiliar": ["refuse", "", None, True],
    "score.cells": ["some", "", None, True],
    "score.denoise": ["both", "", None, True],
    "score.at_once": [0, -1, 1.5, "all", None],
    "score.shard_rows": [999, 0, 2_000.5, "many", None],
    "promote": ["always", "", None, True],
    "alerts": [
        "unfamiliar",
        [{"when": ["unfamiliar"]}],
        [{"when": [], "notifier": "a.B"}],
        [{"when": ["late"], "notifier": "a.B"}],
        [{"when": ["late"], "after": "2 hours", "notifier": "a.B"}],
        [{"when": ["late"], "after": "0h", "notifier": "a.B"}],
        [{"when": ["late"], "after": 2, "notifier": "a.B"}],
        [{"when": ["unfamiliar"], "after": "2h", "notifier": "a.B"}],
        [{"when": ["unfamiliar"], "notifier": "B"}],
        [{"when": ["unfamiliar"], "notifier": "a.B; import os"}],
        [{"when": ["anomalies_above"], "notifier": "a.B"}],
        [{"when": ["anomalies_above"], "above": 1.5, "notifier": "a.B"}],
        [{"when": ["unfamiliar"], "above": 0.1, "notifier": "a.B"}],
        [{"when": ["unfamiliar"], "notifier": "a.B", "to": "x"}],
    ],
    "output": ["", "  ", "../out", "orders", "orders/", "orders/out", "./orders", ".", None, 3],
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """The least pipeline with one key set."""
    whole: dict[str, Any] = {name: dict(v) if isinstance(v, dict) else v for name, v in LEAST.items()}
    *sections, last = key.split(".")
    place = whole
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value
    return whole


def value_of(pipeline: Pipeline, key: str) -> Any:
    found: Any = pipeline
    for part in key.split("."):
        found = getattr(found, part)
    return found


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def leaves(model: Any, prefix: str = "") -> list[str]:
    """Every key there is, dotted."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        found += leaves(inner, f"{prefix}{name}.") if hasattr(inner, "model_fields") else [f"{prefix}{name}"]
    return found


def test_the_tables_above_have_every_key() -> None:
    required = {"name", "source.uri", "output"}
    assert set(leaves(Pipeline)) == set(DEFAULTS) | required == set(GOOD)
    assert set(GOOD) - {"train.until"} <= set(BAD)


# Each key.


@pytest.mark.parametrize("key", DEFAULTS)
def test_defaults(key: str) -> None:
    assert value_of(Pipeline.model_validate(LEAST), key) == DEFAULTS[key]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in GOOD.items() for value in values])
def test_values_that_are_allowed(key: str, value: Any) -> None:
    found = value_of(Pipeline.model_validate(changed(key, value)), key)
    if key == "alerts":
        found = [alert.model_dump(exclude_unset=True) for alert in found]
    listed = key in ("source.partition_by", "source.keys", "source.exclude") and isinstance(value, str)
    assert found == ([value] if listed else value)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_values_that_are_not_allowed_name_the_key(tmp_path: Path, key: str, value: Any) -> None:
    """Or, for output and names of outputs' columns, say what is in the way."""
    path = write(tmp_path / "shop.yaml", changed(key, value))
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    text = str(caught.value)
    assert str(path) in text and "docs/configuration.md" in text
    assert key in text
    assert "\n" not in text


DAYS = {"source": {"uri": "orders", "partition_by": "date"}}


@pytest.mark.parametrize(
    "sections",
    [
        {**DAYS, "score": {"schedule": "partition"}},
        {**DAYS, "score": {"schedule": "0 5 * * *", "partition_key": "%Y-%m-%d"}},
        {**DAYS, "score": {"schedule": "0 5 * * *", "partition_key": "date=%Y-%m-%d", "partition_offset": -1}},
        {**DAYS, "train": {"on_drift": 3, "on_feedback": 20, "partitions": 28}},
    ],
)
def test_keys_that_go_together(sections: dict[str, Any]) -> None:
    found = Pipeline.model_validate({**LEAST, **sections})
    assert found.score.keyed == ("score" in sections)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"score": {"schedule": "partition"}}, "score.schedule: partition wants source.partition_by"),
        ({"score": {"schedule": "0 5 * * *", "partition_key": "%Y"}}, "wants source.partition_by"),
        ({"train": {"on_drift": 1}}, "train.on_drift wants source.partition_by"),
        ({**DAYS, "score": {"schedule": "@daily", "partition_key": "%Y/%m"}}, "'%Y/%m' names no partition of date"),
        ({**DAYS, "train": {"on_drift": 1, "until": "2013"}}, "train.on_drift and train.until exclude each other"),
        ({**DAYS, "score": {"partition_key": "%Y"}}, "score: partition_key goes with a cron expression"),
        ({**DAYS, "score": {"schedule": "partition", "partition_key": "%Y"}}, "partition_key goes with a cron"),
        ({**DAYS, "score": {"schedule": "0 5 * * *", "partition_offset": -1}}, "goes with partition_key"),
    ],
)
def test_keys_that_do_not_go_together(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.load(write(tmp_path / "shop.yaml", {**LEAST, **sections}))


@pytest.mark.parametrize("key", ["name", "source", "source.uri", "output"])
def test_keys_that_are_required(tmp_path: Path, key: str) -> None:
    whole = changed(key, "x") if "." in key else {**LEAST}
    place = whole["source"] if "." in key else whole
    del place[key.rpartition(".")[2]]
    with pytest.raises(ConfigError, match=f"{key}: is missing"):
        config.load(write(tmp_path / "shop.yaml", whole))


@pytest.mark.parametrize(
    "key", ["nmae", "source.url", "model.kinds", "train.epochs", "score.threshold", "outputs", "Source"]
)
def test_unknown_keys_are_errors(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: unknown key"):
        config.load(write(tmp_path / "shop.yaml", changed(key, "x")))


@pytest.mark.parametrize(("key", "wanted"), [("contamination", "number"), ("steps", "integer")])
def test_auto_or_a_number_is_one_complaint(tmp_path: Path, key: str, wanted: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nsource: {{uri: here}}\noutput: there\ntrain: {{{key}: dirty}}\n")
    with pytest.raises(ConfigError) as raised:
        config.load(path)
    assert f"train.{key}: must be auto, or a valid {wanted}," in str(raised.value)
    assert ";" not in str(raised.value) and "literal" not in str(raised.value)


@pytest.mark.parametrize("value", ["auto", 16, 4_096])
def test_pictures_may_be_scaled(tmp_path: Path, value: str | int) -> None:
    whole = changed("model.image_size", value)
    whole["source"]["format"] = "images"
    loaded = config.load(write(tmp_path / "boards.yaml", whole)).model
    assert loaded.image_size == value and loaded.longest == (None if value == "auto" else value)


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("images", 15, "model.image_size: must be auto, or a number of pixels from 16 to 4096"),
        ("images", "large", "model.image_size: must be auto, or a valid integer, unable to parse string as an integer"),
        ("parquet", 64, "model.image_size: 64 is for pictures; leave it out"),
    ],
)
def test_a_wrong_size_of_pictures_is_one_clear_line(tmp_path: Path, form: str, value: object, said: str) -> None:
    whole = changed("model.image_size", value)
    whole["source"]["format"] = form
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path / "boards.yaml", whole))
    assert said in str(caught.value) and "literal" not in str(caught.value)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    whole = {**changed("score.alert_rate", 2), "promote": "always", "colour": "red"}
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path / "shop.yaml", whole))
    for key in ("score.alert_rate", "promote", "colour"):
        assert key in str(caught.value)


def test_dates_need_no_quotes(tmp_path: Path) -> None:
    text = "name: shop\nsource: {uri: orders, partition_by: date}\noutput: out\ntrain: {until: 2013-01-28}\n"
    assert config.load(write(tmp_path / "shop.yaml", text)).train.until == "2013-01-28"
    assert config.load(write(tmp_path / "year.yaml", text.replace("2013-01-28", "2013"))).train.until == "2013"


def test_a_pipeline_cannot_be_changed() -> None:
    pipeline = Pipeline.model_validate(LEAST)
    with pytest.raises(ValueError):
        pipeline.score.alert_rate = 0.5  # type: ignore[misc]


@QUICK
@given(column=st.sampled_from(sorted(OUTPUT_COLUMNS)))
def test_keys_must_not_be_columns_of_the_outputs(column: str) -> None:
    with pytest.raises(ValueError, match=column):
        Pipeline.model_validate(changed("source.keys", ["order_id", column]))


@pytest.mark.parametrize("source", ["orders", "orders/", "a/b", "s3://lake/orders"])
def test_the_output_lies_outside_the_source(source: str) -> None:
    for output in (source.rstrip("/"), source.rstrip("/") + "/", source.rstrip("/") + "/out"):
        with pytest.raises(ValueError, match="must lie apart"):
            Pipeline.model_validate({**LEAST, "source": {"uri": source}, "output": output})
    for output in (source.rstrip("/") + "_out", "elsewhere"):
        Pipeline.model_validate({**LEAST, "source": {"uri": source}, "output": output})


@QUICK
@given(
    junk=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ),
    key=st.sampled_from(sorted(BAD)),
)
def test_junk_is_refused_in_one_line_or_taken(tmp_path_factory: pytest.TempPathFactory, junk: Any, key: str) -> None:
    path = write(tmp_path_factory.mktemp("junk") / "shop.yaml", changed(key, junk))
    try:
        assert isinstance(config.load(path), Pipeline)
    except ConfigError as error:
        assert "\n" not in str(error) and str(path) in str(error)


# Files, names, and where paths start.


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "just text", "42", "a: [", "a: b: c", "\t", "!!python/object/apply:os.getcwd []", "null"]
)
def test_a_file_that_is_no_pipeline(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "shop.yaml", text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not readable"):
        config.load(tmp_path / "shop.yaml")


def test_yaml_never_runs_what_it_holds(tmp_path: Path) -> None:
    """Law 7, for configs."""
    mark = tmp_path / "ran"
    text = f'name: !!python/object/apply:os.system ["touch {mark}"]\nsource: {{uri: a}}\noutput: b\n'
    with pytest.raises(ConfigError):
        config.load(write(tmp_path / "shop.yaml", text))
    assert not mark.exists()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one pipeline, and the working folder in it."""
    monkeypatch.delenv("AE_ROOT", raising=False)
    write(tmp_path / "dags/pipelines/shop.yaml", LEAST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_one_in_dags_pipelines(project: Path) -> None:
    wanted = config.load(project / "dags/pipelines/shop.yaml")
    assert config.load("shop") == config.load("dags/pipelines/shop.yaml") == wanted
    assert config.find("shop").resolve() == project / "dags/pipelines/shop.yaml"
    (project / "dags/pipelines/shop.yaml").rename(project / "dags/pipelines/shop.yml")
    assert config.load("shop") == wanted


def test_a_path_goes_before_a_name(project: Path) -> None:
    write(project / "shop", {**LEAST, "output": "other"})
    assert config.load("shop").output == str(project / "other")


@pytest.mark.parametrize("name", ["shops", "shop.yaml", "dags", "", "dags/pipelines", "../shop", "pipelines/shop"])
def test_a_name_that_is_none(project: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no such pipeline") as caught:
        config.load(name)
    assert "dags/pipelines" in str(caught.value)


def test_paths_start_above_dags(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = config.load(project / "dags/pipelines/shop.yaml")
    assert (found.source.uri, found.output) == (str(project / "orders"), str(project / "out"))


def test_paths_start_at_the_yaml_s_own_folder_elsewhere(project: Path) -> None:
    found = config.load(write(project / "conf/deep/shop.yaml", LEAST))
    assert (found.source.uri, found.output) == (str(project / "conf/deep/orders"), str(project / "conf/deep/out"))


def test_ae_root_goes_before_both(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For paths in a YAML, and for the names of pipelines."""
    root = tmp_path / "root"
    write(root / "dags/pipelines/other.yaml", {**LEAST, "name": "other"})
    monkeypatch.setenv("AE_ROOT", str(root))
    assert config.load(project / "dags/pipelines/shop.yaml").output == str(root / "out")
    assert config.load("other").source.uri == str(root / "orders")
    with pytest.raises(ConfigError, match="no such pipeline"):
        config.load("shop")
    monkeypatch.setenv("AE_ROOT", "root")
    assert config.load("other").source.uri == str(root / "orders"), "a relative one starts here"


@pytest.mark.parametrize("uri", ["s3://lake/orders", "/abs/orders", "memory://orders", "file:///abs/orders"])
def test_absolute_paths_and_uris_stay(project: Path, uri: str) -> None:
    path = write(project / "dags/pipelines/shop.yaml", {**LEAST, "source": {"uri": uri}, "output": f"{uri}_out"})
    found = config.load(path)
    assert (found.source.uri, found.output) == (uri, f"{uri}_out")


def test_the_shipped_examples_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AE_ROOT", raising=False)
    paths = sorted((ROOT / "dags/pipelines").glob("*.yaml"))
    assert paths
    for path in paths:
        pipeline = config.load(path)
        assert pipeline.name == path.stem
        landed = pipeline.name == "airflow_health"  # by a DAG
        assert landed or Path(pipeline.source.uri).exists()


APART = [
    ("orders", "out"),
    ("orders", "orders_out"),
    ("./orders/", "out/orders"),
    ("data/orders/*.parquet", "data/out"),
    ("out_a/denoised", "out_b"),
    ("/abs/orders", "orders/out"),
    ("s3://lake/orders", "s3://lake/out"),
    ("s3://lake/orders", "lake/orders/out"),
]
OVERLAP = [
    ("orders", "./orders"),
    ("./orders", "orders/out"),
    ("orders//", "orders/./out"),
    ("orders/*.parquet", "orders/out"),
    ("data/orders-*.parquet", "data/out"),
    ("orders/*/*.parquet", "orders/out"),
    ("orders/**", "orders/deep/out"),
    ("orders/date=*/part-0.parquet", "orders"),
    ("**/*.parquet", "out"),
    ("out/scores", "out"),
    ("out/in.parquet", "./out"),
    (".", "out"),
    ("ROOT/orders", "orders/out"),
    ("orders", "ROOT/orders/out"),
    ("file://ROOT/orders", "orders/out"),
    ("link", "orders/out"),
    ("s3://lake/orders", "s3://lake//orders/out"),
    ("s3://lake", "s3://lake/out"),
]


@pytest.mark.parametrize(("source", "output"), APART)
def test_source_and_output_that_lie_apart(project: Path, source: str, output: str) -> None:
    path = project / "dags/pipelines/shop.yaml"
    assert config.load(write(path, {"name": "shop", "source": {"uri": source}, "output": output}))


@pytest.mark.parametrize(("source", "output"), OVERLAP)
def test_source_and_output_that_overlap_once_they_are_resolved(project: Path, source: str, output: str) -> None:
    """However they are written, whichever lies in the other."""
    (project / "orders").mkdir()
    (project / "link").symlink_to(project / "orders")
    source, output = (text.replace("ROOT", str(project)) for text in (source, output))
    path = write(project / "dags/pipelines/shop.yaml", {"name": "shop", "source": {"uri": source}, "output": output})
    with pytest.raises(ConfigError, match="output .* must lie apart"):
        config.load(path)


def test_a_yaml_that_is_nested_without_end_is_refused_in_one_line(tmp_path: Path) -> None:
    """libyaml would overflow the stack, and take the DAG processor with it."""
    path = write(tmp_path / "deep.yaml", "name: " + "[" * 200_000)
    with pytest.raises(ConfigError, match=r"deep\.yaml: not readable as YAML \(nested more than 50 levels deep\)"):
        config.load(path)


@pytest.mark.parametrize("value", ["!!bool maybe", "!!int ''", "!!timestamp x", "!!float abc"])
def test_a_tag_that_does_not_fit_is_one_line(tmp_path: Path, value: str) -> None:
    """PyYAML raises what it likes there, and one YAML's trouble is not to take all DAGs away."""
    with pytest.raises(ConfigError, match=r"tag\.yaml: not readable as YAML"):
        config.load(write(tmp_path / "tag.yaml", f"name: {value}"))
