"""The two forms of a page, HTML and Markdown, from one template."""

from __future__ import annotations

import re
from typing import Any, Literal

import jinja2
from markupsafe import Markup


def render(body: str, form: Literal["html", "md"], **names: Any) -> str:
    """Return a page in one of its two forms. Names are shown as they are, in both.

    Args:
        body: the template of the text, such as "text.j2".
        form: of the page.
        names: what the template refers to, beside ``spec``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dualadam.compare", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=None if form == "html" else _markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"one_line": _one_line, "unbroken": _unbroken, "code": _code}
    template = environment.get_template(f"report.{form}.j2")
    text = template.render(body=body, form=f"{form}.j2", **{"reload_every": None, **names})
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _markdown(value: object) -> Markup:
    """Escape a value for Markdown; what a macro returned is escaped already."""
    return value if isinstance(value, Markup) else Markup(markdown_text(str(value)))


def _one_line(text: Markup) -> Markup:
    return Markup(" ").join(text.split())


def _unbroken(text: str) -> str:
    """Keep an interval, and a p value, on one line; markup stays markup."""
    number, kind = r"([-+.\de]+)", type(text)
    text = re.sub(rf"\[{number}, {number}\]", "[\\1,\N{NO-BREAK SPACE}\\2]", text)
    text = re.sub(rf"{number} (?=\[)", "\\1\N{NO-BREAK SPACE}", text)
    return kind(re.sub(r" p ([=<]) ", "\N{NO-BREAK SPACE}".join(("", "p", r"\1", "")), text))


def _code(text: str) -> Markup:
    """Return Markdown that shows a text as code, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in (text[:1], text[-1:]) else ""
    return Markup(fence + space + _SPACES.sub(" ", text) + space + fence)


_SPACES = re.compile(r"[^\S\N{NO-BREAK SPACE}]+")
# what has a meaning anywhere; around a word; before a bracket; at the ends of a block
_MARKS = re.compile(
    r"[\\`*$&~<|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])"
    r"|^[#>]|#(?= *$)|^[-+=](?=[ =-]|$)|(?<=^\d)[.)](?= )|(?<=^\d\d)[.)](?= )"
)


def markdown_text(text: str) -> str:
    r"""Return Markdown that shows this text unchanged, but on one line.

    Example:
        >>> print(markdown_text("*a* $x$ b_c <i> | [+0.1, +0.2]"))
        \*a\* \$x\$ b_c \<i> \| [+0.1, +0.2]
    """
    return _MARKS.sub(r"\\\g<0>", _SPACES.sub(" ", text))
