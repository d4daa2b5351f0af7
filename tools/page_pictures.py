"""The pictures of the page in `docs/images/`: `python -m tools.page_pictures`, after `make demo`."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import httpx
from playwright.sync_api import Page, sync_playwright

from tools.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DAY, BLIZZARD, BOARDS = "date=2013-02-13", "date=2013-02-08", "date=2026-05-24"


def _partition(name: str, partition: str, tab: str = "rows") -> str:
    return f"#/p/{name}/partition?partition={quote(partition, safe='')}&tab={tab}"


PICTURES = {
    "pipelines": ("", 460),
    "pipeline": ("#/p/flights", 1000),
    "rows": (_partition("flights", DAY), 800),
    "why": (_partition("flights", BLIZZARD, "why"), 1000),
    "map": (_partition("flights", DAY, "map"), 860),
    "models": ("#/p/flights/models?version=v0001", 900),
    "pictures": (_partition("boards", BOARDS), 760),
}


def _shoot(page: Page, name: str, place: str, height: int, file: str) -> None:
    page.set_viewport_size({"width": 1280, "height": height})
    page.goto(f"/ae/{place}")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # charts are drawn
    if name == "rows":
        page.get_by_role("button", name="row").first.click()
        page.wait_for_timeout(500)
    page.screenshot(path=ROOT / f"docs/images/page-{file}.png")


def main() -> None:
    """Start the demo's Airflow, and take them."""
    airflow = LocalAirflow(ROOT)
    with airflow, sync_playwright() as playwright:
        body = {"username": "admin", "password": airflow.password}
        token = httpx.post(f"{airflow.url}/auth/token", json=body, timeout=60).json()["access_token"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for theme in ("light", "dark"):
            context = browser.new_context(color_scheme="dark" if theme == "dark" else "light", base_url=airflow.url)
            context.add_cookies([{"name": "_token", "value": token, "url": airflow.url}])
            page = context.new_page()
            for name, (place, height) in PICTURES.items():
                if theme == "light" or name == "pipeline":
                    _shoot(page, name, place, height, name if theme == "light" else f"{name}-dark")
            if theme == "light":
                page.set_viewport_size({"width": 1280, "height": 640})
                page.goto("/plugin/ae")
                page.frame_locator("iframe").get_by_role("heading", level=1).wait_for()
                page.wait_for_timeout(1500)
                page.screenshot(path=ROOT / "docs/images/page-airflow.png")
        browser.close()


if __name__ == "__main__":
    main()
