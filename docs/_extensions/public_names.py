"""The directive `public-names MODULE`: every name of a module's `__all__`, from its docstring."""

from __future__ import annotations

import importlib
import inspect

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock
from sphinx.util.docutils import SphinxDirective

MEMBERS = "   :members:"


def kind(value: object) -> str:
    """Return what autodoc calls the kind of a value."""
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def autodoc_lines(module: str, shown_by: str | None = None) -> list[str]:
    """Return directives of autodoc for the public names of a module, in the order of `__all__`.

    Args:
        module: a module with `__all__`.
        shown_by: another module; names that it has too are left out.
    """
    public = importlib.import_module(module)
    shown = set(importlib.import_module(shown_by).__all__) if shown_by else set()
    lines = []
    for name in public.__all__:
        if name not in shown and name != "__version__":
            value = getattr(public, name)
            what = kind(value)
            if what == "data":  # autodoc would print the docstring of its type
                lines += [f".. py:data:: {module}.{name}", f"   :type: {type(value).__name__}", ""]
            else:
                lines.append(f".. auto{what}:: {module}.{name}")
                lines += [MEMBERS, ""] if what == "class" else [""]
    return lines


class PublicNames(SphinxDirective):
    """Expands to the reference of one module."""

    required_arguments = 1
    option_spec = {"shown-by": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the parsed reference."""
        module = self.arguments[0]
        with mock(self.config.autodoc_mock_imports):
            self.env.note_dependency(importlib.import_module(module).__file__)
            lines = autodoc_lines(module, self.options.get("shown-by"))
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
