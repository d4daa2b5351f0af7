"""The documentation is complete and true where a program can tell: keys, verbs, columns, fields, links, words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pytest
import typer.main
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ae_plugin import config, latent_schemas, schemas
from ae_plugin.cli import app
from ae_plugin.errors import AeError, NoChampionError, UnfamiliarError, UserError
from ae_plugin.versions import ModelCard
from tests.running import ROOT

DOCS = ROOT / "docs"
CONFIGURATION, CLI, OUTPUTS = (DOCS / f"{name}.md" for name in ("configuration", "cli", "outputs"))
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "sample_data").rglob("*.md")])
OURS = sorted([*DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
TYPES = {
    "float": "float32",
    "double": "float64",
    "fixed_size_list<item: float>[2]": "fixed_size_list<float32>[latent_dim]",
    "list<item: string>": "list<string>",
}


def table_rows(text: str) -> list[list[str]]:
    """Cells of every Markdown table row, rulers left out."""
    found = []
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def rows_by_name(text: str) -> dict[str, list[str]]:
    """Table rows by each name that their first cell holds in backticks."""
    return {name: row for row in table_rows(text) for name in re.findall(r"`([^`]+)`", row[0])}


def sections(text: str, level: str = "## ") -> dict[str, str]:
    """Text of each section by its heading."""
    parts = re.split(rf"(?m)^{level}(.+)$", without_code(text, inline=False))
    return {title.strip(): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def without_code(text: str, *, inline: bool = True) -> str:
    """The page without code blocks (and, if asked for, without inline code)."""
    plain = re.sub(r"(?ms)^```.*?^```$", "", text)
    return re.sub(r"`[^`\n]*`", "", plain) if inline else plain


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"))


# --- configuration.md ---------------------------------------------------------------------------------------------


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a model, dotted, with the sections themselves."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, f"{prefix}{name}.")


KEYS = dict(keys_of(config.Pipeline))
KEY_SECTIONS = ("The pipeline", *sorted({key.split(".")[0] for key in KEYS if "." in key}))


def key_rows() -> dict[str, list[str]]:
    """Rows of the tables that document keys, by key."""
    parts = sections(CONFIGURATION.read_text(encoding="utf-8"))
    return {name: row for title in KEY_SECTIONS for name, row in rows_by_name(parts[title]).items()}


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "all defaults"
    return "`null`" if value is None else f"`{value}`"


def choices(annotation: Any) -> list[Any]:
    """Values of every Literal in a type."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in choices(part)]


def test_the_walk_finds_the_keys() -> None:
    assert {"name", "source", "source.uri", "model.seed", "train.max_rows", "score.alert_rate", "output"} <= KEYS.keys()
    assert len(KEYS) >= 20


@pytest.mark.parametrize("key", KEYS)
def test_each_key_has_a_row_with_its_default(key: str) -> None:
    row = key_rows().get(key)
    assert row is not None, f"{key} has no row in {CONFIGURATION.name}"
    assert len(row) == 6, row
    assert row[2] == shown_default(KEYS[key])
    assert row[4], "what it does is not said"


@pytest.mark.parametrize("key", KEYS)
def test_each_key_s_choices_and_bounds_are_named(key: str) -> None:
    allowed = key_rows()[key][3]
    for choice in choices(KEYS[key].annotation):
        assert f"`{choice}`" in allowed
    for limit in KEYS[key].metadata:
        for sort in ("ge", "gt", "le", "lt"):
            if (bound := getattr(limit, sort, None)) is not None:
                assert re.search(rf"(?<!\w){re.escape(str(bound))}\b", allowed), f"{sort} {bound} is not in {allowed!r}"


def test_no_row_names_a_key_that_is_not_there() -> None:
    assert key_rows().keys() == KEYS.keys()


def test_the_annotated_example_is_valid_and_has_every_key() -> None:
    raw = yaml.safe_load(blocks(CONFIGURATION, "yaml")[0])
    config.Pipeline.model_validate(raw)
    given = set(raw) | {f"{name}.{key}" for name, part in raw.items() if isinstance(part, dict) for key in part}
    assert given == KEYS.keys()


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_pipeline_that_is_shown_is_valid(path: Path) -> None:
    for block in blocks(path, "yaml"):
        raw = yaml.safe_load(block)
        if isinstance(raw, dict) and {"name", "source"} <= raw.keys():
            config.Pipeline.model_validate(raw)


def test_environment_variables_are_named() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ae_plugin").rglob("*.py"))
    read = set(re.findall(r"""environ(?:\.get\(|\[)\s*["'](\w+)""", code))
    assert "AE_ROOT" in read
    assert read <= rows_by_name(CONFIGURATION.read_text(encoding="utf-8")).keys()


# --- cli.md -------------------------------------------------------------------------------------------------------

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options_of(command: Any) -> list[str]:
    return [opt for param in command.params for opt in param.opts if opt.startswith("-")]


def test_the_walk_finds_the_verbs() -> None:
    assert {"init", "check", "train", "score", "evaluate", "models", "promote", "rollback"} <= COMMANDS.keys()
    assert {"--partition", "--input", "--output", "--json"} <= set(options_of(COMMANDS["score"]))


