"""The page at ``/`` in a real browser, over a running stack."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from browser import CHROMIUM, ENTER, TAB, Browser, browser
from waiting import until

import contracts
from contracts import served_tables, silver_5m
from settings import Settings
from sources.simulate import SimulationOptions, run_simulation

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FAMILY = contracts.family("weather")
PRESSED = "#zones [aria-pressed=true] strong"


@pytest.fixture(scope="module")
def page(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page with its key, while sensors of a family send."""
    options = SimulationOptions(families=(FAMILY,), sensors=30, rate=60, duration=timedelta(seconds=60))
    sensors = threading.Thread(target=run_simulation, args=(options, settings))
    sensors.start()
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.show(width=1280, height=900, dark=False)
        opened.open(settings.api_url)
        yield opened
    sensors.join()


def text(page: Browser, selector: str) -> str:
    found: str = page.value(f"document.querySelector({selector!r})?.textContent ?? ''")
    return found


def shown_zones(page: Browser) -> set[str]:
    return set(page.value("[...document.querySelectorAll('#zones button')].map(tile => tile.dataset.zone)"))


def enter(page: Browser, key: str) -> None:
    page.value("document.getElementById('key').focus()")
    page.type(key)
    page.press(ENTER)


def test_a_wrong_key_is_said_to_be_wrong(page: Browser) -> None:
    enter(page, "no-such-key")
    until(lambda: "valid key" in text(page, "#key-error"), "the page says that the key is wrong")
    assert page.value("document.getElementById('board').hidden")
    assert page.value("sessionStorage.length") == 0
    noted = "the browser notes the 401 of its own accord"
    until(lambda: page.value("true") and any("401" in complaint for complaint in page.complaints), noted)
    page.complaints.clear()


def test_values_come_by_themselves(page: Browser, settings: Settings) -> None:
    enter(page, settings.api_key.get_secret_value())
    until(lambda: page.value("document.querySelectorAll('#families button').length") == 3, "families are shown")
    page.value(
        f"[...document.querySelectorAll('#families button')].find(b => b.textContent == {FAMILY.name!r}).click()"
    )
    headers = {"X-API-Key": settings.api_key.get_secret_value()}
    measure = next(column.name for column in silver_5m(FAMILY).columns if column.name.endswith("_mean"))

    def measured() -> dict[str, float]:
        """The zones that have a value to show: those of other tests may have none."""
        latest = httpx.get(f"{settings.api_url}/v1/{FAMILY.name}/latest", headers=headers).json()
        return {window["zone"]: value for window in latest["zones"] if (value := window[measure]) is not None}

    until(lambda: not measured().keys().isdisjoint(FAMILY.zones), "a zone has measured")
    zone = next(zone for zone in FAMILY.zones if zone in measured())
    until(lambda: zone in shown_zones(page), f"{zone} is shown")
    page.value(f"document.querySelector('#zones [data-zone={zone}]').click()")
    until(lambda: text(page, "#zone-name") == zone, f"the windows of {zone} are shown")
    until(lambda: bool(re.match(r"-?[0-9.]+ (°C|degC)$", text(page, PRESSED))), f"{zone} has a value")
    until(lambda: text(page, "#rate") not in {"", "–", "0"}, "the rate of the stream is shown")
    until(lambda: page.value("document.querySelectorAll('#chart polyline').length") == 2, "the chart is drawn")
    until(lambda: shown_zones(page) >= measured().keys(), "every zone that measures is shown")
    rows = page.value("[...document.querySelectorAll('#states th')].map(cell => cell.textContent)")
    assert rows == [table.identifier for table in served_tables()]


def test_it_needs_nothing_but_its_server_and_complains_of_nothing(page: Browser, settings: Settings) -> None:
    assert {urlsplit(url).netloc for url in page.requested if url.startswith("http")} == {
        urlsplit(settings.api_url).netloc
    }
    assert page.complaints == []
    assert not any(settings.api_key.get_secret_value() in url for url in page.requested)


def test_a_zone_is_chosen_by_the_keyboard(page: Browser) -> None:
    page.value("document.querySelector('#zones button').focus()")
    page.press(TAB)
    zone = page.value("document.activeElement.dataset.zone")
    page.press(ENTER)
    until(lambda: text(page, "#zone-name") == zone, f"the windows of {zone} are shown")
    assert page.value("document.querySelector('#zones [aria-pressed=true]').dataset.zone") == zone


def test_on_a_phone_in_the_dark(page: Browser) -> None:
    light = page.value("getComputedStyle(document.body).backgroundColor")
    page.show(width=360, height=740, dark=True)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    assert page.value("getComputedStyle(document.body).backgroundColor") != light
    assert page.value("getComputedStyle(document.body).color") != page.value(
        "getComputedStyle(document.body).backgroundColor"
    )
