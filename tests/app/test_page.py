"""The page in a real browser: what a visitor does, sees and takes away."""

from __future__ import annotations

import json
import signal
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from autolabel.media.video import open_video, read_frames
from autolabel.store import Project
from autolabel.tiny.scenes import make_clip, make_scene
from tests.browser import CHROMIUM, FLAGS, WITHOUT, Watched, served, watch, watch_page
from tests.pictures import write_video

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WITHOUT)
SCENE, CLIP, CLIP_FRAMES = 21, 11, 5


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def server(kept: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Return the address of a page with the bundled pair, and its process."""
    limits = ("--max-seconds", "2", "--max-mb", "1")
    with served("--models", "tiny", "--device", "cpu", "--keep", kept, *limits) as up:
        yield up[0], psutil.Process(up[1].pid)


@pytest.fixture(scope="module")
def profile(browser: Any) -> Any:
    return browser.new_context(accept_downloads=True)


@pytest.fixture
def seen(profile: Any, server: Any) -> Iterator[Watched]:
    """Return the page as a visitor opens it; at the end nothing may be amiss."""
    seen = watch_page(profile, server[0])
    yield seen
    no_complaints(seen)
    seen.page.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "my scene.png"
    Image.fromarray(make_scene(SCENE).image).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, [one.image for one in islice(make_clip(CLIP), CLIP_FRAMES)])


def asked(seen: list[Any]) -> str:
    """Return the prompts that find these objects, each shape a class."""
    return ", ".join(dict.fromkeys(f"{one.name} = {one.shape}" for one in seen))


def ask(page: Any, words: str, told: str) -> None:
    """Type what to find, and see that the page shows this class."""
    page.fill("#al-quick textarea", words)
    page.wait_for_selector(f"#al-classes li >> text={told} >> nth=0")


def add(page: Any, kind: str, *files: Path) -> None:
    """Upload files."""
    if kind == "video":
        page.get_by_role("tab", name="Video").click()
    page.set_input_files(f"#al-{kind}-file input[type=file]", [str(file) for file in files])
    page.wait_for_selector(f"#al-{kind}-file >> text={files[-1].stem[:6]}")


def label(page: Any, kind: str) -> None:
    """Press Label and wait for the end."""
    page.eval_on_selector_all(
        f"#al-{kind}-status .al-note", "notes => notes.forEach(one => { one.id = 'old'; })"
    )
    page.click(f"#al-{kind}-run")
    page.wait_for_selector(f"#al-{kind}-status .al-note:not(#old)")
    page.wait_for_selector(f"#al-{kind}-run:not([disabled])")


def rows(page: Any, kind: str) -> list[str]:
    """Return the table of objects as it is seen."""
    return [
        one.inner_text().replace("\n", "").replace("\t", " ")
        for one in page.query_selector_all(f"#al-{kind}-objects tbody tr")
        if one.is_visible()
    ]


def take(page: Any, button: str, target: Path) -> Path:
    """Press a button that ends in a download, and return the file."""
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(target)
    return target


def no_complaints(seen: Watched) -> None:
    """Nothing came from elsewhere, nothing failed, nobody sees a traceback."""
    assert seen.elsewhere() == []
    assert seen.complaints == []
    assert "Traceback" not in seen.page.content()


def test_a_picture_is_labelled_selected_anew_and_taken_away(
    seen: Watched, scene: Path, kept: Path, tmp_path: Path
) -> None:
    page = seen.page
    objects = list(make_scene(SCENE).objects)
    ask(page, asked(objects), objects[0].shape)
    add(page, "image", scene)
    page.locator("#al-image-prompt").get_by_text("Point", exact=True).click()
    label(page, "image")
    found = rows(page, "image")
    assert len(found) >= 2
    assert page.locator("#al-image-gallery .o:visible > path").count() == len(found)
    drawn = take(page, "#al-image-save", tmp_path / "drawn.jpg")
    assert Image.open(drawn).size == (256, 256)

    lowest = min(float(row.split()[2]) for row in found)
    page.fill("#al-image-threshold input[type=number]", f"{lowest + 0.01:.2f}")
    page.wait_for_function(
        "count => [...document.querySelectorAll('#al-image-objects tbody tr')]"
        ".filter(row => row.offsetParent).length < count",
        arg=len(found),
    )
    fewer = rows(page, "image")
    archive = take(page, "#al-image-zip", tmp_path / "coco.zip")
    with zipfile.ZipFile(archive) as zipped:
        labels = json.loads(zipped.read("annotations.json"))
        assert any(name.endswith(".png") for name in zipped.namelist())
    assert len(labels["annotations"]) == len(fewer)

    page.click("#al-image-keep")
    page.wait_for_selector("#al-image-files >> text=Kept in")
    (folder,) = kept.glob("*my-scene")
    with Project.open(folder, readonly=True) as project:
        ((media, instances),) = project.iter_labelled()
        assert (media.name, len(instances)) == ("my scene.png", len(fewer))
        assert media.path == str(folder / "media" / "my scene.png")
        assert project.meta()["prompt_type"] == "point"


def test_a_clip_is_tracked_with_each_kind_of_prompt(
    seen: Watched, clip: Path, tmp_path: Path
) -> None:
    page = seen.page
    objects = [one for frame in islice(make_clip(CLIP), CLIP_FRAMES) for one in frame.objects]
    page.fill("#al-quick textarea", asked(objects))
    add(page, "video", clip)
    for prompt in ("Box", "Point", "Mask"):
        page.locator("#al-video-prompt").get_by_text(prompt, exact=True).click()
        label(page, "video")
        tracks = rows(page, "video")
        assert tracks
        assert all("#" in row and "0 to" in row for row in tracks)
        page.wait_for_function("document.querySelector('#al-video-player video').readyState >= 2")
        if prompt == "Box":
            page.click("#al-video-copy button")
        page.wait_for_selector(f"#al-video-command >> text=--prompt-type {prompt.lower()}")
    # A track goes as a whole, from the export too.
    page.fill("#al-video-threshold input[type=number]", "1")
    page.wait_for_selector("#al-video-status >> text=No objects found")
    archive = take(page, "#al-video-zip", tmp_path / "coco.zip")
    labels = json.loads(zipfile.ZipFile(archive).read("annotations.json"))
    assert labels["annotations"] == []
    video = take(page, "#al-video-save", tmp_path / "again.mp4")
    assert open_video(video).codec == "h264"
    assert len(list(read_frames(video))) == CLIP_FRAMES


def test_wrong_videos_are_refused_in_a_sentence(seen: Watched, tmp_path: Path) -> None:
    page = seen.page
    page.fill("#al-quick textarea", "red star")
    fake = tmp_path / "notes.mp4"
    fake.write_text("these are my notes\n" * 100)
    add(page, "video", fake)
    label(page, "video")
    assert "notes.mp4: not a video in a format that is read" in page.inner_text("#al-video-status")

    page.click("#al-video-file button[aria-label='Clear'], #al-video-file button[title='Clear']")
    frames = [scene.image for scene in islice(make_clip(CLIP), 4)]
    long = write_video(tmp_path / "longer.mp4", frames * 8)
    add(page, "video", long)
    label(page, "video")
    told = page.inner_text("#al-video-status")
    assert "longer.mp4 is 3 seconds long; 2 seconds at most here" in told


def test_an_ontology_shows_its_errors_at_their_line(seen: Watched) -> None:
    page = seen.page
    page.get_by_role("tab", name="Ontology").click()
    page.set_input_files(
        "#al-load input[type=file], input[type=file][accept*=yaml]",
        {
            "name": "classes.yaml",
            "mimeType": "application/yaml",
            "buffer": b"classes:\n  - name: car\n    threshold: 3\n",
        },
    )
    page.wait_for_selector("#al-errors [role=alert]")
    told = page.inner_text("#al-errors")
    assert "ontology:3: threshold: found 3, allowed: 0 to 1" in " ".join(told.split())
    assert page.inner_text("#al-errors tr.here").split() == ["3", "threshold:", "3"]
    page.fill("#al-quick textarea", "car, dog = ${alert(1)} <b>{{pet}}")
    page.wait_for_selector("#al-classes li >> nth=1")
    assert "${alert(1)} <b>{{pet}}" in page.inner_text("#al-classes")
    assert "prompts: [dog]" in page.inner_text("#al-yaml")


def test_nothing_found_offers_what_came_nearest(seen: Watched, scene: Path, tmp_path: Path) -> None:
    page = seen.page
    objects = list(make_scene(SCENE).objects)
    ask(page, asked(objects), objects[0].shape)
    page.fill("#al-image-start input[type=number]", "1")
    empty = tmp_path / "empty.png"
    empty.touch()
    add(page, "image", scene, empty)
    page.locator("#al-image-prompt").get_by_text("Mask", exact=True).click()
    label(page, "image")
    failed = page.inner_text("#al-image-status .al-error")
    assert failed == "empty.png: the file is empty (0 bytes)"  # and not where it lies
    told = page.inner_text("#al-image-status")
    assert "No objects found that reach the threshold. The nearest below it" in told
    best = page.inner_text("#al-image-status .al-chips li >> nth=0").split()[-1]
    assert rows(page, "image") == []
    page.click("#al-image-nearest")
    page.wait_for_selector("#al-image-objects tbody tr >> visible=true")
    assert best in rows(page, "image")[0]
    page.wait_for_selector("#al-image-nearest", state="hidden")
    assert "No objects found" not in page.inner_text("#al-image-status")


def test_two_visitors_get_their_own_results(
    browser: Any, server: Any, scene: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(make_scene(SCENE + 1).image).save(other)
    both = [watch(browser, server[0]) for _ in range(2)]
    given = [(scene, "mine"), (other, "yours")]
    for seen, seed, (path, name) in zip(both, (SCENE, SCENE + 1), given, strict=True):
        words = ", ".join(dict.fromkeys(f"{one.name} = {name}" for one in make_scene(seed).objects))
        ask(seen.page, words, name)
        add(seen.page, "image", path)
    for seen in both:
        seen.page.click("#al-image-run")
    for seen, (path, name) in zip(both, given, strict=True):
        seen.page.wait_for_selector("#al-image-objects tbody tr >> visible=true")
        assert {row.split()[0] for row in rows(seen.page, "image")} == {name}
        told = seen.page.get_attribute("#al-image-gallery svg", "aria-label")
        assert told == f"{path.name} with its labels"
        no_complaints(seen)
        seen.page.context.close()


def workers(server: psutil.Process) -> list[psutil.Process]:
    """Return the server's worker processes that are alive."""
    return [
        one
        for one in server.children()
        if one.status() != psutil.STATUS_ZOMBIE
        and "autolabel.app.worker" in " ".join(one.cmdline())
    ]


def held(server: psutil.Process) -> psutil.Process:
    """Return the worker that takes the next job, stopped where it is."""
    for _ in range(10_000):
        if found := workers(server):
            found[-1].suspend()
            return found[-1]
    raise AssertionError("there is no worker")


def test_the_page_survives_a_crash_and_a_cancel_is_immediate(
    browser: Any, server: Any, scene: Path
) -> None:
    address, process = server
    first, second = watch(browser, address), watch(browser, address)
    for seen in (first, second):
        ask(seen.page, "cat", "cat")
        add(seen.page, "image", scene)
    worker = held(process)
    first.page.click("#al-image-run")
    first.page.wait_for_selector("#al-image-status >> text=Loading the models")
    second.page.click("#al-image-run")
    second.page.wait_for_selector("#al-image-status >> text=You are next")
    worker.send_signal(signal.SIGSEGV)
    worker.resume()
    psutil.wait_procs([worker], timeout=10)
    worker = held(process)
    first.page.wait_for_selector("#al-image-status >> text=crashed (signal SIGSEGV)")
    second.page.wait_for_selector("#al-image-status >> text=Loading the models")
    second.page.click("#al-image-cancel")
    second.page.wait_for_selector("#al-image-status >> text=Cancelled")
    assert psutil.wait_procs([worker], timeout=5)[1] == []
    second.page.wait_for_selector("#al-image-run:not([disabled])")
    for seen in (first, second):
        no_complaints(seen)
        seen.page.context.close()


def test_uploads_are_limited_and_nothing_else_is_served(
    seen: Watched, server: Any, tmp_path: Path
) -> None:
    address, process = server
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG" + bytes(2 * 2**20))
    answer = seen.page.request.post(
        f"{address}/gradio_api/upload",
        multipart={
            "files": {"name": "a.png", "mimeType": "image/png", "buffer": large.read_bytes()}
        },
    )
    assert answer.status == 413
    (root,) = [
        path
        for path in Path(tempfile.gettempdir()).glob("autolabel-app-*")
        if process.pid in {one.pid for one in holders(path / "lock")}
    ]
    (root / "visits" / "secret.txt").write_text("secret")
    for path in ("/etc/passwd", f"{root}/visits/secret.txt", f"{root}/lock"):
        assert seen.page.request.get(f"{address}/gradio_api/file={path}").status in (403, 404)
    policy = seen.page.request.get(address).headers["content-security-policy"]
    assert "default-src 'self'" in policy


def holders(path: Path) -> list[psutil.Process]:
    """Return the processes that have a file open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(one.path == str(path) for one in process.open_files()):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.parametrize("width", [1280, 360])
def test_what_isnt_taken_is_refused_in_the_page_before_it_is_sent(
    browser: Any, server: Any, scene: Path, tmp_path: Path, width: int
) -> None:
    seen = watch(browser, server[0], viewport={"width": width, "height": 740})
    page = seen.page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.get_by_text("Your outlines appear here").is_visible()
    field, note = "#al-image-file input[type=file]", page.locator("#al-image-refused")
    large = tmp_path / "<b>large.png"
    large.write_bytes(bytes(2**20 + 1))
    gif, clip = tmp_path / "moving.gif", tmp_path / "clip.MP4"
    for path in (gif, clip):
        path.write_bytes(b"x")
    assert not note.is_visible()
    for files, told in (
        (
            [scene, large],
            "<b>large.png has 1.1 MB; 1 MB at most here. Nothing was added: make it smaller, "
            "or use the command line, which has no limit.",
        ),
        (
            [gif],
            "moving.gif is not a picture that is read here: expected .bmp .jpeg .jpg .png .tif "
            ".tiff .webp.",
        ),
        ([clip], "clip.MP4 is a video: upload it in the Video tab."),
    ):
        page.set_input_files(field, [str(path) for path in files])
        assert note.inner_text() == told
        assert note.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert not [url for url in seen.requests if "upload" in url]
    add(page, "image", scene)
    assert not note.is_visible()
    no_complaints(seen)
    page.context.close()
