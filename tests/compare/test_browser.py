"""The report in a real browser, as wide as a phone and as a desktop: it fits, without errors."""

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
# frames, since a headless window cannot be as narrow as a phone
FRAMES = """<!doctype html><link rel="icon" href="data:,">
<iframe src="{page}" width="390" height="800" style="border:0"></iframe>
<iframe src="{page}" width="1400" height="900" style="border:0"></iframe><pre></pre>
<script>
// intervals [low, high] of cells and paragraphs that are on two lines
const broken = page => [...page.querySelectorAll("td, p")].flatMap(cell => {{
  const node = cell.firstChild;
  return [...(node?.data ?? "").matchAll(/\\[[^\\]]*\\]/g)].filter(found => {{
    const range = page.createRange();
    range.setStart(node, found.index);
    range.setEnd(node, found.index + found[0].length);
    return range.getClientRects().length > 1;
  }}).map(found => found[0]);
}});
// the column of means, after a click on its head and after a second one
const sorted = page => {{
  const table = page.querySelector("table.cards");
  if (!table) return null;
  const button = table.querySelectorAll("th button")[2];
  const column = () => [...table.tBodies[0].rows].map(row => Number(row.cells[2].textContent));
  return [1, 2].map(() => (button.click(), column()));
}};
onload = () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(d => d.open = true);
    const figures = [...page.querySelectorAll("figure svg")];
    return {{
      window: frame.contentWindow.innerWidth,
      page: page.documentElement.scrollWidth,
      pictures: figures.map(svg => svg.getBoundingClientRect().width),
      broken: broken(page),
      sorted: sorted(page),
    }};
  }});
  document.querySelector("pre").textContent = JSON.stringify(found);
}};
</script>"""

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--dump-dom",
]


def look_at(page, folder):
    """Open a page at both widths; return what was measured, and the lines of the console."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    assert browser, "these tests need chromium; `make test-integrations` installs it"
    (folder / "frames.html").write_text(FRAMES.format(page=page.as_uri()))
    options = [f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1000", *OPTIONS]
    result = subprocess.run(
        [browser, *options, (folder / "frames.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
    )
    measured = re.search(r"<pre>(.*)</pre>", result.stdout)
    assert measured, result.stdout[-500:] + result.stderr[-2000:]
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(measured[1]), console


@pytest.mark.parametrize("name", PAGES)
def test_a_report_fits_a_phone_and_a_desktop_and_the_console_stays_empty(name, tmp_path):
    text, options = PAGES[name]
    folder = folder_of(text, tmp_path / "study", **options)
    write_report(folder)
    measured, said = look_at(folder / "report.html", tmp_path)
    assert [frame["window"] for frame in measured] == [390, 1400]
    for frame in measured:
        assert frame["page"] <= frame["window"]
        assert len(frame["pictures"]) >= 5
        assert all(300 <= width <= frame["window"] for width in frame["pictures"])
        assert frame["broken"] == []
        up, down = frame["sorted"]
        assert up == sorted(up)
        assert down == sorted(up, reverse=True)
    assert said == []


def test_a_page_that_is_too_wide_or_has_errors_would_be_noticed(tmp_path):
    (tmp_path / "page.html").write_text(
        "<!doctype html><p style='width: 500px'>wide</p><script>missing()</script>"
    )
    measured, said = look_at(tmp_path / "page.html", tmp_path)
    assert measured[0]["page"] > 390
    assert any("missing is not defined" in line for line in said)
