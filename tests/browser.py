"""Headless Chromium as a judge of pages: how wide they are on a phone and on a desk."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PHONE, DESKTOP = (390, 844), (1280, 900)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking",
    # names are not looked up: nothing outside this machine can be reached
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def content_widths(folder: Path, *pages: Path) -> list[tuple[int, int]]:
    """How wide each page's content is on a phone and on a desk, px, with all that can be opened open.

    More than the screen's width: one must scroll sideways.
    """
    # a window is never as narrow as a phone; a frame is
    frames = "".join(
        f'<iframe src="{page.as_uri()}" style="border: 0; width: {width}px; height: {height}px"></iframe>'
        for page in pages
        for width, height in (PHONE, DESKTOP)
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
    widths = [int(width) for width in found[1].split(",")]
    return list(zip(widths[::2], widths[1::2], strict=True))


def run_chromium(folder: Path, *arguments: str) -> str:
    """What it prints. Its profile is kept in `folder`."""
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is missing: apt-get install chromium-headless-shell (envs/debian.txt)")
    command = [chromium, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *arguments]
    # on a machine with more to do than cores it can take a minute to start
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"HOME": str(folder)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
