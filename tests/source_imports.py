"""The references of a source file to modules of dualadam, from its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dualadam

SOURCE = Path(dualadam.__file__).parent
NAMEDTUPLE_API = {"_asdict", "_fields", "_make", "_replace"}
PATH = re.compile(r"dualadam(\.\w+)+")  # a string that names a module or an attribute


@dataclass(frozen=True)
class Reference:
    """One use of a name of dualadam.

    Attributes:
        name: the full dotted name, such as ``dualadam.optim.DualAdam``.
        imported: by an import statement; else it is an attribute or a string.
        in_function: whether it stands in the body of a function.
    """

    name: str
    imported: bool
    in_function: bool

    @property
    def room(self) -> str:
        """The first part below ``dualadam``, which may be a public name of the package."""
        return self.name.split(".")[1]

    @property
    def private_owner(self) -> str | None:
        """The package or module whose private name this is; None for a public name."""
        parts = self.name.split(".")
        for index, part in enumerate(parts):
            dunder = part.startswith("__") or part == "_version"
            if part.startswith("_") and not dunder and part not in NAMEDTUPLE_API:
                return ".".join(parts[:index])
        return None


def module_name(file: Path) -> str:
    """Return the dotted name of a source file."""
    parts = ["dualadam", *file.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def references(source: str) -> list[Reference]:
    """Return all references of a source text."""
    return list(_references(ast.parse(source), {}, in_function=False))


def _references(node: ast.AST, names: dict[str, str], *, in_function: bool) -> Iterator[Reference]:
    """Yield the references below a node; ``names`` maps local names to dotted ones."""
    for child in ast.iter_child_nodes(node):
        for name in _imported(child, names):
            yield Reference(name, True, in_function)
        if (name := _used(child, names)) is not None:
            yield Reference(name, False, in_function)
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _references(child, names, in_function=in_function or is_function)


def _imported(node: ast.AST, names: dict[str, str]) -> list[str]:
    """Return what an import statement imports from dualadam, and note its local names."""
    found = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] == "dualadam":
                found.append(alias.name)
                names[alias.asname or "dualadam"] = alias.name if alias.asname else "dualadam"
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        for alias in node.names:
            if node.module.split(".")[0] == "dualadam":
                found.append(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = found[-1]
    return [name for name in found if "." in name]


def _used(node: ast.AST, names: dict[str, str]) -> str | None:
    """Return the dotted name of an attribute, or of a string that is one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if PATH.fullmatch(node.value) else None
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not parts or not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])
