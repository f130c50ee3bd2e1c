"""The browser inside Airflow's UI: headless Chromium against a real `airflow standalone` in the sandbox.

AESTHETICS_SCREENSHOTS names a directory to save the pictures of docs/ in; nothing is saved without it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest

from tests.support.paths import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DAG = "photo_dataset"
SCREENSHOTS = os.environ.get("AESTHETICS_SCREENSHOTS")
QUALITY = "90"
QUESTION = re.compile(rf"TaskInstance Finished: dag_id={DAG}, task_id=ask, .* state=awaiting_input")
START_SECONDS, RUN_SECONDS, STOP_SECONDS = 900, 900, 90
SLOWEST_MS = 120_000  # of an answer, where the machine has more to do than this

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Locator, Page

playwright_sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")


@dataclass(frozen=True)
class Airflow:
    """A running `airflow standalone`: where it is, who may log in, where its S3 is, and whether its scheduler has seen a question."""

    url: str
    user: str
    password: str
    s3: str
    asked: threading.Event


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """`make airflow`, in a sandbox of its own, whose dataset asks a person about what a gate refuses, and is built when a person says so."""
    name = f"ui-{os.getpid()}"
    config = tmp_path_factory.mktemp("config") / "datasets.toml"
    sample = (ROOT / "samples" / "datasets.toml").read_text()
    nightly = 'schedule = "0 2 * * *"'
    assert nightly in sample
    config.write_text(sample.replace(nightly, 'schedule = ""') + "\nask_on_refusal = true\n")
    variables = {"AESTHETICS_CONFIG": str(config), "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600"}
    if not SCREENSHOTS:
        variables["AESTHETICS_PARTITIONS"] = "2"  # each is two processes more in each run
    command = [sys.executable, str(ROOT / "demo" / "sandbox.py"), name, "airflow", "standalone"]
    process = subprocess.Popen(
        command,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: Queue[str | None] = Queue()
    kept: list[str] = []
    asked = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            kept.append(line)
            del kept[:-200]
            if line.startswith("=== "):
                lines.put(line)
            if QUESTION.search(line):
                asked.set()
        lines.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        try:
            announced = lines.get(timeout=START_SECONDS)
        except Empty:
            announced = None
        found = re.search(r"is up: (\S+) +user (\S+) +password (\S+) +S3 (\S+)", announced or "")
        assert found, "".join(kept[-60:])
        url, user, password, s3 = found.groups()
        yield Airflow(url, user, password, s3, asked)
    finally:
        process.send_signal(signal.SIGTERM)  # the sandbox stops its own children
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(ROOT / ".sandbox" / name, ignore_errors=True)


class Person:
    """Somebody at a browser, who may save what they see."""

    def __init__(self, page: "Page", airflow: Airflow) -> None:
        self.page = page
        self.airflow = airflow
        self._folder = Path(SCREENSHOTS) if SCREENSHOTS else None

    def log_in(self) -> None:
        self.page.goto(self.airflow.url)
        self.page.locator("input[name=username]").fill(self.airflow.user)
        self.page.locator("input[name=password]").fill(self.airflow.password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("link", name="Dags", exact=True).first.wait_for()

    def wait_for_run(self, run_id: str) -> None:
        """Wait until a run has succeeded."""
        assert self._wait_for_state(quote(run_id, safe=""), "success", "failed") == "success"

    def wait_for_question(self, run_id: str) -> None:
        """Wait until a run waits for a person, and the scheduler has seen it: an earlier answer would be lost."""
        assert self._wait_for_state(f"{run_id}/taskInstances/ask", "awaiting_input") == "awaiting_input"
        assert self.airflow.asked.wait(RUN_SECONDS)

    def _wait_for_state(self, of: str, *states: str) -> str | None:
        self.page.goto("about:blank")  # a page of a run asks and draws without end: as much work as the run itself
        address = f"{self.airflow.url}/api/v2/dags/{DAG}/dagRuns/{of}"
        deadline, state = time.monotonic() + RUN_SECONDS, None
        while state not in states and time.monotonic() < deadline:
            self.page.wait_for_timeout(2000)
            state = self.page.request.get(address, timeout=SLOWEST_MS).json().get("state")
        return state

    def widths_of_loaded(self, images: "Locator", *, more_than: int) -> list[int]:
        """Wait until more than so many images are there; return their widths in pixels, 0 for one that is broken."""
        deadline = time.monotonic() + SLOWEST_MS / 1000
        while True:
            found = images.evaluate_all(
                "images => images.filter(image => image.complete).map(image => image.naturalWidth)"
            )
            if len(found) > more_than:
                return list(found)
            if time.monotonic() > deadline:
                pytest.fail(f"{len(found)} of more than {more_than} images are there")
            self.page.wait_for_timeout(200)

    def open_dataset(self, page: str = "") -> None:
        self.page.goto(f"{self.airflow.url}/plugin/datasets/dataset-browser/datasets/{DAG}{page}")

    def save(self, name: str, *, frame: bool = True) -> None:
        """Save what is seen; small enough for a repository."""
        if self._folder is None:
            return
        if frame:
            self.datasets.locator("main").wait_for()
        self.page.wait_for_timeout(800)
        path = self._folder / f"{name}.png"
        self.page.screenshot(path=path)
        shrink(path)

    @property
    def datasets(self) -> "FrameLocator":
        """The browser's pages, in the frame that Airflow shows them in."""
        return self.page.frame_locator("iframe")


