"""Takes the pictures in the README with headless Chromium.

    pip install playwright pillow      # into an environment of their own: the platform needs neither
    python docs/screenshots.py dagster http://127.0.0.1:3000 --first 2026-11-22 --last 2026-11-25
    . .lakehouse/local.env && python docs/screenshots.py page http://127.0.0.1:8000 --key "$LAKEHOUSE_API_KEY"

Beforehand, on a running stack: for Dagster `./lakehouse simulate --from ... --to ...` of those days, then
`./lakehouse backfill gold/city_hourly --from ... --to ...`, and a run of the job `streaming_quality`; for the
page `./lakehouse simulate --rate 2000 --duration 900`, some minutes before.
"""

import argparse
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).with_name("images")
SIZE = {"width": 1440, "height": 900}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
COLOURS = 256
PATIENCE_MS = 60_000
DRAWN_AFTER_MS = 4_000
CONTEXT = timedelta(days=3)
"""Days shown before the first, which are not computed."""


def main() -> None:
    """Take the pictures, into `docs/images/`."""
    parser = argparse.ArgumentParser(description="Pictures for the README")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    of_what = parser.add_subparsers(dest="what", required=True)
    dagster = of_what.add_parser("dagster")
    dagster.add_argument("url", help="address of Dagster, as `./lakehouse up` prints it")
    dagster.add_argument("--first", type=date.fromisoformat, required=True, help="first day of the backfill")
    dagster.add_argument("--last", type=date.fromisoformat, required=True, help="last day of the backfill")
    live = of_what.add_parser("page")
    live.add_argument("url", help="address of the API")
    live.add_argument("--key", required=True, help="an API key for every table")
    asked = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with browser_page(asked.chromium) as page:
        if asked.what == "page":
            live_page(page, asked.url, asked.key)
            return
        lineage(page, asked.url)
        partitions(page, asked.url, asked.first, asked.last)
        checks(page, asked.url)


@contextmanager
def browser_page(chromium: str) -> Iterator[Page]:
    """A page of a browser that ends with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def lineage(page: Page, url: str) -> None:
    """What `gold.city_hourly` is computed from, back to the topics."""
    page.goto(f"{url}/assets/gold/city_hourly?view=lineage&lineageScope=upstream&lineageDepth=5")
    page.get_by_text("Graph depth").wait_for()
    take(page, "lineage")


def partitions(page: Page, url: str, first: date, last: date) -> None:
    """The days of `gold.city_hourly`, and what the backfill says of the first."""
    page.goto(f"{url}/assets/gold/city_hourly?view=partitions")
    days = page.get_by_placeholder("ex: ")
    days.fill(f"[{first - CONTEXT}...{last}]")
    days.press("Enter")
    page.get_by_text(str(first), exact=True).first.click()
    take(page, "partitions")


def checks(page: Page, url: str) -> None:
    """The checks of `bronze.traffic_events`, with the figures of the audit."""
    page.goto(f"{url}/assets/bronze/traffic_events?view=checks&checkDetail=exactly_once")
    page.get_by_text("Latest execution").wait_for()
    take(page, "checks")


def live_page(page: Page, url: str, key: str) -> None:
    """The zones of a family as they are now, with the windows of one."""
    page.goto(url)
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")
    page.locator("#chart polyline").first.wait_for(state="attached")
    take(page, "live-page")


def take(page: Page, name: str) -> None:
    """Write what the page shows, in the few colours that an interface has."""
    page.wait_for_timeout(DRAWN_AFTER_MS)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    # an octree keeps the few pixels of a rare colour, as the red of a check that failed
    reduced = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


if __name__ == "__main__":
    main()
