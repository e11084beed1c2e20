"""Headless Chromium as a judge of pages: how wide they are on several screens, and what they look like."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

PHONE, DESKTOP = (390, 844), (1280, 900)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking",
    # names are not looked up: nothing outside this machine can be reached
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def content_widths(
    page: Path, folder: Path, screens: Sequence[tuple[int, int]] = (PHONE, DESKTOP)
) -> list[int]:
    """How wide the page's content is on each screen (width, height), px, with all that can be opened open.

    More than the screen's width: one must scroll sideways.
    """
    # Chromium's own window is never as narrow as a phone; a frame is
    frames = "".join(
        f'<iframe src="{page.as_uri()}" style="border: 0; width: {width}px; height: {height}px"></iframe>'
        for width, height in screens
    )
    outside = folder / "frames.html"
    outside.write_text(
        f"""<!doctype html><body>{frames}<script>
        addEventListener('load', () => {{
            const pages = [...document.querySelectorAll('iframe')].map(frame => frame.contentDocument)
            pages.forEach(page => page.querySelectorAll('details').forEach(one => one.open = true))
            pages.forEach(page => page.querySelectorAll('input').forEach(one => one.checked = true))
            document.body.dataset.widths = pages.map(page => page.documentElement.scrollWidth)
        }})</script>"""
    )
    dom = run_chromium(folder, "--allow-file-access-from-files", "--dump-dom", outside.as_uri())
    found = re.search(r'data-widths="([\d,]+)"', dom)
    assert found, dom
    return [int(width) for width in found[1].split(",")]


def take_picture(page: Path, picture: Path, *, width: int, height: int) -> None:
    """A PNG of the page's first `height` px on a screen of that width."""
    outside = picture.with_suffix(".html")
    outside.write_text(
        f'<!doctype html><body style="margin: 0"><iframe src="{page.as_uri()}" style="border: 0; width: {width}px;'
        f' height: {height}px"></iframe>'
    )
    run_chromium(
        picture.parent,
        f"--screenshot={picture}",
        f"--window-size={max(width, 500)},{height}",
        outside.as_uri(),
    )


def run_chromium(folder: Path, *arguments: str) -> str:
    """What it prints. Its profile is kept in `folder`."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is missing: apt-get install chromium (envs/debian.txt)")
    command = [chromium, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(folder)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
