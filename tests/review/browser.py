"""Chromium in a test: the app's page, driven as a reviewer does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.review.projects import HEIGHT, WIDTH

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
WHY_SKIPPED = "needs Chromium: apt-get install chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000.0


@contextmanager
def page_of(profile: Path, outside: list[str]) -> Iterator[Any]:
    """Give a page of a new browser; addresses elsewhere that answered go to ``outside``."""
    from playwright.sync_api import sync_playwright

    def note(request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            outside.append(request.url)

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            headless=True,
            args=ARGUMENTS,
            viewport={"width": 1400, "height": 900},
        )
        context.set_default_timeout(PATIENCE)
        page = context.pages[0]
        page.on("requestfinished", note)
        yield page
        context.close()


class Reviewer:
    """What a reviewer does in the app."""

    def __init__(self, page: Any, url: str, shots: Path) -> None:
        self.page, self.url, self._shots = page, url, shots

    def open(self, sample: str = "") -> None:
        """Open the data set, or one of its pictures."""
        self.page.goto(f"{self.url}?id={sample}" if sample else self.url, wait_until="commit")
        if sample:
            self.page.get_by_text("Annotate", exact=True).first.wait_for()
        else:
            self.page.locator("[data-cy=looker]").first.wait_for()

    def shot(self, name: str) -> Path:
        """Save what the page shows."""
        path = self._shots / f"{name}.png"
        self.page.screenshot(path=str(path))
        return path

    def annotate(self, sample: str, label: str | None = None) -> None:
        """Open a picture's Annotate tab, and one of its labels there."""
        self.open(sample)
        self.page.get_by_text("Annotate", exact=True).first.click()
        self.page.get_by_text("person", exact=True).last.wait_for()
        if label:
            self.page.get_by_text(label, exact=True).last.click()
            self.page.get_by_text("Edit Detection").wait_for()
            self.page.get_by_role("radio").first.wait_for()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the page."""
        area = self.page.locator("#modal canvas").first.bounding_box()
        scale = min(area["width"] / WIDTH, area["height"] / HEIGHT)
        left = area["x"] + (area["width"] - WIDTH * scale) / 2
        top = area["y"] + (area["height"] - HEIGHT * scale) / 2
        return left + x * scale, top + y * scale

    def drag(self, *points: tuple[float, float]) -> None:
        """Press at the first pixel, move over the others, let go at the last."""
        mouse = self.page.mouse
        mouse.move(*self.place(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.place(*point), steps=12)
        mouse.up()

    def tool(self, name: str) -> None:
        """Take a tool of the Annotate tab."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def draw_box(self) -> None:
        """Take the tool that draws boxes: the third of the row under "Create"."""
        row = self.page.get_by_text("Create", exact=True).bounding_box()
        self.page.mouse.click(row["x"] + 136, row["y"] + 36)

    def act(self, button: str, notice: str) -> None:
        """Press a button beside the open picture by its icon, and wait for what it says."""
        self.page.locator("#modal span.material-icons", has_text=button).click()
        self.page.get_by_text(notice).first.wait_for()

    def key(self, keys: str, notice: str) -> None:
        """Press keys, and wait for what that says."""
        self.page.keyboard.press(keys)
        self.page.get_by_text(notice).first.wait_for()

    def choose(self, keys: str, title: str) -> Any:
        """Press the keys that ask something; return the dialog."""
        self.page.locator(".MuiDialog-root").wait_for(state="detached")
        self.page.keyboard.press(keys)
        dialog = self.page.locator("[role=dialog]", has_text=title)
        dialog.wait_for()
        return dialog

    def close(self, dialog: Any) -> None:
        """Close a dialog; the app draws it anew as it fills, and then a click is lost."""
        from playwright.sync_api import TimeoutError

        for _ in range(20):
            with suppress(TimeoutError):
                dialog.get_by_role("button", name="Close").click(timeout=3000)
                dialog.wait_for(state="hidden", timeout=3000)
                return
            if not dialog.count():
                return
        dialog.wait_for(state="hidden")

    def change_class(self, to: str, notice: str) -> None:
        """Give the selected labels another class by its keys."""
        dialog = self.choose("Shift+C", "Class of the selected labels")
        dialog.get_by_role("combobox").click()
        self.page.get_by_role("option", name=to).click()
        dialog.get_by_role("button", name="Change").click()
        self.page.get_by_text(notice).first.wait_for()

    def click(self, x: float, y: float) -> None:
        """Click on a pixel of the open picture."""
        self.page.mouse.click(*self.place(x, y))

    def wait_for_mask(self, colour: int) -> None:
        """Wait until the open picture shows a mask of a colour: 0 red, 1 green, 2 blue."""
        while self._coloured(colour) < 20_000:
            self.page.wait_for_timeout(100)

    def _coloured(self, colour: int) -> int:
        """Count the open picture's pixels in which a colour is the strongest by far."""
        area = self.page.locator("#modal canvas").first.bounding_box()
        data = self.page.screenshot(clip=area)
        pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)
        others = np.delete(pixels, colour, axis=2).max(2)
        return int((pixels[..., colour] > others + 30).sum())

    def saved(self) -> Any:
        """Wait, as a context manager, until the app has saved what is done inside."""
        return self.page.expect_response(
            lambda answer: answer.request.method == "PATCH" and answer.ok
        )
