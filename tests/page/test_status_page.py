"""The status page in a real browser, beside a bus under load."""

import asyncio
import json
import re
import time
import urllib.request

import pytest
from playwright.async_api import expect

from evbus_like.monitor import page as served
from tests.brokers.ports import free_port
from tests.in_memory.test_http import TOKEN
from tests.integration.commands import read_line_with, start_evbus, wait_for_end
from tests.page.browser import HANG
from tests.page.load import HOSTILE, PLUGINS, loaded, until

POINTS = re.compile(r"\d+\.\d,\d+\.\d \d")  # of a chart that has some
PHONE = {"width": 360, "height": 740}
expect.set_options(timeout=HANG)


def row(page, table, name):
    """The row of a table that begins with a name."""
    return page.locator(f"#{table} tbody tr").filter(has=page.get_by_role("rowheader", name=name, exact=True))


@pytest.fixture
async def load(app, tmp_path):
    """The bus under load."""
    async with loaded(app(**PLUGINS), tmp_path) as running:
        yield running


async def test_it_shows_a_bus_under_load_and_every_change_of_a_state_within_two_seconds(load, page, noted):
    await page.goto(f"{load.url}/")
    north = row(page, "destinations", "pier:north")
    await expect(north).to_contain_text("open")
    await expect(row(page, "destinations", "amqp:away")).to_contain_text("retrying")
    await expect(north.locator("polyline")).to_have_attribute("points", POINTS)
    await expect(page.locator("#troubles")).to_contain_text("destination amqp:away is retrying: cannot connect")
    took = []
    for _ in range(3):
        for state in ("retrying", "open"):
            (load.down.add if state == "retrying" else load.down.discard)("north")
            await until(state, load.hub, "pier:north")
            begun = time.monotonic()
            await expect(north).to_contain_text(state)
            took.append(time.monotonic() - begun)
    assert min(took) < 2.0  # the others on a busy machine

    await expect(page.locator("#troubles li.over")).to_contain_text("pier:north is retrying")
    assert noted.errors == []
    assert {url.removeprefix(load.url) for url in noted.asked} <= {"/", "/events", "/interface", "data:,"}


async def test_it_shows_handlers_dead_letters_the_outbox_and_the_interface(load, page, noted):
    await page.goto(f"{load.url}/")

    await expect(row(page, "handlers", "shipping.ship on internal:default")).to_contain_text("open")
    await expect(page.locator("#dead tbody tr").first).to_contain_text("handler shipping.ship on internal:default")
    await expect(page.locator("#dead tbody tr").first).to_contain_text("dead letter: ")
    await expect(page.locator("#outbox")).to_contain_text("amqp:away: ")
    await page.locator("summary", has_text="orders.placed").click()
    await expect(page.locator("#interface")).to_contain_text('"express": {')
    await expect(page.locator("#interface")).to_contain_text("parcels.where(number: int) – Say where a parcel is.")
    assert noted.errors == []


async def test_it_is_read_at_the_width_of_a_phone_in_light_and_dark_and_by_keyboard(load, page, noted):
    await page.set_viewport_size(PHONE)
    await page.goto(f"{load.url}/")
    await expect(row(page, "destinations", "pier:north")).to_be_visible()
    await expect(page.locator("#interface summary").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    papers = set()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        papers.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2

    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Paused")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")  # closes the events of the interface
    await expect(page.locator("#interface > details").first).not_to_have_attribute("open", "")
    assert noted.errors == []


async def test_whatever_comes_from_outside_is_text(load, page, noted):
    await page.goto(f"{load.url}/")
    await expect(row(page, "destinations", f"pier:{HOSTILE}")).to_contain_text("open")

    status, interface = await read(load.url, "/status"), await read(load.url, "/interface")
    message = f"event: status\ndata: {json.dumps({**hostile(status), 'format': 1})}\n\n"
    await page.route("**/events", lambda route: route.fulfill(body=message, content_type="text/event-stream"))
    await page.route("**/interface", lambda route: route.fulfill(json=hostile(interface)))
    await page.reload()
    await expect(page.locator("#interface")).to_contain_text(HOSTILE)
    await expect(page.locator("#troubles")).to_contain_text(HOSTILE)
    assert await page.locator("img, body script:not(:last-child)").count() == 0
    assert noted.errors == []


