"""How every page looks on a desk and on a phone, light and dark: measured in headless Chromium, without Airflow."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote

import pytest
from fastapi import Request

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import (
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    published_key,
    shard_key,
    version_key,
)
from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures, WorkFigures
from aesthetics_ops.publishing.documents import DOCUMENTS
from aesthetics_ops.store import Store
from aesthetics_ops.testing.datasets import FIRST_NIGHT, LeftOut, Photo, SyntheticDataset
from tests.support.versions import HOSTILE, new_store, sample_photos, sample_rejects

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
UNBREAKABLE = "x" * 200
LONG_DATASET = "archive_" + "y" * 100
Theme = Literal["light", "dark"]
SIZES = {"desk": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright_sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")

# Returns what is wrong with a page, in words.  Text in a closed <details> or moved out of view takes no part.
LOOK = r"""
() => {
  const wrong = new Set(), words = node => node.textContent.trim().slice(0, 40);
  const parts = colour => { const found = colour.match(/[\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const light = colour => {
    const [r, g, b] = colour.map(value => value / 255).map(value => value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = parts(getComputedStyle(element).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  if (document.documentElement.scrollWidth > innerWidth) wrong.add(`the page scrolls sideways: ${document.documentElement.scrollWidth} px`);
  if (!document.title.trim()) wrong.add("no title");

  const lines = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement, range = document.createRange();
    if (!text.data.trim() || !element.checkVisibility()) continue;
    range.selectNodeContents(text);
    const boxes = [...range.getClientRects()].filter(box => box.width > 1 && box.right > 0);
    if (!boxes.length) continue;
    const style = getComputedStyle(element), drawn = element.closest("svg");
    const [a, b] = [light(parts(drawn ? style.fill : style.color)), light(behind(element))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) wrong.add(`contrast ${contrast.toFixed(1)}: ${words(text)}`);
    if (!drawn && parseFloat(style.fontSize) < 12) wrong.add(`letters of ${style.fontSize}: ${words(text)}`);
    for (const box of boxes) {
      if (box.right > innerWidth + 1 && !element.closest(".table")) wrong.add(`beyond the edge: ${words(text)}`);
      lines.push([box, text]);
    }
  }
  lines.forEach(([a, first], place) => {
    for (const [b, second] of lines.slice(place + 1)) {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (first !== second && across > 2 && down > Math.min(a.height, b.height) / 2)
        wrong.add(`one over the other: ${words(first)} | ${words(second)}`);
    }
  });

  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg")) continue;
    const style = getComputedStyle(element), over = element.scrollWidth > element.clientWidth + 1;
    const cut = (style.overflowX === "hidden" && over) || (style.overflowY === "hidden" && element.scrollHeight > element.clientHeight + 1);
    if (cut) wrong.add(`cut: ${element.tagName} ${element.className}`);
    if (style.overflowX === "auto" && over && innerWidth > 1000) wrong.add(`a table scrolls on a desk: ${words(element)}`);
  }
  for (const element of document.querySelectorAll("a, button, input, select, summary")) {
    const box = element.getBoundingClientRect();
    const within_text = element.closest("p") && getComputedStyle(element).display === "inline";
    if (box.width && box.right > 0 && box.height < 24 && !within_text) wrong.add(`${box.height.toFixed(0)} px high: ${words(element)}`);
  }
  for (const cell of document.querySelectorAll("td, th, p, dd")) {
    const pieces = [...cell.childNodes].filter(node => node.textContent.trim()).length;
    if (pieces > 1 && /grid|flex/.test(getComputedStyle(cell).display)) wrong.add(`a sentence in pieces: ${words(cell)}`);
  }
  for (const image of document.images) {
    if (!image.alt) wrong.add(`no alternative text: ${image.src.slice(-60)}`);
    if (image.complete && !image.naturalWidth) wrong.add(`no picture: ${image.src.slice(-60)}`);
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) wrong.add(`a heading of level ${next} after ${level}: ${words(heading)}`);
    level = next;
  }
  return [...wrong];
}
"""
# Waits for all pictures, also for those out of view.
LOAD_PICTURES = """
() => Promise.all([...document.images].map(image => { image.loading = "eager"; return image.decode().catch(() => null); }))
"""
# Says what has the focus and whether one sees it.
FOCUSED = """
() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.left >= 0 && box.width > 0;
  return {tag: element.tagName, at: [...document.querySelectorAll("*")].indexOf(element), seen};
}
"""


def guard(request: Request) -> set[str]:
    """Let in everybody."""
    return {"flowers", "new", "broken", "damaged", LONG_DATASET}


def _unreachable() -> Store:
    raise StoreUnavailableError(
        f"no answer about 's3://{'bucket' * 9}/LATEST.json' within 30 s; may this machine reach it?"
    )


def _hostile_photos() -> list[Photo]:
    photos = sample_photos()
    for place, name in enumerate((HOSTILE, UNBREAKABLE, "صورة بالعربية", "写真" * 30)):
        photos[place] = replace(photos[place], id=name)
    return photos


WIDE = WorkFigures(
    ConversionFigures(
        seconds=12_345.678, photos=987_654_321, fetched=987_654_321, bytes=1 << 50, get_p50_s=123.456, get_p95_s=1234.567, codec_share=0.78123,
        waiting_s=98_765.4, requests=256, limit="store (slow down)",
    ),
    ValidationFigures(seconds=12_345.678, records=987_654_321, shards=9999, bytes=1 << 50, get_p50_s=12.34, get_p95_s=99.99, waiting_s=123.4),
)  # fmt: skip


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, str]]:
    """The address of every kind of page, served on the loopback interface."""
    import uvicorn

    dataset = SyntheticDataset(new_store(), documents={VersionFile.REPORT: DOCUMENTS[VersionFile.REPORT]})
    store = dataset.store
    first = dataset.publish(sample_photos()[2:], sample_rejects()[:1])
    rejects = [LeftOut(f"{UNBREAKABLE}.jpg", "corrupt", "z" * 250), *sample_rejects()]
    second = dataset.publish(_hostile_photos(), rejects, settings={"quality": 80, "split_salt": UNBREAKABLE})
    digests = [shard.digest for shard in second.manifest.splits["train"].shards]
    dataset.plan("2026-11-23T020000", second.manifest.created_at, [digests[:2], digests[2:]])
    store.put(shard_key("a" * 64, ShardFile.RESULT), b"{}")
    dataset.plan("2026-11-24T020000", FIRST_NIGHT + timedelta(days=9), [["a" * 64, "b" * 64], ["c" * 64]], WIDE)
    store.put(build_key("2026-11-25T020000", BuildFile.ROWS), b"")
    damaged = new_store()
    damaged.put(version_key("20261122T020000Z-0000dead", VersionFile.MANIFEST), b'{"version": 1}')
    damaged.put(published_key("20261122T020000Z-0000dead"), b"{}")
    damaged.put(build_key("2026-11-25T020000", BuildFile.PLAN), b"{")

    opened = {
        "flowers": lambda: store,
        LONG_DATASET: lambda: store,
        "new": new_store,
        "broken": _unreachable,
        "damaged": lambda: damaged,
    }
    server = uvicorn.Server(uvicorn.Config(make_browser(guard, opened), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 300
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        host = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        here = f"{host}/datasets/flowers"
        version = f"{here}/versions/{second.version}"
        yield {
            "datasets": f"{host}/",
            "versions": here,
            "versions of a long name": f"{host}/datasets/{LONG_DATASET}",
            "no versions": f"{host}/datasets/new",
            "versions, one damaged": f"{host}/datasets/damaged",
            "builds, one damaged": f"{host}/datasets/damaged/builds",
            "no builds": f"{host}/datasets/new/builds",
            "nothing to compare": f"{host}/datasets/new/compare",
            "builds": f"{here}/builds",
            "a build": f"{here}/builds/2026-11-24T020000",
            "a build being planned": f"{here}/builds/2026-11-25T020000",
            "a partition": f"{here}/builds/2026-11-23T020000/partitions/0",
            "compare": f"{here}/compare?before={first.version}&after={second.version}",
            "version": version,
            "report": f"{version}/report",
            "report file": f"{version}/report.html",
            "shards": f"{version}/shards/train",
            "photos": f"{version}/shards/train/0",
            "a photo": f"{version}/shards/train/0/0",
            "a photo of a long name": f"{version}/shards/train/0/1",
            "rejects": f"{version}/rejects",
            "rejects of a reason": f"{version}/rejects?reason=corrupt",
            "rejects of a reason that left nothing out": f"{version}/rejects?reason=too_large",
            "search": f"{version}/search",
            "search, found": f"{version}/search?text=x",
            "search, not found": f"{version}/search?text={quote('<b>' * 40)}",
            "no such page": f"{host}/nothing",
            "no such dataset": f"{host}/datasets/{UNBREAKABLE}",
            "no such number": f"{here}?page=x",
            "no answer": f"{host}/datasets/broken",
        }
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with playwright_sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def _see(chromium: "Browser", size: str, theme: Theme) -> "Page":
    width, height = SIZES[size]
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.set_default_timeout(30_000)
    return page


@pytest.mark.parametrize("theme", get_args(Theme))
@pytest.mark.parametrize("size", SIZES)
def test_every_page_can_be_read(chromium: "Browser", pages: dict[str, str], size: str, theme: Theme) -> None:
    wrong = {}
    page = _see(chromium, size, theme)
    for name, address in pages.items():
        page.goto(address)
        page.evaluate(LOAD_PICTURES)
        wrong[name] = page.evaluate(LOOK)
    page.close()
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_two_themes_differ(chromium: "Browser", pages: dict[str, str]) -> None:
    colours = set()
    for theme in get_args(Theme):
        page = _see(chromium, "desk", theme)
        for name in ("datasets", "report file"):
            page.goto(pages[name])
            colours.add((name, page.evaluate("getComputedStyle(document.body).backgroundColor")))
        page.close()
    assert len(colours) == 4


@pytest.mark.parametrize(
    "name", ["datasets", "compare", "version", "photos", "rejects", "search, found", "report file"]
)
def test_every_link_and_field_is_reached_with_the_tab_key_and_is_seen_to_be(
    chromium: "Browser", pages: dict[str, str], name: str
) -> None:
    page = _see(chromium, "desk", "light")
    page.goto(pages[name])
    wanted = set(
        page.evaluate(
            """() => { const every = [...document.querySelectorAll("*")];
            return [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
                .filter(element => element.checkVisibility()).map(element => every.indexOf(element)); }"""
        )
    )
    reached, unseen = set(), []
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["tag"] != "BODY":
            reached.add(focused["at"])
            unseen += [] if focused["seen"] else [focused]
    page.close()
    assert len(wanted) > 3
    assert wanted - reached == set()
    assert unseen == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (f"<p>{'w' * 900}", "the page scrolls sideways"),
        (f"<p>{'w' * 900}", "beyond the edge"),
        ("<p style='color: #999'>faint", "contrast 2.8"),
        ("<p style='font-size: 9px'>tiny", "letters of 9px"),
        ("<p>first<p style='margin-top: -2.2em'>second", "one over the other: first | second"),
        ("<div style='overflow: hidden; height: 1em'><p>a<p>b</div>", "cut: DIV"),
        ("<nav><a href='/'>low</a></nav>", "px high: low"),
        ("<p style='display: grid'><a href='/'>1</a>, <a href='/'>2</a>", "a sentence in pieces: 1, 2"),
        ("<img src='data:,'>", "no alternative text"),
        ("<img src='data:,' alt='gone'>", "no picture"),
        ("<h1>one</h1><h3>three</h3>", "a heading of level 3 after 1"),
        ("", "no title"),
    ],
)
def test_what_is_wrong_with_a_page_is_found(chromium: "Browser", body: str, what: str) -> None:
    page = _see(chromium, "phone", "light")
    page.set_content(f"<!doctype html><body>{body}")
    page.evaluate(LOAD_PICTURES)
    found = page.evaluate(LOOK)
    page.close()
    assert any(what in problem for problem in found), found
