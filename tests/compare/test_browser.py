"""The report in a real browser, on a phone and on a desk: nothing is wider than the window, and the console stays empty."""

import json
import re
import shutil
import subprocess

import pytest
from compare_cases import ODD_NAMES, TINY, TWO_BLOCKS, folder_of

from dualadam.compare.report import write_report

pytestmark = pytest.mark.integration

LONG = "a-very-long-name-of-an-arm-without-any-place-to-break-it-xyz"
PAGES = {
    "flatness and divergence": ("flatness = true\n" + TINY, {"diverged": ["DualAdam"]}),
    "two blocks": (TWO_BLOCKS, {}),
    "odd names": (ODD_NAMES, {}),
    "long names": (TINY.replace('"AdamW"\noptimizer', f'"{LONG}"\noptimizer'), {}),
}
# a frame is as wide as a phone's window, which a headless window cannot be
FRAMES = """<!doctype html><link rel="icon" href="data:,"><iframe src="{page}" width="390" height="800" style="border:0"></iframe>
<iframe src="{page}" width="1400" height="900" style="border:0"></iframe><pre></pre>
<script>
onload = () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(d => d.open = true);
    const pictures = [...page.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect().width);
    return {{window: frame.contentWindow.innerWidth, page: page.documentElement.scrollWidth, pictures}};
  }});
  document.querySelector("pre").textContent = JSON.stringify(found);
}};
</script>"""


def look_at(page, folder):
    """Open a page at both widths; return what was measured, and what the console said."""
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    assert browser, "these tests need chromium; `make test-integrations` installs it"
    (folder / "frames.html").write_text(FRAMES.format(page=page.as_uri()))
    result = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--dump-dom",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1000",
         "--allow-file-access-from-files", "--enable-logging=stderr", (folder / "frames.html").as_uri()],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    measured = re.search(r"<pre>(.*)</pre>", result.stdout)
    assert measured, result.stdout[-500:] + result.stderr[-2000:]
    return json.loads(measured[1]), [
        line for line in result.stderr.splitlines() if "CONSOLE" in line
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_report_fits_a_phone_and_a_desk_and_says_nothing_on_the_console(name, tmp_path):
    text, options = PAGES[name]
    folder = folder_of(text, tmp_path / "study", **options)
    write_report(folder)
    measured, said = look_at(folder / "report.html", tmp_path)
    assert [frame["window"] for frame in measured] == [390, 1400]
    for frame in measured:
        assert frame["page"] <= frame["window"]
        assert len(frame["pictures"]) >= 5
        assert all(300 <= width <= frame["window"] for width in frame["pictures"])
    assert said == []


def test_what_these_tests_look_for_would_be_seen(tmp_path):
    (tmp_path / "page.html").write_text(
        "<!doctype html><p style='width: 500px'>wide</p><script>missing()</script>"
    )
    measured, said = look_at(tmp_path / "page.html", tmp_path)
    assert measured[0]["page"] > 390
    assert any("missing is not defined" in line for line in said)
