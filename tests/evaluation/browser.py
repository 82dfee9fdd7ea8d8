"""Pages in a browser, as narrow as a phone."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FRAME = """<!doctype html><body style="margin:0">
<iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe");
const started = setInterval(() => {{
  const page = frame.contentDocument;
  // At first the frame holds an empty page.
  if (page.URL !== "about:srcdoc" || page.readyState !== "complete") return;
  if (page.querySelector("script") && !page.body.dataset.ready) return;
  clearInterval(started);
  {act}
  document.body.dataset.found = {result};
}}, 20);
</script></body>"""


SIDEWAYS = "page.documentElement.scrollWidth - page.documentElement.clientWidth"


def in_frame(path: Path, width: int, result: str, act: str = "") -> str:
    """Return a JavaScript expression of `page`, the document of a page of this width in pixels.

    `act` is done before. A frame, because a window of a browser is 500 pixels wide at least.
    """
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("chromium is not installed")
    text = html.escape(path.read_text(encoding="utf-8"), quote=True)
    outer = path.with_name("frame.html")
    outer.write_text(FRAME.format(width=width, page=text, result=result, act=act), "utf-8")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=30000", "--window-size=1500,1000"]
    command += [f"--user-data-dir={path.parent / 'profile'}", outer.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    found = re.search(r'<body[^>]* data-found="([^"]*)"', done.stdout.decode())
    assert found, "the page is not ready"
    return html.unescape(found[1])


def overflow(path: Path, width: int) -> int:
    """Return by how many pixels a page of this width scrolls sideways."""
    return int(in_frame(path, width, SIDEWAYS))
