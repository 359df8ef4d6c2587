"""Formulas as MathML, which every browser draws by itself: the site loads no script for them."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# docutils puts the index of an accented letter below the letter, where a limit would be
ACCENTED = re.compile(
    r"<munderover>\s*(<mi>\w+</mi>)\s*((?:<(m\w+)>.*?</\3>))\s*(<mo stretchy=\"false\">.</mo>)"
    r"\s*</munderover>",
    re.S,
)


def mathml(formula: str, as_block: bool) -> str:
    """Return a formula in LaTeX as MathML."""
    found = tex2mathml(formula, as_block=as_block)
    return ACCENTED.sub(r"<msub><mover>\1\4</mover>\2</msub>", found)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula with lines of its own."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
