"""The report: what it says is what is stored, whatever the names, in one safe page of the same bytes each time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.core.bands import Lane
from ae_plugin.core.calibration import rows_needed
from ae_plugin.errors import StoreError, UnfamiliarError
from ae_plugin.jobs.due import runs
from ae_plugin.jobs.report import charts, report, stored, words
from ae_plugin.jobs.report import page as page_module
from ae_plugin.jobs.report.rows import ExplainedRow, Explainer
from ae_plugin.jobs.score import score
from ae_plugin.schemas import RunRecord, cells_schema
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import LATEST, slug_of
from ae_plugin.versions import REPORT, read_report
from tests.conftest import Trained
from tests.running import ROOT, run_ae, unchanged
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, spoil, train_and_promote, write_day

VOID = {"meta", "br", "hr", "img", "link", "input", "base", "source"}
ALLOWED = set(
    "html head meta title style body header main nav section h1 h2 h3 p a ul li dl dt dd div span i b br code "
    "figure figcaption table caption thead tbody tr th td details summary svg g defs path rect text "
    "use clippath article circle".split()
)
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror="alert(1)">'
SVG = "</svg></style><svg onload=alert(1)>"
TEMPLATE = "{{ 7 * 7 }}{% raw %}'"


@dataclass
class Table:
    """One table of the page: its caption and its rows, each with its text."""

    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """Reads a page strictly: every element closed, every id there once."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[Table] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.stack, self.stack
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), Counter(ids).most_common(2)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("th", "td"):
            self.tables[-1].rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self.text += data
        if "caption" in self.stack:
            self.tables[-1].caption += data
        elif "th" in self.stack or "td" in self.stack:
            self.tables[-1].rows[-1][-1] += data

    def table(self, caption: str) -> list[dict[str, str]]:
        """Rows of the one table with these words in its caption, by column."""
        (found,) = [table for table in self.tables if caption in table.caption]
        names, *rows = [[" ".join(cell.split()) for cell in row] for row in found.rows]
        return [dict(zip(names, row, strict=True)) for row in rows]

    @property
    def charts(self) -> list[dict[str, str]]:
        """The charts of the page; lanes, the small pictures of cells, are none."""
        return [svg for svg in self.named("svg") if "lane" not in svg.get("class", "")]

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(pipeline: Any, path: Path | None = None) -> Page:
    return Page(Path(report(pipeline, path)).read_text(encoding="utf-8"))


def spoilt(shop: Shop, **settings: Any) -> Shop:
    """A copy of a pipeline with faults in the first of its two fresh days."""
    write_day(shop.source, FRESH, spoil(make_orders(300, day(FRESH), seed=4, first_id=7_000), seed=4))
    return shop.set(**settings) if settings else shop


