"""The page in a real Chromium: every view, in both themes, wide and narrow; nasty values; what is decided is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from ae_plugin.jobs.feedback import standing
from ae_plugin.jobs.latent.traverse import traverse
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from tests.browsing import NARROW, WIDE, Tab, chromium, needs_chromium, tab
from tests.shop import FRESH, day
from tests.web.conftest import EVIL, REFUSED, Served

pytestmark = needs_chromium
DAY, OTHER, BAD = (f"date={day(number)}" for number in (FRESH, FRESH + 1, REFUSED))


def partition(name: str, which: str, view: str = "") -> str:
    return f"p/{name}/partition?partition={quote(which, safe='')}" + (f"&tab={view}" if view else "")


VIEWS = {
    "pipelines": ("", "Anomalies"),
    "nothing found": ("?q=zzz", "Anomalies"),
    "pipeline": ("p/shop", "shop"),
    "pipeline without a model": ("p/fresh", "fresh"),
    "pipeline that cannot be read": ("p/pointless", "pointless"),
    "rows": (partition("shop", DAY), "shop"),
    "nasty rows": (partition("shop", OTHER), "shop"),
    "why": (partition("shop", DAY, "why"), "shop"),
    "map": (partition("shop", DAY, "map"), "shop"),
    "refused": (partition("shop", BAD), "shop"),
    "models": ("p/shop/models?version=v0001", "shop"),
    "pictures": ("p/boards", "boards"),
    "nowhere": ("nowhere", "Not found"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def admin(web: Served, browser: Browser) -> Iterator[Tab]:
    with tab(browser, web.site.url, web.site.tokens["admin"]) as found:
        yield found


def show(page: Page, place: str) -> None:
    page.goto(f"/ae/#/{place}")
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_by_everybody(web: Served, browser: Browser, view: str, width: int, theme: str) -> None:
    place, heading = VIEWS[view]
    with tab(browser, web.site.url, web.site.tokens["admin"], theme=theme, width=width) as found:
        show(found.page, place)
        expect(found.page.get_by_role("heading", level=1)).to_contain_text(heading)
        assert found.violations() == []
        assert found.too_wide() <= 0
        assert found.page.evaluate("document.documentElement.dataset.theme") == theme
        allowed = "409" if view == "pipeline that cannot be read" else "nothing"
        assert [line for line in found.said if allowed not in line] == []


def test_what_values_hold_is_never_run(web: Served, browser: Browser) -> None:
    """The product of one row, and all products of the refused day, are markup."""
    with tab(browser, web.site.url, web.site.tokens["admin"]) as found:
        for place in (partition("shop", OTHER), partition("shop", BAD, "why"), partition("shop", OTHER, "map")):
            show(found.page, place)
            assert found.page.locator("img[src=x]").count() == 0
        show(found.page, partition("shop", OTHER) + f"&value={quote('<img')}")
        expect(found.page.get_by_text(EVIL).first).to_be_visible()
        assert [line for line in found.said if "dialog" in line] == []


def test_whether_all_is_well_in_ten_seconds(admin: Tab) -> None:
    show(admin.page, "")
    summary = admin.page.locator(".summary")
    expect(summary).to_contain_text("of 6 pipelines")
    expect(summary.get_by_role("link", name=re.compile("shop|refused"))).to_be_visible()
    admin.page.get_by_role("searchbox").fill("boar")
    expect(admin.page.get_by_role("row").filter(has_text="boards")).to_be_visible()
    expect(admin.page.get_by_role("row").filter(has_text="shop")).to_have_count(0)


def test_from_the_list_to_the_wrong_cell(admin: Tab) -> None:
    page = admin.page
    show(page, "")
    page.get_by_role("link", name="shop", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("shop")
    page.get_by_text("All partitions as a table").click()
    page.get_by_role("link", name=re.compile(day(FRESH))).first.click()
    expect(page.locator(".lead")).to_contain_text("of 240 rows")
    page.get_by_label("Wrong value").fill("chese")
    row = page.get_by_role("row").filter(has_text="chese").first
    expect(row).to_contain_text("cheese")
    row.get_by_role("button", name=re.compile("row")).click()
    details = page.locator("tr.more")
    expect(details).to_contain_text("shipped_at")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("shop")
    assert admin.said == []


def test_every_link_of_a_view_leads_somewhere(admin: Tab) -> None:
    for place, _ in VIEWS.values():
        show(admin.page, place)
        links = admin.page.eval_on_selector_all("a[href]", "found => found.map(a => a.getAttribute('href'))")
        for link in links:
            assert link.startswith(("#/", "api/", "../")), link
    assert [line for line in admin.said if "409" not in line] == []


def test_a_false_alarm_is_kept(web: Served, admin: Tab) -> None:
    page = admin.page
    show(page, partition("shop", DAY))
    boxes = page.get_by_role("checkbox", name=re.compile("Select row"))
    row = int(re.sub(r"\D", "", boxes.first.get_attribute("aria-label") or ""))
    boxes.first.check()
    page.get_by_label("Note").fill("a new courier")
    page.get_by_role("button", name="False alarm").first.click()
    marked = page.get_by_role("checkbox", name=f"Select row {row}", exact=True)
    expect(page.get_by_role("row").filter(has=marked)).to_contain_text("False alarm", ignore_case=True)
    kept = {mark.row: mark for mark in standing(web.shop.pipeline).marks}
    assert (kept[row].verdict, kept[row].note, kept[row].who) == ("false_alarm", "a new courier", "ann")


def test_the_map_s_selection_is_a_table(admin: Tab) -> None:
    page = admin.page
    show(page, partition("shop", DAY, "map"))
    drawn = page.get_by_role("img", name=re.compile("Map of")).locator("svg")
    expect(drawn.locator("path").nth(50)).to_be_attached()
    box = drawn.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 150, box["y"] + box["height"] - 60, steps=8)
    page.mouse.up()
    page.get_by_role("button", name=re.compile(r"Show (these|this) \d+")).click()
    expect(page.get_by_text("selected on the map")).to_be_visible()


def test_a_refused_partition_is_released(web: Served, admin: Tab) -> None:
    page = admin.page
    show(page, partition("shop", BAD))
    page.get_by_role("button", name=re.compile("Release")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert admin.violations() == []
    dialog.get_by_role("button", name="Release").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text(re.compile("Released", re.IGNORECASE)).first).to_be_visible()
    kept = read_decision(Folder(str(web.shop.output)), BAD)
    assert kept is not None and (kept.decision, kept.who) == ("release", "ann")


def test_a_version_is_promoted_against_the_gate_only_when_that_is_said(web: Served, admin: Tab) -> None:
    registry = Registry(str(web.shop.output))
    card, files = registry.read("v0001")
    version = registry.register(files, {name: value for name, value in card.items() if name != "files"})
    page = admin.page
    show(page, f"p/shop/models?version={version}")
    page.get_by_role("button", name=re.compile("Promote")).first.click()
    dialog = page.get_by_role("dialog")
    ticks = dialog.get_by_role("checkbox")
    if ticks.count():
        expect(dialog.get_by_role("button", name="Promote", exact=True)).to_be_disabled()
        ticks.check()
    dialog.get_by_role("button", name="Promote", exact=True).click()
    pointer = registry.pointer("champion")
    if ticks.count() == 0 and pointer is not None and pointer.version != version:
        expect(dialog).to_contain_text("compared with")
        return
    expect(dialog).to_have_count(0)
    pointer = registry.pointer("champion")
    assert pointer is not None and pointer.version == version and pointer.history[-1].by == "ann"


def test_who_may_only_look_is_offered_nothing_else(web: Served, browser: Browser) -> None:
    with tab(browser, web.site.url, web.site.tokens["viewer"]) as found:
        for place in (partition("shop", DAY), partition("shop", BAD), "p/shop/models?version=v0001", "p/shop"):
            show(found.page, place)
            expect(
                found.page.get_by_role("button", name=re.compile("Release|Discard|Promote|Roll back"))
            ).to_have_count(0)
            expect(found.page.get_by_role("checkbox", name=re.compile("Select"))).to_have_count(0)


def test_without_a_session_the_page_says_what_to_do(web: Served, browser: Browser) -> None:
    with tab(browser, web.site.url, web.site.tokens["admin"]) as found:
        show(found.page, "")
        found.page.context.clear_cookies()
        found.page.get_by_role("searchbox").fill("x")
        expect(found.page.get_by_text(re.compile("sign in", re.IGNORECASE))).to_be_visible()


def test_the_keyboard_reaches_a_row_s_details(admin: Tab) -> None:
    page = admin.page
    show(page, partition("shop", DAY))
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.getAttribute('aria-expanded')")
        if focused == "false":
            break
    page.keyboard.press("Enter")
    expect(page.locator("tr.more")).to_be_visible()


def test_pictures_are_shown(web: Served, admin: Tab) -> None:
    points = web.site.get("pipelines/boards/timeline")["points"]
    which = next(point["partition"] for point in reversed(points) if point["outcome"] == "scored")
    show(admin.page, partition("boards", which))
    pictures = admin.page.locator(".gallery img")
    expect(pictures.first).to_be_visible()
    admin.page.wait_for_load_state("networkidle")
    assert all(
        admin.page.eval_on_selector_all(".gallery img", "all => all.slice(0, 6).map(one => one.naturalWidth > 0)")
    )
    assert admin.violations() == []
    admin.page.get_by_label("Zoom").fill("320")
    assert admin.said == []


def test_a_slider_shows_another_frame_and_asks_for_nothing(web: Served, admin: Tab) -> None:
    record = traverse(web.shop.pipeline, latents=2, steps=5)
    page, move = admin.page, record.latents[0].moves[0]
    show(page, "p/shop/traversal")
    own = page.locator("main section").first
    slider = own.get_by_role("slider")
    expect(slider).to_have_value("2")
    shown = own.get_by_role("row").filter(has=page.get_by_role("rowheader", name=move.what, exact=True)).locator("td")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider.focus()
    for key, wanted in (("Home", move.first), ("End", move.last)):
        page.keyboard.press(key)
        expect(shown.first).to_have_text(wanted)
    expect(own.locator("output")).to_have_text(f"{record.latents[0].high:.2f}")
    assert asked == [] and admin.said == []
    assert admin.violations() == [] and admin.too_wide() <= 0
