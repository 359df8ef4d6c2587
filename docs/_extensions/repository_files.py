"""What the pages have on a code host and Sphinx has not: a drawn diagram, and a top folder."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.S | re.M)
ARROW = re.compile(r"^ *(\w+) --> (.+)$", re.M)
REDIRECT = (
    '<!doctype html><title>{name}</title><meta http-equiv="refresh" content="0; url={page}.html">\n'
)


def arrows_as_text(diagram: re.Match[str]) -> str:
    """Return a block of text with a line for every arrow."""
    arrows = [(tail, heads.replace(" & ", ", ")) for tail, heads in ARROW.findall(diagram[1])]
    lines = (f"{tail:<10} may import  {heads}\n" for tail, heads in arrows)
    return f"```text\n{''.join(lines)}```"


def diagrams_as_text(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the diagrams of a page, since the site loads no script that draws them."""
    source[0] = MERMAID.sub(arrows_as_text, source[0])


def redirect_from_the_top(app: Sphinx, exception: Exception | None) -> None:
    """Write an index.html that leads to the first page, which lies in a folder."""
    if exception is None and app.builder.format == "html":
        page = REDIRECT.format(page=app.config.root_doc, name=app.config.project)
        (Path(app.outdir) / "index.html").write_text(page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect both to the build."""
    app.connect("source-read", diagrams_as_text)
    app.connect("build-finished", redirect_from_the_top)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