@pytest.fixture(scope="module")
def scored(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two days scored, the first of them with faults; tests must not change it."""
    shop = spoilt(trained.shop.copy(tmp_path_factory.mktemp("report") / "shop"))
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    return shop


@pytest.fixture(scope="module")
def page(scored: Shop, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(scored.pipeline, tmp_path_factory.mktemp("page") / "page.html")


def all_cells(shop: Shop, *numbers: int) -> list[dict[str, Any]]:
    return [{**cell, "day": n} for n in numbers for cell in shop.read("cells", n).to_pylist()]


def cell_partitions(page: Page) -> set[str]:
    """Partitions whose cells are among the most surprising ones."""
    tables = [table for table in page.tables if "most surprising cells" in table.caption]
    return {row[-1] for table in tables for row in table.rows[1:]}


def write_run(shop: Shop, record: RunRecord) -> None:
    path = shop.output / LATEST / f"{slug_of(record.partition)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record.model_dump_json())


def test_partitions_are_those_of_the_runs(scored: Shop, page: Page) -> None:
    rows = page.table("All partitions")
    records = runs(scored.pipeline)
    assert [row["Partition"] for row in rows] == [f"date={day(FRESH + 1)}", f"date={day(FRESH)}"]
    for row, record in zip(rows, reversed(records), strict=True):
        assert int(row["Rows"]) == record.rows
        assert int(row["Anomalies"]) == record.anomalies
        assert row["Alarm rate"].startswith(f"{record.anomalies / record.rows:.2%}")
        assert int(row["Cells repaired"]) == record.cells_repaired
        assert int(row["Nulls filled"]) == record.cells_imputed
        assert row["Verdict"].startswith(record.guard.verdict)
        assert row["Model"] == record.model_version
    # Faults in every tenth row are more than chance explains; a normal day is not.
    assert "more than chance" in rows[1]["Alarm rate"]
    assert "more than chance" not in rows[0]["Alarm rate"]
    assert f"date={day(FRESH + 1)}" in page.text.split("Newest scored partition")[1][:100]


def test_worst_cells_are_the_most_surprising_ones(scored: Shop, page: Page) -> None:
    rows = page.table("most surprising cells")
    cells = sorted(all_cells(scored, FRESH, FRESH + 1), key=lambda c: (c["p_value"], -c["cell_error"], c["day"]))
    seen: Counter[tuple[int, str]] = Counter()
    wanted = []
    for cell in cells:
        seen[cell["day"], cell["column"]] += 1
        if seen[cell["day"], cell["column"]] <= stored.ALIKE:
            wanted.append(cell)
    assert len(cells) > len(wanted) > 10, "nothing to leave out"
    assert len(rows) == min(len(wanted), stored.WORST)
    for row, cell in zip(rows, wanted, strict=False):
        assert row["Row"] == f"order_id {cell['order_id']}, row {cell['row']:,}"
        assert row["Column"] == cell["column"]
        assert row["Observed"] == ("null" if cell["observed"] is None else cell["observed"])
        assert row["Expected"] == ("null" if cell["expected"] is None else cell["expected"])
        assert row["p-value"] == f"{cell['p_value']:.2g}"
        assert row["Partition"] == f"date={day(cell['day'])}"


def test_columns_are_counted_over_all_cells(scored: Shop, page: Page) -> None:
    counts = Counter(cell["column"] for cell in all_cells(scored, FRESH, FRESH + 1))
    rows = page.table("named most often")
    assert {row["Column"]: int(row["Cells"]) for row in rows} == dict(counts.most_common(page_module.NAMED))
    assert [int(row["Cells"]) for row in rows] == sorted(counts.values(), reverse=True)[: page_module.NAMED]


def test_the_model_card_is_the_champions(scored: Shop, page: Page) -> None:
    card = read_report(Registry(str(scored.output)), "v0001")
    columns = page.table("Every column")
    assert [row["Column"] for row in columns] == [column.column for column in card.columns]
    by_name = {row["Column"]: row for row in columns}
    assert by_name["currency"]["Role"] == "passed through" and "constant" in by_name["currency"].popitem()[1]
    assert by_name["product"]["Role"] == "modelled" and by_name["order_id"]["Role"] == "key"
    gate = {row["Scorer"]: row["Mean"] for row in page.table("Promotion gate")}
    means = {result.scorer: f"{result.mean:.3f}" for result in card.gate.results}
    assert gate == {"this model": means["challenger"], "this model, untrained": means["untrained"], "PCA": means["pca"]}
    assert f"{card.rows_train:,} trained on" in page.text
    assert f"{card.rows_calibration:,} rows" in page.text
    assert f"large enough: an alarm at 1% needs {rows_needed(0.01)}" in page.text
    (version,) = page.table("All versions")
    assert version["Pointers"] == "champion, challenger"
    assert version["Gate"].startswith("passed" if card.gate.passed else "not passed")


def test_a_calibration_set_that_is_too_small_is_said_to_be(trained: Trained, tmp_path: Path) -> None:
    shop = trained.shop.copy(tmp_path / "shop").set(score={"alert_rate": 0.0005})
    score(shop.pipeline, day(FRESH))
    page = page_of(shop.pipeline)
    assert "No row can be flagged: an alarm at 0.05% needs 1,999" in page.text
    assert "too small: an alarm at 0.05% needs 1,999" in page.text
    (row,) = page.table("All partitions")
    assert row["Anomalies"] == "0" and row["Alarm rate"] == "0.00%" and "no row can be flagged" in row["Verdict"]
    assert "No cell of the partitions above was found wrong" in page.text


def test_the_page_is_one_file_that_reads_well_aloud(page: Page) -> None:
    assert not re.search(r"(https?:)?//[a-z]|@import", page.html), "a resource from elsewhere"
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert page.named("html")[0]["lang"] == "en" and page.named("title")
    assert any("width=device-width" in meta.get("content", "") for meta in page.named("meta"))
    assert "prefers-color-scheme: dark" in page.html
    assert all(table.caption.strip() for table in page.tables) and len(page.tables) == 8
    assert all(th.get("scope") in ("col", "row") for th in page.named("th"))
    told = [div["aria-label"] for div in page.named("div") if div.get("role") == "img"]
    assert len(told) == 4 == len(page.charts) and "of 2 partitions" in told[0]
    assert all(
        svg.get("aria-label") or svg.get("aria-hidden") for svg in page.named("svg") if "lane" in svg.get("class", "")
    )
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = {attributes.get("id") for _, attributes in page.elements}
    links = [value[1:] for _, attributes in page.elements for name, value in attributes.items() if "href" in name]
    labels = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert len(links) > 4 and len(labels) > 4 and {*links, *labels} <= ids
    assert "#0a0b0" not in page.html, "a placeholder that no colour replaced"


def test_the_same_state_gives_the_same_bytes_elsewhere_too(scored: Shop, tmp_path: Path) -> None:
    here = Path(report(scored.pipeline, tmp_path / "here.html")).read_bytes()
    assert Path(report(scored.pipeline, tmp_path / "again.html")).read_bytes() == here
    code = (
        "import sys, pathlib; from ae_plugin import config; from ae_plugin.jobs.report import report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "report(config.load(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "print([name for name in ('matplotlib.pyplot', 'keras', 'tensorflow', 'airflow') if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    words = [sys.executable, "-c", code, str(scored.yaml), str(tmp_path / "there.html")]
    done = subprocess.run(words, env=env, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "there.html").read_bytes() == here


def test_nothing_but_the_file_is_written(scored: Shop, tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with unchanged(scored.root):
        report(scored.pipeline, tmp_path / "new" / "page.html")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "page.html"]
    assert dict(mpl.rcParams) == before


def articles(page: Page) -> list[str]:
    """Text of each explained row."""
    parts = re.findall(r"(?s)<article.*?</article>", page.html)
    return [" ".join(Page(part).text.split()) for part in parts]


def test_the_verdict_is_the_first_thing_said(shop: Shop) -> None:
    shop = spoilt(shop)
    score(shop.pipeline, day(FRESH))
    record = runs(shop.pipeline)[0]
    said = " ".join(page_of(shop.pipeline).text.split("state of")[1].split("Champion")[0].split())
    assert f"date={day(FRESH)}: {record.anomalies} of 300 rows are anomalous" in " ".join(said.split())
    assert "where 1% was chosen: more than chance explains" in said
    assert f"{record.cells_flagged} cells were found wrong, most in" in said
    score(shop.pipeline, day(FRESH + 1))
    said = page_of(shop.pipeline).text.split("Champion")[0]
    assert "so few may be chance" in said
    assert f"Of the 1 partition before it 1 had more alarms than chance explains, last date={day(FRESH)}" in said


def test_a_rate_of_alarms_is_not_read_as_one_of_rows(shop: Shop) -> None:
    shop = spoilt(shop, score={"alert_rate": 0.1, "alert_rate_of": "alarms"})
    score(shop.pipeline, day(FRESH + 1))
    score(shop.pipeline, day(FRESH))
    newest, faulty = sorted(runs(shop.pipeline), key=lambda run: run.partition, reverse=True)
    assert faulty.anomalies > 0 == newest.anomalies
    text = " ".join(page_of(shop.pipeline).text.split())
    lead = text.split("state of")[1].split("Anomalous rows")[0]
    assert f"date={day(FRESH + 1)}: 0 of 300 rows are anomalous, 0.00%." in lead
    assert f"Of the 1 partition before it 1 had alarms, last date={day(FRESH)}" in lead
    assert "10% of a partition's alarms may be normal rows" in lead
    assert "than chance explains" not in text and "of normal rows may be flagged" not in lead
    assert "2,999 would allow a single alarm among 300 rows" in text
    rates = [row["Alarm rate"] for row in page_of(shop.pipeline).table("what each alarm rate of rows means")]
    assert rates == ["10%", "5%", "1%", "0.1%"]


def test_every_worst_row_says_why(scored: Shop, page: Page) -> None:
    """What the sentences say is what scoring found: the values, what was expected, and how rare that is."""
    told = articles(page)
    faulty = scored.read("scores", FRESH).to_pylist()
    flagged = sorted((r for r in faulty if r["is_anomaly"]), key=lambda r: (r["p_value"], -r["anomaly_score"]))
    normal = [r for r in scored.read("scores", FRESH + 1).to_pylist() if r["is_anomaly"]]
    assert len(told) == len(normal) + min(len(flagged), stored.PARTITION_ROWS)
    assert f"the worst {stored.PARTITION_ROWS} of {len(flagged)} anomalous rows" in page.text
    cells = {(c["row"], c["column"]): c for c in scored.read("cells", FRESH).to_pylist()}
    checked = 0
    for text in told[len(normal) :]:
        row = int(re.match(r"row ([\d,]+), order_id", text).group(1).replace(",", ""))
        assert next(r for r in faulty if r["row"] == row)["is_anomaly"]
        for (number, column), cell in cells.items():
            if number != row:
                continue
            checked += 1
            observed = "null" if cell["observed"] is None else cell["observed"].partition(".000000")[0]
            assert f"{column} is {observed}" in text
            if cell["expected"] is not None and column != "ordered_at":
                assert re.search(rf"{column} is .*?from the rest of the row .*? was expected", text)
    assert checked > 8
    assert any(
        "quantity is -9999; from the rest of the row" in text and "normal rows lie between" in text for text in told
    )
    assert any("store is Zwickau, which training never saw" in text for text in told)
    assert any("% likely" in text for text in told)


def test_the_word_that_a_rule_gave_is_told(scored: Shop) -> None:
    """The model would say another word, or none, and how rare the cell is for it."""
    where = f"date={day(FRESH)}"
    cell = stored.WorstCell(where, [], 0, "store", "Lepizig", "by a rule", 1.0, 0.02)
    row = stored.WorstRow(where, [], 0, 9.0, 0.001, "store", [cell])
    explainer = Explainer(scored.pipeline, Registry(scored.pipeline.output))
    (explained,) = explainer.explain([row], runs(scored.pipeline))[0].rows
    (said,) = words.reasons(explained)
    assert said.endswith("; from the rest of the row <code>by a rule</code> was expected.")
    (lane,) = [lane for lane in explained.lanes if lane.column == "store"]
    assert words.beside(lane) == "<code>by a rule</code>"


def test_wrong_cells_lie_outside_their_band(page: Page) -> None:
    dots = [dot for dot in page.named("circle") if "class" in dot][1:]  # the first explains the picture
    wrong = [dot for dot in dots if "bad" in dot["class"]]
    fine = [dot for dot in dots if "bad" not in dot["class"] and dot["cx"].startswith(("-", *"0123456789"))]
    assert len(wrong) > 8 and all(abs(float(circle["cx"])) > 30 for circle in wrong)
    assert len(fine) > 50 and sum(abs(float(circle["cx"])) <= 30 for circle in fine) > 0.9 * len(fine)


@pytest.mark.parametrize("loss", ["source gone", "source changed", "partition gone", "version gone", "fewer rows"])
def test_what_cannot_be_asked_again_is_said(shop: Shop, loss: str) -> None:
    shop = spoilt(shop)
    score(shop.pipeline, day(FRESH))
    before = articles(page_of(shop.pipeline))
    file = shop.source / f"date={day(FRESH)}" / "part-0.parquet"
    if loss == "source gone":
        shop.source.rename(shop.root / "elsewhere")
    elif loss == "partition gone":
        file.unlink()
    elif loss == "version gone":
        (shop.output / "_models/v0001/network.tflite").unlink()
    elif loss == "source changed":
        write_day(shop.source, FRESH, make_orders(300, day(FRESH), seed=5))
    else:
        stat = file.stat()
        file.write_bytes(b"x" * stat.st_size)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    page = page_of(shop.pipeline)
    told = articles(page)
    assert len(told) == len(before) > 5 and "No picture, and only what was stored" in page.text
    assert not [svg for svg in page.named("svg") if svg.get("role") == "img" and "lane" in svg.get("class", "")]
    assert any("quantity is -9999; from the rest of the row" in text and "p-value" in text for text in told)


def test_the_calibration_table_is_what_scoring_does(scored: Shop, page: Page) -> None:
    rows = {row["Alarm rate"]: row for row in page.table("what each alarm rate means")}
    assert list(rows) == ["10%", "5%", "1% (chosen)", "0.1%"]
    scores = [r for n in (FRESH, FRESH + 1) for r in scored.read("scores", n).to_pylist()]
    for text, rate in (("10%", 0.1), ("5%", 0.05), ("1% (chosen)", 0.01)):
        flagged = [r for r in scores if r["p_value"] <= rate]
        assert rows[text]["Observed"] == f"{len(flagged) / len(scores):.2%}" and rows[text]["Can fire"] == "yes"
        limit = float(rows[text]["Score above"])
        assert all((r["anomaly_score"] > limit - 1e-3) for r in flagged)
        assert all((r["anomaly_score"] < limit + 1e-3) for r in scores if r["p_value"] > rate)
    assert rows["0.1%"]["Can fire"] == "no: too few" and rows["0.1%"]["Rows needed"] == "999"


def test_the_network_stands_beside_pca(scored: Shop, page: Page) -> None:
    found = read_report(Registry(str(scored.output)), "v0001").comparison
    assert found is not None and found.rows > 100 and found.dimension <= 64
    rows = page.table("Beside PCA of the same dimension")
    assert (
        rows[0]["Column"] == "all columns"
        and rows[0]["Hidden: network"] == f"{100 * found.overall.network_hidden:.0f}%"
    )
    assert [row["Column"] for row in rows[1:]] == [column.column for column in found.columns[:12]]
    # What the columns share can be told from the others, whoever tells it; nobody can tell all of it.
    assert 0 < found.overall.pca_hidden < found.overall.pca <= 1
    assert 0 < found.overall.network_hidden < 1


def test_versions_from_before_the_comparison_can_be_read(shop: Shop) -> None:
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    content = json.loads(files[REPORT])
    del content["comparison"]
    version = registry.register({**files, REPORT: json.dumps(content).encode()}, card)
    registry.point("champion", version, by="me", why="old")
    assert "trained before the comparison with PCA" in page_of(shop.pipeline).text


def test_ae_report_says_where(shop: Shop, tmp_path: Path) -> None:
    done = run_ae("report", shop.yaml, "--json")
    assert done.code == 0 and done.json == {"path": str(shop.output / "report.html")}
    Page((shop.output / "report.html").read_text(encoding="utf-8"))
    done = run_ae("report", shop.yaml, "--path", tmp_path, "--json")
    assert done.json == {"path": str(tmp_path / "report.html")} and (tmp_path / "report.html").is_file()


def test_a_path_that_cannot_be_written_is_one_line(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot be written"):
        report(shop.pipeline, tmp_path / "file" / "page.html")
    assert (tmp_path / "file").read_text() == "mine"


def test_before_the_first_training(shop: Shop) -> None:
    fresh = shop.set(output="elsewhere")
    page = page_of(fresh.pipeline)
    assert "There is no champion yet, so nothing can be scored: run ae train first." in page.text
    assert "No partition was scored yet." in page.text and "Nothing was trained yet." in page.text
    assert not page.tables and not page.named("svg")


def test_trained_but_not_promoted(shop: Shop) -> None:
    (shop.output / "_models/champion.json").unlink()
    page = page_of(shop.pipeline)
    assert "There is no champion yet" in page.text and "ae promote" in page.text
    (version,) = page.table("All versions")
    assert version["Pointers"] == "challenger"


def test_promoted_but_not_scored(shop: Shop) -> None:
    page = page_of(shop.pipeline)
    assert "No partition was scored yet." in page.text and "no champion" not in page.text
    assert "Nothing was scored, so there are no cells." in page.text
    assert page.table("Every column") and len(page.charts) == 2, "only the model's own charts"


def foreign(number: int) -> pa.Table:
    """A day of the same columns, but of another world."""
    table = make_orders(300, day(number))
    for name, value in (("product", "anvil"), ("store", "Xanten"), ("customer", "???"), ("quantity", 10_000)):
        place = table.schema.get_field_index(name)
        kind = table.schema.field(place).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        column = pa.array([value] * table.num_rows, plain)
        table = table.set_column(
            place, table.schema.field(place), column.dictionary_encode().cast(kind) if kind != plain else column
        )
    return table


@pytest.mark.parametrize("choice", ["quarantine", "fail"])
def test_a_refused_partition_shows_no_cells_of_the_run_before(shop: Shop, choice: str) -> None:
    """Quarantine withdraws what was written before, `fail` leaves it: either way it is no part of the newest run."""
    shop = spoilt(shop, score={"on_unfamiliar": choice})
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    assert shop.read("cells", FRESH).num_rows
    kept = page_of(shop.pipeline)
    assert f"date={day(FRESH)}" in cell_partitions(kept)

    write_day(shop.source, FRESH, foreign(FRESH))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH))
    page = page_of(shop.pipeline)
    row = page.table("All partitions")[1]
    word = "quarantined" if choice == "quarantine" else "refused"
    assert row["Partition"] == f"date={day(FRESH)}" and row["Verdict"].startswith(f"unfamiliar, {word}")
    assert row["Anomalies"] == row["Cells repaired"] == row["Nulls filled"] == "–"
    assert "reasons" in row["Verdict"] and "never seen in training" in row["Verdict"]
    assert f"Unfamiliar, so not scored: 1 of 2 partitions (date={day(FRESH)})" in page.text
    assert f"date={day(FRESH)}" not in cell_partitions(page)
    newest = runs(shop.pipeline)[-1]
    assert page.text.split("Observed alarm rate")[1].strip().startswith(f"{newest.observed_alert_rate:.2%}")


def test_only_refused_partitions(shop: Shop) -> None:
    write_day(shop.source, FRESH, foreign(FRESH))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH))
    page = page_of(shop.pipeline)
    assert len(page.table("All partitions")) == 1 and len(page.charts) == 3
    assert "Nothing was scored, so there are no cells." in page.text


def test_a_source_without_partitions(shop: Shop) -> None:
    write_day(shop.root / "orders", FRESH, spoil(make_orders(300, day(FRESH))))
    path = shop.root / "whole" / "all.parquet"
    path.parent.mkdir()
    (shop.source / f"date={day(FRESH)}" / "part-0.parquet").rename(path)
    shop = shop.set(source={"uri": "whole", "partition_by": []}, score={"on_unfamiliar": "score"})
    score(shop.pipeline)
    page = page_of(shop.pipeline)
    (row,) = page.table("All partitions")
    assert row["Partition"] == "the whole source" and int(row["Rows"]) == 300
    assert cell_partitions(page) == {"the whole source"}


def test_a_partition_without_rows(shop: Shop) -> None:
    write_day(shop.source, FRESH, make_orders(0, day(FRESH)))
    score(shop.pipeline, day(FRESH))
    (row,) = page_of(shop.pipeline).table("All partitions")
    assert row["Rows"] == "0" and row["Alarm rate"] == "–" and "the partition holds no rows" in row["Verdict"]


def test_lost_outputs_are_said_to_be_lost(shop: Shop) -> None:
    shop = spoilt(shop)
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
        (shop.output / "scores" / f"date={day(number)}" / "part-0.parquet").unlink()
    cells = shop.output / "cells" / f"date={day(FRESH + 1)}" / "part-0.parquet"
    cells.write_bytes(b"PAR1 not really")
    page = page_of(shop.pipeline)
    assert f"{cells}: cannot be read" in page.text
    assert cell_partitions(page) == {f"date={day(FRESH)}"}
    assert len(page.charts) == 3 and "scores" in page.text.split("Anomalous rows")[2][:300]


def test_a_version_that_was_tampered_with(shop: Shop) -> None:
    score(shop.pipeline, day(FRESH))
    (shop.output / "_models/v0001" / REPORT).write_text("{}")
    page = page_of(shop.pipeline)
    assert "The champion v0001 cannot be read" in page.text
    (versions,) = [table for table in page.tables if "All versions" in table.caption]
    assert versions.rows[1][0] == "v0001" and "sha256 differs" in versions.rows[1][-1]
    assert len(page.table("All partitions")) == 1


def test_only_recent_partitions_and_versions_are_shown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = spoilt(shop)
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    for _ in range(3):
        registry.register(files, card)
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    monkeypatch.setattr(page_module, "RECENT", 1)
    monkeypatch.setattr(stored, "VERSIONS", 2)
    page = page_of(shop.pipeline)
    (row,) = page.table("The newest 1 of 2 partitions")
    assert row["Partition"] == f"date={day(FRESH + 1)}"
    versions = page.table("3 of 4 versions")
    assert [(row["Version"], row["Pointers"]) for row in versions] == [
        ("v0004", "challenger"), ("v0003", "–"), ("v0001", "champion"),
    ]  # fmt: skip


def test_reading_cells_stops_at_a_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = spoilt(shop, score={"alert_rate": 0.1})
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    newest = shop.read("cells", FRESH + 1)
    assert newest.num_rows > 10
    monkeypatch.setattr(stored, "ROWS_READ", 10)
    monkeypatch.setattr(stored, "BATCH_ROWS", 5)
    page = page_of(shop.pipeline)
    assert "10 wrong cells" in page.text and "the newest ones, there are more" in page.text
    counts = Counter(newest.column("column").slice(0, 10).to_pylist())
    assert {row["Column"]: int(row["Cells"]) for row in page.table("named most often")} == counts


def hostile_run(shop: Shop, record: RunRecord) -> str:
    """A run whose every text is an attack, with cells to match; return its partition."""
    partition = f"date={IMAGE}"
    name = f"cells/{slug_of(partition)}.parquet"
    attacks = [SCRIPT, IMAGE, SVG, TEMPLATE]
    texts = [pa.array(attacks), pa.array([*attacks[1:], None], pa.string())]
    # A row key that shares its name with a column of cells/, and one whose name and values are attacks.
    schema = cells_schema([pa.field("column", pa.string()), pa.field(SCRIPT, pa.binary())])
    first = [pa.array(attacks), pa.array([b"\xff<b>", b"<i>", None, b"\x00"]), pa.array(range(4), pa.int64())]
    numbers = [pa.array([9.0, 8.0, float("inf"), 1.0], pa.float32()), pa.array([0.1] * 4, pa.float32())]
    table = pa.Table.from_arrays([*first, pa.array(attacks), *texts, *numbers], schema=schema)
    path = shop.output / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    guard = record.guard.model_copy(update={"reasons": attacks, "verdict": "drifted"})
    changes = {"partition": partition, "guard": guard, "outputs": {name: ""}, "notes": attacks, "model_version": SCRIPT}
    write_run(shop, record.model_copy(update={**changes, "started_at": SVG, "run_id": "x"}))
    return partition


def hostile_version(shop: Shop) -> None:
    """A champion whose report is full of attacks."""
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    content = json.loads(files[REPORT])
    for column, attack in zip(content["columns"], [SCRIPT, IMAGE, SVG, TEMPLATE], strict=False):
        column.update(column=attack, type=attack, kind=attack, note=attack)
    gate = content["gate"]
    gate["reasons"] = [SCRIPT, IMAGE]
    for result in gate["results"]:
        result["auroc"] = {SVG: 0.5, **result["auroc"]}
    content.update(partitions=[f"date={SCRIPT}"], created_at=IMAGE)
    version = registry.register({**files, REPORT: json.dumps(content).encode()}, card)
    registry.point("champion", version, by=SCRIPT, why=SVG)


def test_hostile_names_and_values_are_only_text(shop: Shop) -> None:
    shop = spoilt(shop)
    score(shop.pipeline, day(FRESH))
    partition = hostile_run(shop, runs(shop.pipeline)[0])
    hostile_version(shop)
    page = page_of(shop.pipeline.model_copy(update={"name": SCRIPT + TEMPLATE}))

    assert {tag for tag, _ in page.elements} <= ALLOWED
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcdoc", "action")}
    targets = [value for _, attributes in page.elements for name, value in attributes.items() if "href" in name]
    assert targets and all(value.startswith("#") for value in targets)
    urls = re.findall(r"url\((.*?)\)", page.html)
    assert all(url.startswith("#") for url in urls)

    # All of it is there to be read, as text.
    rows = page.table("All partitions")
    (row,) = [row for row in rows if row["Partition"] == partition]
    assert row["Model"] == SCRIPT and all(attack in row["Verdict"] for attack in (SCRIPT, IMAGE, SVG, TEMPLATE))
    cells = [row for row in page.table("most surprising cells") if row["Partition"] == partition]
    assert [cell["Column"] for cell in cells] == [SVG, SCRIPT, IMAGE, TEMPLATE]
    assert [cell["Expected"] for cell in cells] == [TEMPLATE, IMAGE, SVG, "null"]
    assert cells[1]["Row"].startswith(f"column {SCRIPT}, {SCRIPT} b'\\xff<b>'")
    assert [row["Column"] for row in page.table("Every column")][:4] == [SCRIPT, IMAGE, SVG, TEMPLATE]
    assert SVG in page.table("Promotion gate")[0] and page.table("All versions")[0]["Gate"].count(IMAGE) == 1
    assert page.named("title") and page.text.count(SCRIPT + TEMPLATE) >= 2
    assert "49" not in page.text.split("Autoencoder report")[0]


def test_a_hostile_source_is_only_text(tmp_path: Path) -> None:
    """Stored attacks, all the way: columns, values and keys of the source are learned, scored, explained and drawn."""
    import numpy as np

    def table(rows: int, seed: int) -> dict[str, list[Any]]:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 2, rows)
        numbers = (kind * 10 + rng.normal(0, 0.3, rows)).tolist()
        return {
            SCRIPT: numbers,
            SVG: [(IMAGE, TEMPLATE)[k] for k in kind],
            IMAGE: [f"{SCRIPT}{i}" for i in range(rows)],
        }

    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(pa.table(table(800, 0)), source / "a.parquet")
    settings = {
        "name": "hostile",
        "source": {"uri": "source", "keys": [IMAGE]},
        "train": {"contamination": 0, "steps": 200},
        "score": {"on_unfamiliar": "score"},
        "output": "out",
    }
    shop = Shop(tmp_path, settings).write()
    train_and_promote(shop)
    fresh = table(200, 1)
    fresh[SCRIPT][7], fresh[SVG][9], fresh[SVG][11] = 99.0, SVG, None
    pq.write_table(pa.table(fresh), source / "a.parquet")
    score(shop.pipeline)
    page = page_of(shop.pipeline)
    assert {tag for tag, _ in page.elements} <= ALLOWED
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "srcdoc", "action")}
    told = articles(page)
    assert any(f"{SCRIPT} is 99" in text for text in told) and any(f"{SVG} is {SVG}" in text for text in told)
    drawn = [svg["aria-label"] for svg in page.named("svg") if svg.get("role") == "img" and svg.get("class") == "lane"]
    assert any(label.startswith(f"{SCRIPT}: ") for label in drawn) and any(label.startswith(SVG) for label in drawn)


def test_page_reader_sees_an_attack_that_is_not_escaped(page: Page) -> None:
    """The tests above can fail: an attack put into the page is found."""
    bad = Page(page.html.replace("<h1>", f"<h1>{SCRIPT}", 1))
    assert {tag for tag, _ in bad.elements} - ALLOWED == {"script"}
    bad = Page(page.html.replace("<h1>", "<h1><b onclick=x>", 1).replace("</h1>", "</b></h1>", 1))
    assert any("onclick" in attributes for _, attributes in bad.elements)


def test_long_values_are_cut(shop: Shop) -> None:
    shop = spoilt(shop)
    score(shop.pipeline, day(FRESH))
    path = next((shop.output / "cells").rglob("*.parquet"))
    table = pq.ParquetFile(path).read()
    long = pa.array(["x" * 100_000] * table.num_rows, pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("observed"), "observed", long), path)
    page = page_of(shop.pipeline)
    assert len(page.html) < 200_000
    assert page.table("most surprising cells")[0]["Observed"] == "x" * 119 + "…"


def test_the_band_of_chance_is_honest() -> None:
    """Under the model of normal rows, its share of partitions stays within; smaller partitions spread more."""
    import numpy as np

    def limit(rows: int, calibration: int = 4857, rate: float = 0.01) -> float:
        record = RunRecord.model_construct(rows=rows, alert_rate=rate)
        return charts.chance_limit(record, calibration)

    rng = np.random.default_rng(0)
    for rows, calibration in ((900, 4857), (50, 500), (5000, 200)):
        allowed = int(0.01 * (calibration + 1))
        rates = rng.beta(allowed, calibration + 1 - allowed, 40_000)
        observed = rng.binomial(rows, rates) / rows
        inside = (observed <= limit(rows, calibration)).mean()
        assert 0.987 <= inside <= 1.0, (rows, inside)
        assert (observed <= limit(rows, calibration) - 1 / rows).mean() < 0.993
    assert limit(100) > limit(1000) > limit(100_000) > 0.01
    assert np.isnan(limit(0)) and np.isnan(limit(100, calibration=50))


def test_a_killed_commit_is_finished_first(shop: Shop) -> None:
    """A reader through this package sees the partition whole: the new run with the new cells."""
    shop = spoilt(shop)
    score(shop.pipeline, day(FRESH))
    cells = f"cells/date={day(FRESH)}/part-0.parquet"
    stage = shop.output / "_staging/killed.elsewhere.1.abc"
    stage.mkdir(parents=True)
    (shop.output / cells).rename(stage / "000")
    journal = {"moves": {cells: f"_staging/{stage.name}/000"}, "removals": [], "stage": f"_staging/{stage.name}"}
    (shop.output / "_runs/_journal").mkdir()
    (shop.output / "_runs/_journal/killed.json").write_text(json.dumps(journal))
    assert page_of(shop.pipeline).table("most surprising cells")
    assert not stage.exists()


def test_the_last_trained_day_can_be_reported_on(shop: Shop) -> None:
    score(shop.pipeline, day(LAST_TRAINED))
    assert page_of(shop.pipeline).table("All partitions")[0]["Partition"] == f"date={day(LAST_TRAINED)}"


@pytest.mark.parametrize(
    ("beyond", "said"), [(0, "; of 1,000 normal rows none lies as far off."), (4, "; about 1 in 200 normal rows lies")]
)
def test_how_rare_a_cell_is_says_what_was_counted(beyond: int, said: str) -> None:
    """None of n is no proof of fewer than one in n."""
    band = {"low": "1", "high": "9", "place": 5.0, "share": None, "seen": None, "level": 0.99}
    lane = Lane("amount", "number", "900", "5", **band, rows=1_000, beyond=beyond, wrong=True)  # type: ignore[arg-type]
    row = stored.WorstRow("", [], 0, 9.0, 0.001, "amount")
    assert said in words.reasons(ExplainedRow(row, [lane]))[0]
