"""The page inside Airflow's own UI: a person signs in, finds it in the menu, on DAGs, runs and tasks, and decides."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from ae_plugin.errors import NoChampionError
from ae_plugin.jobs.due import due
from ae_plugin.jobs.feedback import standing
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import latest
from tests.browsing import Tab, chromium, needs_chromium, tab
from tests.e2e.conftest import House

pytestmark = [pytest.mark.e2e, needs_chromium]
SCORE, TRAIN = "flights__score", "flights__train"


@pytest.fixture(scope="module")
def ready(house: House) -> House:
    """The flights are trained and scored, whatever tests ran before."""
    try:
        left = due(house.pipeline)
    except NoChampionError:
        house.first_training("flights")
        left = due(house.pipeline)
    if left:
        assert house.run(SCORE)[0] == "success"
    return house


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def signed_in(ready: House, browser: Browser) -> Iterator[Tab]:
    """As a person does it: by the form."""
    with tab(browser, ready.airflow.url, "none") as found:
        page = found.page
        page.context.clear_cookies()
        page.goto("/")
        page.get_by_label(re.compile("user", re.IGNORECASE)).fill("admin")
        page.get_by_label(re.compile("password", re.IGNORECASE)).fill(ready.airflow.password)
        page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
        page.get_by_role("link", name="Anomalies").or_(page.get_by_text("Anomalies")).first.wait_for()
        found.said.clear()
        yield found


def ours(page: Page) -> FrameLocator:
    return page.frame_locator("iframe")


def scored(house: House) -> str:
    """The partition with the most alarms."""
    runs = [run for run in latest(Folder(str(house.output))).values() if run.outcome == "scored"]
    return max(runs, key=lambda run: run.observed_alert_rate or 0).partition


def test_the_menu_leads_to_the_page(signed_in: Tab) -> None:
    page = signed_in.page
    page.goto("/")
    page.get_by_role("link", name="Anomalies").or_(page.get_by_role("button", name="Anomalies")).first.click()
    expect(page).to_have_url(re.compile("/plugin/ae"))
    expect(ours(page).get_by_role("heading", level=1)).to_have_text("Anomalies")
    expect(ours(page).get_by_role("link", name="flights", exact=True).first).to_be_visible()
    assert ours(page).locator("html").get_attribute("data-theme") in ("light", "dark")


def test_links_lead_out_of_the_frame(signed_in: Tab) -> None:
    """Airflow's frame may not navigate its parent: its own router does."""
    page = signed_in.page
    page.goto("/plugin/ae")
    ours(page).get_by_role("link", name="flights", exact=True).first.click()
    ours(page).get_by_role("link", name=SCORE).first.click()
    expect(page).to_have_url(re.compile(f"/dags/{SCORE}"))
    expect(page.get_by_text(SCORE).first).to_be_visible()
    assert [line for line in signed_in.said if "navigation" in line] == []


def test_the_theme_is_airflow_s(signed_in: Tab) -> None:
    page = signed_in.page
    page.goto("/plugin/ae")
    frame = ours(page).locator("html")
    expect(ours(page).get_by_role("heading", level=1)).to_be_visible()
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.documentElement.className = theme }", theme)
        expect(frame).to_have_attribute("data-theme", theme)


def test_a_wrong_cell_found_and_judged(ready: House, signed_in: Tab) -> None:
    page, partition = signed_in.page, scored(ready)
    cells = pq.read_table(ready.output / f"cells/{partition}/part-0.parquet").to_pylist()
    worst = min((cell for cell in cells if cell["observed"]), key=lambda cell: cell["p_value"])
    page.goto("/plugin/ae")
    frame = ours(page)
    frame.get_by_role("link", name="flights", exact=True).first.click()
    frame.get_by_text("All partitions as a table").click()
    frame.get_by_role("link", name=re.compile(partition)).first.click()
    frame.get_by_label("Wrong value").fill(worst["observed"])
    row = frame.get_by_role("row").filter(has_text=worst["column"]).filter(has_text=str(worst["expected"])).first
    expect(row).to_contain_text(worst["observed"])
    row.get_by_role("checkbox").check()
    frame.get_by_role("button", name="Confirmed").first.click()
    expect(frame.get_by_text("Confirmed").first).to_be_visible()
    page.wait_for_timeout(500)
    marks = [mark for mark in standing(ready.pipeline).marks if mark.partition == partition]
    assert marks and marks[-1].verdict == "confirmed" and marks[-1].who == "admin"


def test_tabs_show_what_belongs_to_a_dag_a_run_and_a_task(ready: House, signed_in: Tab) -> None:
    page = signed_in.page
    page.goto(f"/dags/{SCORE}/plugin/ae_dag")
    expect(ours(page).get_by_role("heading", level=1)).to_contain_text("flights")
    known = {run.airflow.run_id: run for run in latest(Folder(str(ready.output))).values() if run.airflow is not None}
    run = next(iter(known.values()))
    assert run.airflow is not None
    page.goto(f"/dags/{SCORE}/runs/{run.airflow.run_id}/plugin/ae_run")
    expect(ours(page).get_by_role("heading", level=1)).to_contain_text(re.compile("partitions of flights|flights · "))
    mapped = "" if run.airflow.map_index < 0 else f"/mapped/{run.airflow.map_index}"
    page.goto(f"/dags/{SCORE}/runs/{run.airflow.run_id}/tasks/{run.airflow.task_id}{mapped}/plugin/ae_task")
    expect(ours(page).get_by_role("heading", level=1)).to_contain_text("flights")
    trained = ready.airflow.runs(TRAIN)[-1]["dag_run_id"]
    page.goto(f"/dags/{TRAIN}/runs/{trained}/plugin/ae_run")
    expect(ours(page).get_by_role("heading", level=1)).to_contain_text("flights")


def test_a_refused_day_is_released_and_scored(ready: House, signed_in: Tab) -> None:
    """The blizzard: somebody says that it is fine, and the next run scores it."""
    folder = Folder(str(ready.output))
    refused = [run for run in latest(folder).values() if run.outcome != "scored"]
    assert refused, "the blizzard is refused, and no test before decides on it"
    partition = refused[0].partition
    page = signed_in.page
    page.goto("/plugin/ae")
    frame = ours(page)
    frame.get_by_role("link", name="flights", exact=True).first.click()
    frame.get_by_role("link", name=re.compile(partition)).first.click()
    frame.get_by_role("button", name=re.compile("^Release")).first.click()
    dialog = frame.get_by_role("dialog")
    dialog.get_by_role("button", name="Release").click()
    expect(dialog).to_have_count(0)
    kept = read_decision(folder, partition)
    assert kept is not None and (kept.decision, kept.who) == ("release", "admin")
    assert ready.run(SCORE)[0] == "success"
    run = latest(folder)[partition]
    assert run.outcome == "scored" and run.guard.verdict == "unfamiliar"


def test_the_console_stays_clean(signed_in: Tab) -> None:
    """Of what is ours: Airflow's own pages say what they like."""
    assert [line for line in signed_in.said if "/ae/" in line] == []
