"""Digests of Python source by its syntax tree: edits of logic change them; of comments, format or docstrings, do not.

The digests of a script and of the modules it imports say which code makes a result. They are the same on every machine
and under every Python version. Modules are read, never imported. Only Python modules of this package are looked at:
third-party packages and data files are not.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from itertools import groupby
from pathlib import Path
from typing import Any

from backtranslation.errors import UserError

DIGEST_LENGTH = 16

# Rooms of the package that carry results or answer questions about them, but do not make them; what they import does
# not count either. The values of the settings reach a stage only through its spec, which is part of a result's key.
LEFT_OUT = frozenset({"jobs", "settings", "commands"})

# A name is read or set by where it stands; a kind is the u of u""; a lazy import is still an import.
FIELDS_WITHOUT_MEANING = frozenset({"ctx", "kind", "is_lazy"})

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_digests(
    script: Path, chosen: Collection[str] = (), package: Path = Path(__file__).parent.parent
) -> dict[str, str]:
    """Digests, by module name, of a script (under its file name) and of every module of a package that it imports.

    `chosen` modules are imported by a name in the settings, which no import statement shows. `package` is the package's
    folder. Imports of imports count, and so do those inside functions. Raises UserError naming file and line if a
    module cannot be parsed.
    """
    digests: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [(script.name, script)]
    for name in _with_parents(chosen):
        seen.add(name)
        if found := _find_module(name, package):
            waiting.append((name, found))
    while waiting:
        module, path = waiting.pop()
        digests[module], imports = read_source(path)
        for name in _names_with_parents(imports, module, path):
            if name not in seen and not _is_left_out(name, package):
                seen.add(name)
                if found := _find_module(name, package):
                    waiting.append((name, found))
    return dict(sorted(digests.items()))


def _is_left_out(name: str, package: Path) -> bool:
    """Whether a dotted name is that of a room that is left out, or of a module in it."""
    return any(f"{name}.".startswith(f"{package.name}.{room}.") for room in LEFT_OUT)


def read_source(path: Path) -> tuple[str, frozenset[str]]:
    """Digest of a file, and the dotted names of the modules and of the names in modules that it imports.

    Relative names keep their leading dots. Raises UserError naming file and line if the file cannot be parsed.
    """
    status = path.stat()
    return _read_version(path, status.st_mtime_ns, status.st_size)


@cache
def _read_version(path: Path, mtime_ns: int, size: int) -> tuple[str, frozenset[str]]:
    """As `read_source`, once for each version of a file: many scripts import the same modules."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UserError(f"{path}: line {error.lineno}: {error.msg}") from None
    return hashlib.sha256(canonical_form(tree).encode()).hexdigest()[:DIGEST_LENGTH], frozenset(_imported_names(tree))


# Imports


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that a module, a statement or a part of one imports, at any depth."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = "." * node.level + (f"{node.module}." if node.module else "")
        yield from (origin + alias.name for alias in node.names)
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for part in _statements_that_run(node, getattr(node, field, [])):
            yield from _imported_names(part)


def _names_with_parents(names: frozenset[str], module: str, path: Path) -> Iterator[str]:
    """Absolute forms of the names that a module imports, and their parents: the packages above a module run first."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    absolute = []
    for name in names:
        with suppress(ImportError):  # above the outermost package: Python cannot import it either
            absolute.append(resolve_name(name, package))
    yield from _with_parents(absolute)


def _with_parents(names: Iterable[str]) -> set[str]:
    """Dotted names, and those of the packages above them."""
    return {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}


def _find_module(name: str, package: Path) -> Path | None:
    """The file of a module of the package; None for other modules, and for what is no module but a name in one."""
    top, *parts = name.split(".")
    if top != package.name:
        return None
    folder = package.joinpath(*parts)
    files = (folder / "__init__.py", folder.with_name(f"{folder.name}.py"))
    return next((file for file in files if file.is_file()), None)


# Syntax trees


def canonical_form(value: Any) -> str:
    """A syntax tree, or a literal in one, as text like that of `ast.dump`, but the same under every Python version.

    Newer versions add fields that are empty in older code, so fields that are None or an empty list are left out.
    """
    if not isinstance(value, ast.AST):
        return _canonical_literal(value)
    fields = []
    for name in value._fields:
        content = getattr(value, name, None)
        if isinstance(content, list):
            if items := _items_with_meaning(value, content):
                fields.append(f"{name}=[{','.join(map(canonical_form, items))}]")
        elif content is not None and name not in FIELDS_WITHOUT_MEANING:
            fields.append(f"{name}={canonical_form(content)}")
    return f"{type(value).__name__}({','.join(fields)})"


def _canonical_literal(value: Any) -> str:
    """A name or constant in ASCII; equal numbers of different types differ."""
    if isinstance(value, str):
        return ascii(value)  # not repr: which characters that escapes depends on the version
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, complex):
        return f"complex({value.real.hex()},{value.imag.hex()})"
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # not repr: that has a limit
    return repr(value)  # None, True, False, bytes, ...


def _items_with_meaning(node: ast.AST, items: list[Any]) -> list[Any]:
    """The items of a list in a node, but for those that change nothing."""
    if isinstance(node, ast.JoinedStr):
        return _merge_constants(items)
    if items and isinstance(items[0], ast.stmt):
        return _statements_that_run(node, items)
    return items


def _statements_that_run(node: ast.AST, statements: list[Any]) -> list[Any]:
    """Statements (or handlers, or cases) of a node without docstring, type checkers' imports and `pass`.

    `pass` does nothing, and may take the place of a docstring that was all there was.
    """
    if isinstance(node, DOCUMENTED) and statements and _is_text(statements[0]):
        statements = statements[1:]
    running = []
    for statement in statements:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            running += _statements_that_run(statement, statement.orelse)
        elif not isinstance(statement, ast.Pass):
            running.append(statement)
    return running


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a string and nothing else."""
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING` or `typing.TYPE_CHECKING`, which is false whenever code runs."""
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _merge_constants(values: list[Any]) -> list[Any]:
    """The parts of an f-string with neighbouring texts joined and empty ones left out: versions differ in them."""
    merged: list[Any] = []
    for is_text, group in groupby(values, lambda value: isinstance(value, ast.Constant)):
        if not is_text:
            merged += group
        elif text := "".join(constant.value for constant in group):
            merged.append(ast.Constant(text))
    return merged