def shrink(path: Path) -> None:
    """Reduce a screenshot to few colours, which keeps photos recognisable and text sharp, until it is small enough."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    for colours, dither in (
        (256, Image.Dither.FLOYDSTEINBERG),
        (192, Image.Dither.FLOYDSTEINBERG),
        (128, Image.Dither.NONE),
    ):
        palette = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)
        picture.quantize(palette=palette, dither=dither).save(path, optimize=True)
        if path.stat().st_size < 200_000:
            return


@pytest.fixture(scope="module")
def person(airflow: Airflow) -> Iterator[Person]:
    arguments = [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    with playwright_sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 680}, color_scheme="light")
        page.set_default_timeout(SLOWEST_MS)
        playwright_sync.expect.set_options(timeout=SLOWEST_MS)
        person = Person(page, airflow)
        person.log_in()
        yield person
        browser.close()


def test_without_login_the_browser_answers_401(airflow: Airflow) -> None:
    for path in ("", "style.css", f"datasets/{DAG}", f"datasets/{DAG}/versions/x/shards/train/0/0/photo.jpg"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{airflow.url}/dataset-browser/{path}", timeout=30)  # noqa: S310
        assert refused.value.code == 401
        refused.value.close()


def test_a_person_builds_a_version_from_the_form_and_looks_at_what_came_out(person: Person) -> None:
    page, expect = person.page, playwright_sync.expect

    # trigger the DAG from the form, with one changed setting
    page.goto(f"{person.airflow.url}/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("Pixels", exact=True).click()
    page.get_by_label("JPEG quality").first.fill(QUALITY)
    person.save("trigger-form", frame=False)
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()

    # wait for its end, then follow the link from the publish task to the version
    page.wait_for_url(re.compile(r"/runs/(?!latest)[^/]+"), timeout=SLOWEST_MS)
    run_url = page.url.partition("?")[0]
    person.wait_for_run(unquote(run_url.rpartition("/runs/")[2]))
    page.goto(f"{run_url}/tasks/publish/details")
    link = page.get_by_role("link", name="Dataset version")
    link.scroll_into_view_if_needed()
    person.save("task-link", frame=False)
    link.click()
    heading = person.datasets.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}-[0-9a-f]{6} latest"))
    version = heading.inner_text().split()[0]
    person.save("version")

    # the report
    person.datasets.get_by_role("link", name="Read the report").click()
    report = person.datasets.frame_locator("iframe")
    expect(report.get_by_role("heading", name="Numbers", exact=True)).to_be_visible()
    person.save("report")

    # the photos of a shard
    person.datasets.get_by_role("link", name="Photos", exact=True).click()
    person.datasets.get_by_role("link", name="train 1", exact=True).click()
    photos = person.datasets.locator(".sheet img")
    expect(photos.first).to_be_visible()
    page.wait_for_timeout(1500)
    assert min(person.widths_of_loaded(photos, more_than=3)) > 0
    person.save("photos")

    # search an id
    wanted = photos.nth(2).get_attribute("alt").removeprefix("Photo ")
    person.datasets.get_by_role("link", name="Search", exact=True).click()
    person.datasets.get_by_label("Id of a photo").fill(wanted)
    person.datasets.get_by_role("button", name="Search").click()
    expect(person.datasets.get_by_role("link", name=wanted, exact=True)).to_be_visible()
    person.save("search")

    # a reject's reason
    person.datasets.get_by_role("link", name="Left out", exact=True).click()
    person.datasets.get_by_label("Reason").select_option("corrupt")
    person.datasets.get_by_role("button", name="Show").click()
    expect(person.datasets.get_by_text("The decoder reports damage")).to_be_visible()
    expect(person.datasets.get_by_role("cell", name=re.compile("Premature end of JPEG file"))).to_be_visible()
    person.save("rejects")

    # from a partition task to its shards, and from there to their photos
    page.goto(f"{run_url}/tasks/download_and_convert/mapped/0/details")
    page.get_by_role("link", name="Shards", exact=True).click()
    expect(person.datasets.get_by_role("heading", level=1)).to_have_text("Partition 0")
    expect(person.datasets.get_by_text("read back", exact=True).first).to_be_visible()

    # the nav entry, and the builds
    page.goto(person.airflow.url)
    page.get_by_role("link", name="Datasets", exact=True).first.click()
    expect(person.datasets.get_by_role("link", name=version)).to_be_visible()
    person.datasets.get_by_role("link", name=DAG, exact=True).click()
    person.datasets.get_by_role("navigation", name="Dataset").get_by_role("link", name="Builds").click()
    expect(person.datasets.get_by_role("link", name="published").first).to_be_visible()
    person.save("builds")


def test_a_person_decides_about_a_refused_version_and_everybody_sees_who_moved_what(person: Person) -> None:
    page, expect, airflow = person.page, playwright_sync.expect, person.airflow
    page.request.patch(f"{airflow.url}/api/v2/dags/{DAG}", data={"is_paused": False})
    conf = {"min_records": 1000, "quality": 80}
    started = page.request.post(
        f"{airflow.url}/api/v2/dags/{DAG}/dagRuns",
        data={"logical_date": None, "dag_run_id": "refused", "conf": conf},
    )
    assert started.ok, started.text()
    person.wait_for_question("refused")

    # the candidate, while it waits
    person.open_dataset()
    row = person.datasets.get_by_role("row").filter(has_text="min_records")
    expect(row).to_be_visible()
    version = row.get_by_role("link").first.inner_text()
    row.scroll_into_view_if_needed()
    person.save("candidates")

    # the question, and its answer
    page.goto(f"{airflow.url}/dags/{DAG}/runs/refused/tasks/ask/required_actions")
    expect(page.get_by_text(re.compile("measured 7[0-9], allowed is at least 1000"))).to_be_visible()
    page.locator("[name=element_reason]").fill("the sample is small")
    person.save("question", frame=False)
    with page.expect_response(
        lambda answer: answer.request.method == "PATCH" and "hitlDetails" in answer.url
    ) as answered:
        page.get_by_role("button", name="Approve").click()
    assert answered.value.ok
    person.wait_for_run("refused")

    # pointers and pins from a shell, and how they look
    for words in (("point", "prod", version, "trained well"), ("pin", version, "run-7", "paper of March")):
        run_command(
            airflow, words[0], f"s3://aesthetics/datasets/{DAG}/", *words[1:3], "--reason", words[3], "--by", "ada"
        )
    person.open_dataset()
    expect(person.datasets.get_by_role("row").filter(has_text=version)).to_contain_text("prod")
    person.save("pointers")
    person.open_dataset("/moves")
    expect(person.datasets.get_by_role("row").filter(has_text="promote")).to_contain_text("the sample is small")
    expect(person.datasets.get_by_role("row").filter(has_text="run-7")).to_contain_text("paper of March")
    person.save("moves")


def run_command(airflow: Airflow, *words: str) -> None:
    """Run a command of aesthetics-ops against the sandbox's S3."""
    env = os.environ | {
        "AWS_ENDPOINT_URL": airflow.s3, "AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "aesthetics_ops", *words], env=env, check=True, capture_output=True)