async def test_workers_are_merged_by_name_and_each_is_in_a_list(load, page):
    status = await read(load.url, "/status")
    one, two = {**status["processes"][0], "worker": 1}, json.loads(json.dumps(status["processes"][0]))
    two |= {"worker": 2, "pid": 2}
    lanes = [each["bus"]["destinations"]["pier:north"] for each in (one, two)]
    for lane, state, delivered in zip(lanes, ("open", "retrying"), (1000, 234), strict=True):
        lane.update(state=state, delivered=delivered, expired=3 * delivered)
    message = f"event: status\ndata: {json.dumps({**status, 'processes': [one, two]})}\n\n"
    await page.route("**/events", lambda route: route.fulfill(body=message, content_type="text/event-stream"))
    await page.goto(f"{load.url}/")

    north = page.locator("#destinations tbody tr").filter(has_text="pier:north")
    await expect(north).to_contain_text("1 open, 1 retrying")
    await expect(north).to_contain_text("1,234")
    await expect(north).to_contain_text("3,702")  # expired
    await north.locator("summary").click()
    await expect(north.get_by_role("listitem").nth(1)).to_contain_text("worker 2: retrying")


async def test_it_asks_for_the_token_and_keeps_it_in_the_tab(app, page, noted, tmp_path):
    async with loaded(app(**PLUGINS), tmp_path, token=TOKEN) as load:
        await page.goto(f"{load.url}/")
        await expect(page.get_by_label("Token")).to_be_focused()
        assert noted.errors == []
        assert await page.locator("#main").is_hidden()

        await page.keyboard.type("wrong-token-0123456")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("The token is wrong.")
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await expect(row(page, "destinations", "pier:north")).to_contain_text("open")
        await page.reload()
        await expect(row(page, "destinations", "pier:north")).to_contain_text("open")
        assert not any(TOKEN in url for url in noted.asked)


async def test_it_comes_back_by_itself_when_the_process_is_restarted_and_says_so(page, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(
        "import evbus_like.handlers as evbus\n\n"
        '@evbus.handler("orders", "placed")\nasync def ship(hub, event):\n    pass\n'
    )
    port = str(free_port())
    for visit in ("first", "second"):
        process = start_evbus(tmp_path, "run", "--json", "--http", port, credentials=False)
        try:
            await read_line_with(process, process.stdout, '"event": "receiving"')
            if visit == "first":
                await page.goto(f"http://127.0.0.1:{port}/")
            await expect(page.locator("#connection")).to_have_text("● live")
            await expect(page.locator("#processes tbody th")).to_have_text(str(process.pid))
            if visit == "second":
                await expect(page.locator("#troubles")).to_contain_text("was started again at")
            process.terminate()
            code, _, err = await wait_for_end(process)
            assert code == 0, err
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
        await expect(page.locator("#connection")).to_contain_text("no connection since")


def test_the_policy_lets_a_browser_run_nothing_but_the_page_itself():
    html, headers = served.page(needs_token=False)

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")  # no other host
    assert " style=" not in html  # the policy forbids it


async def read(url, path):
    """Give the JSON of a path."""

    def answer():
        with urllib.request.urlopen(url + path, timeout=HANG / 1000) as opened:
            return json.load(opened)

    return await asyncio.to_thread(answer)


def hostile(data, key=""):
    """Give a copy in which every text, and every name of a row, is hostile."""
    if isinstance(data, dict):
        open_ended = key in ("destinations", "handlers", "services", "calls", "pending", "dropped")
        return {(HOSTILE + name if open_ended else name): hostile(each, name) for name, each in data.items()}
    if isinstance(data, list):
        return [hostile(each) for each in data]
    return HOSTILE if isinstance(data, str) else data