@pytest.mark.parametrize("verb", COMMANDS)
def test_each_verb_has_a_section_with_its_options(verb: str) -> None:
    body = sections(CLI.read_text(encoding="utf-8")).get(f"ae {verb}")
    assert body is not None, f"ae {verb} has no section in {CLI.name}"
    named = {name.split()[0] for name in rows_by_name(body) if name.startswith("-")}
    assert named == set(options_of(COMMANDS[verb]))


def test_no_section_is_about_a_verb_that_is_not_there() -> None:
    named = {
        title.removeprefix("ae ") for title in sections(CLI.read_text(encoding="utf-8")) if title.startswith("ae ")
    }
    assert named == COMMANDS.keys()


def test_options_of_ae_itself_are_named() -> None:
    head = CLI.read_text(encoding="utf-8").split("\n## ")[0]
    for option in options_of(typer.main.get_command(app)):
        assert option in rows_by_name(head)


@pytest.mark.parametrize("path", [CLI, OUTPUTS], ids=lambda path: path.name)
def test_exit_codes_are_named(path: Path) -> None:
    codes = {row[0] for row in table_rows(path.read_text(encoding="utf-8"))}
    assert {"0", *(str(kind.exit_code) for kind in (AeError, UserError, UnfamiliarError, NoChampionError))} <= codes


# --- outputs.md ---------------------------------------------------------------------------------------------------

DATASETS = {
    "scores": schemas.scores_schema([]),
    "cells": schemas.cells_schema([]),
    "feedback": schemas.feedback_schema([]),
    "embeddings": latent_schemas.embeddings_schema([], 2),
    "completions": latent_schemas.completions_schema([]),
    "generated": pa.schema([pa.field("synthetic", pa.bool_(), nullable=False)]),
    "traversal": latent_schemas.frames_schema(pa.schema([])),
    "classes": latent_schemas.classes_schema([]),
}
COLUMNS = [(name, field) for name, schema in DATASETS.items() for field in schema]


@pytest.mark.parametrize(("dataset", "field"), COLUMNS, ids=[f"{name}.{field.name}" for name, field in COLUMNS])
def test_each_column_has_a_row_with_its_type(dataset: str, field: pa.Field) -> None:
    rows = rows_by_name(sections(OUTPUTS.read_text(encoding="utf-8"))[f"{dataset}/"])
    assert field.name in rows, f"{dataset}/{field.name} has no row in {OUTPUTS.name}"
    assert rows[field.name][1] == TYPES.get(str(field.type), str(field.type))
    assert (rows[field.name][2] == "never null") == (not field.nullable)


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_row_names_a_column_that_is_not_there(dataset: str) -> None:
    rows = table_rows(sections(OUTPUTS.read_text(encoding="utf-8"))[f"{dataset}/"])[1:]
    assert [row[0].strip("`") for row in rows] == DATASETS[dataset].names


def test_each_field_of_a_decision_has_a_row() -> None:
    body = sections(OUTPUTS.read_text(encoding="utf-8"))["decisions/"]
    assert rows_by_name(body).keys() == set(schemas.DecisionRecord.model_fields)
    for value in get_args(schemas.Decision):
        assert f"`{value}`" in body


def test_each_field_of_the_run_record_has_a_row() -> None:
    body = sections(OUTPUTS.read_text(encoding="utf-8"))["The run record"]
    wanted = {*schemas.RunRecord.model_fields, *(f"guard.{name}" for name in schemas.GuardVerdict.model_fields)}
    assert rows_by_name(body).keys() == wanted
    for name in schemas.ColumnReason.model_fields:
        assert f"`{name}`" in body
    for value in (*choices(schemas.RunRecord.model_fields["outcome"].annotation), *get_args(schemas.Verdict)):
        assert f"`{value}`" in body


@pytest.mark.parametrize(
    "model",
    [ModelCard, schemas.TrainReport, schemas.Gate, schemas.GateResult, schemas.ColumnNote, schemas.FeedbackUse],
)
def test_each_field_of_a_model_s_files_is_named(model: type[BaseModel]) -> None:
    body = sections(OUTPUTS.read_text(encoding="utf-8"))["Model versions"]
    missing = [name for name in model.model_fields if f"`{name}`" not in body]
    assert not missing


# --- all pages ----------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, made as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"(?m)^#+ (.+)$", without_code(path.read_text(encoding="utf-8"), inline=False)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def links(path: Path) -> list[str]:
    text = without_code(path.read_text(encoding="utf-8"), inline=False)
    return re.findall(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{link}: no such file"
        assert there.is_relative_to(ROOT), f"{link}: outside the repository"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_guide() -> None:
    start = DOCS / "guide/index.md"
    seen, todo = set(), [start]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [
            (page.parent / link.split("#")[0]).resolve() for link in links(page) if not re.match(r"[a-z]+:|#", link)
        ]
        todo += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert set(DOCS.rglob("*.md")) <= seen


AVOIDED = (
    r"outliers?|predict(?:s|ed|ions?)?|confidence|clean data|decision_function|staging|in production"
    r"|utils|helpers?|manager|(?<!record )(?<!mini-)batch(?:es)?"
)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_use_the_project_s_words(path: Path) -> None:
    prose = without_code(path.read_text(encoding="utf-8"))
    assert not re.findall(rf"(?i)\b(?:{AVOIDED})\b", prose)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
