"""Digests of source: which edits change them, which modules they follow, and whether what is left out can be."""

import ast
import importlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtranslation.errors import UserError
from backtranslation.jobs.source_digests import LEFT_OUT, canonical_form, read_source, source_digests
from backtranslation.settings.generation import ENGINES
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.slices import Slice

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
SETTINGS = sorted((ROOT / "backtranslation/settings").glob("[a-z]*.py"))

# Most kinds of nodes, and all those that Python versions are known to parse in different ways.
SAMPLE = '''
"""Module."""
from __future__ import annotations
import os.path as p, sys
from . import a as b
from ..c import *
X: int = 0x10; Y: list[int]; (z): str = u"kind"
NUMBERS = 1, 1.0, True, 1j, -0.0, 1e999, 0xFFFFFFFFFFFFFFFFFFFF, None, ..., b"\\xff", "\\ud800\\x85é"
def f(a, /, b: int = 1, *args: *Ts, c=None, d, **kwargs) -> "str":
    """Function."""
    global G
    x = lambda q, *r, s=2: (yield q)
    def g():
        nonlocal x
        return [*a, {**b, "k": 1}, {*c}, (i for i in a if i for j in i)]
    while (n := x) and not -n or ~n:
        n **= 2; n @= 3; del a[1:2, ::3, ...], b.c
        if n < 1 <= 2 != 3 is not None in a not in b: continue
        elif n: break
    else: pass
    return f"" "a" f"{a!r:>{b}}{{" "b" f"{c = }{d:}" f"{f'{e:{f}{g:.2f}}'}{'x' 'y'}" rf"\\d{h,}"
@decorator(1, *a, k=2, **b)
class C(Base, metaclass=M):
    """Class."""
    def only_text(self): """Nothing."""
async def h():
    async with a as (b, c), d: await e
    async for i, *j in [k async for k in l]: assert i, "no"
    return {k: v for k, v in m} if n else {o for o in p}
def t():
    try: raise E from None
    except (A, B) as e: raise
    except C: pass
    else: x
    finally: y
    try: z
    except* D as group: w
    with (open("a") as a, b): yield from c
def m(x):
    match x:
        case 1 | -1.5 | "s" | None | True: a
        case [first, *rest, _] if b: c
        case {"k": v, **others}: d
        case P(1, q=2) as r: e
        case a.b: f
        case _: g
'''


def form(source: str) -> str:
    return canonical_form(ast.parse(source))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x  =  1  # one\n\n"),
        ("x = (1, 2)", "x = (\n    1,\n    2,\n)"),
        ("x = 'a'", 'x = "a"'),
        ("x = 'a' 'b'", "x = 'ab'"),
        ("x = f'a{y}b'", "x = 'a' f'{y}' 'b' f''"),
        ("x = u'a'", "x = 'a'"),
        ("x = 0x10", "x = 1_6"),
        ("", '"""Module."""'),
        ("x = 1", '"""Module."""\nx = 1'),
        ("def f(): return 1", 'def f():\n    """Function."""\n    return 1'),
        ("async def f(): return 1", 'async def f():\n    """Function."""\n    return 1'),
        ("class C: x = 1", 'class C:\n    """Class."""\n    x = 1'),
        ("def f(): 'one'", "def f(): 'two'"),
        ("def f(): 'text'", "def f(): pass"),
        ("def f(): 'text'", "def f():\n    'text'\n    pass"),
        ("x = 1", "if TYPE_CHECKING:\n    import y\nx = 1"),
        ("x = 1", "if typing.TYPE_CHECKING:\n    import y\nelse:\n    x = 1"),
    ],
)
def test_edits_that_change_nothing(before: str, after: str) -> None:
    assert form(before) == form(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "y = 1"),
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 1.0", "x = 1.0 + 0j"),
        ("x = 1j", "x = 2j"),
        ("x = 0.1", "x = 0.10000000000000002"),
        ("x = 0.0", "x = -0.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = 'None'", "x = None"),
        ("x = 'y'", "x = y"),
        ("x = ...", "x = None"),
        ("x = '\\x85'", "x = '\\\\x85'"),
        ("x = f'{y}'", "x = f'{{y}}'"),
        ("x = f'{y}'", "x = f'{y!r}'"),
        ("x = f'{y}'", "x = f'{y:>5}'"),
        ("x = y[1:]", "x = y[:1]"),
        ("x = {**y, 'z': 1}", "x = {'z': 1, **y}"),
        ("f(x)", "f(*x)"),
        ("f(x=y)", "f(x, y)"),
        ("def f(a, b): return a", "def f(a, *, b): return a"),
        ("def f(*, a, b=1): return a", "def f(*, a=1, b): return a"),
        ("def f(x: int): return x", "def f(x: str): return x"),
        ("def f(): return 1", "async def f(): return 1"),
        ("def f(): return 'text'", "def f(): 'text'"),
        ("def f():\n    x()\n    'text'", "def f():\n    x()\n    'other'"),
        ("x()\ny()", "y()\nx()"),
        ("if x:\n    y()\nz()", "if x:\n    y()\n    z()"),
        ("if x: y()", "while x: y()"),
        ("if x: y()", "if not x: y()"),
        ("if TYPE_CHECKING:\n    y()\nelse:\n    x()", "if TYPE_CHECKING:\n    y()\nelse:\n    z()"),
        ("x = 1", "if not TYPE_CHECKING:\n    x = 1"),
        ("try: x()\nexcept E: y()", "try: x()\nexcept* E: y()"),
        ("import a.b", "import a.c"),
        ("import a", "import a as b"),
        ("from . import a", "from .. import a"),
    ],
)
def test_edits_that_change_something(before: str, after: str) -> None:
    assert form(before) != form(after)


def test_how_a_python_version_cuts_an_f_string_changes_nothing() -> None:
    """Python 3.12.1, for one, leaves texts apart that others join."""
    whole = ast.JoinedStr([ast.Constant("ab"), ast.FormattedValue(ast.Name("x"), -1)])
    cut = ast.JoinedStr([ast.Constant("a"), ast.Constant("b"), *whole.values[1:], ast.Constant("")])
    assert canonical_form(whole) == canonical_form(cut)


@given(st.lists(st.tuples(st.integers(0, SAMPLE.count("\n")), st.text(" \t")), max_size=9), st.text("ab \\'\"{(:é"))
def test_comments_and_blank_lines_change_nothing(places: list[tuple[int, str]], comment: str) -> None:
    lines = SAMPLE.split("\n")
    for number, (place, indent) in enumerate(places):
        lines.insert(place, indent + f"#{comment}" * (number % 2))
    assert form("\n".join(lines)) == form(SAMPLE)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with modules, an inner package, and modules that are left out."""
    files = {
        "__init__": "",
        "one": "import os\nx = 1",
        "two": "from library.one import x",
        "circle": "import library.circle\nfrom library import two",
        "settings": "from library import one",
        "jobs/__init__": "",
        "jobs/progress": "from library import one",
        "inner/__init__": "from .three import name",
        "inner/three": "name = 3",
        "inner/four": "from . import five\nfrom .. import one\nfrom ... import out_of_reach",
        "inner/five": "",
    }
    for name, source in files.items():
        file = tmp_path / "library" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return tmp_path / "library"


def digests_of(source: str | bytes, package: Path) -> dict[str, str]:
    """Digests of a script, written to a folder of its own, and of what it imports."""
    script = Path(tempfile.mkdtemp(dir=package.parent)) / "script.py"
    script.write_bytes(source if isinstance(source, bytes) else source.encode())
    return source_digests(script, package=package)


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import os, numpy.linalg", ""),
        ("import library", ""),
        ("import library.one", "one"),
        ("import library.one as o, library.inner.five", "one inner inner.three inner.five"),
        ("from library import one, nothing", "one"),
        ("from library.one import x as y", "one"),
        ("from library.one import *", "one"),
        ("from library.inner import name", "inner inner.three"),
        ("from library.inner import four", "inner inner.three inner.four inner.five one"),
        ("import library.two", "two one"),
        ("import library.circle", "circle two one"),
        ("def f():\n    class C:\n        import library.one", "one"),
        ("try: x\nexcept E: import library.one", "one"),
        ("try: x\nfinally:\n    with y: import library.one", "one"),
        ("match x:\n    case 1: import library.one", "one"),
        ("for x in y: pass\nelse: import library.one", "one"),
        ("if TYPE_CHECKING: import library.one", None),
        (
            "if typing.TYPE_CHECKING: import library.one\nelse: import library.inner.five",
            "inner inner.three inner.five",
        ),
        ("if TYPE_CHECKING: import library.two\nelif x: import library.one", "one"),
        ("import library.settings\nfrom library.jobs import progress\nfrom library.settings import Slice", ""),
    ],
)
def test_imports_are_followed(source: str, modules: str | None, package: Path) -> None:
    """`modules` below the package; None where not even the package itself is imported."""
    imports_package = modules is not None and "library" in source
    expected = {"script.py"} | {f"library.{name}" for name in (modules or "").split()}
    assert set(digests_of(source, package)) == expected | ({"library"} if imports_package else set())


def test_an_edit_changes_the_digest_of_its_module_alone(package: Path) -> None:
    script = package.parent / "script.py"
    script.write_text("import library.two")
    before = source_digests(script, package=package)
    (package / "one.py").write_text("import os\nx = 2")
    os.utime(package / "one.py", ns=(0, 0))  # file systems tell times of some milliseconds apart only
    after = source_digests(script, package=package)
    assert {name for name in before if before[name] != after[name]} == {"library.one"}


def test_how_a_file_is_encoded_changes_nothing(package: Path) -> None:
    source = 'x = "é"\ny = """one\ntwo"""\n'
    sources = [source.encode(), source.encode("utf-8-sig"), source.replace("\n", "\r\n").encode()]
    sources.append(b"# -*- coding: latin-1 -*-\n" + source.encode("latin-1"))
    assert len({digests_of(each, package)["script.py"] for each in sources}) == 1


def test_a_syntax_error_names_file_and_line(package: Path) -> None:
    (package / "one.py").write_text("x = 1\ny = = 2\n")
    with pytest.raises(UserError, match=r"one\.py: line 2: invalid syntax"):
        digests_of("import library.two", package)


def test_digests_are_those_of_every_python_version(package: Path) -> None:
    """Any other digest here means that no result made before is found again."""
    assert digests_of(SAMPLE, package) == {"script.py": "92b07fc0170df2c5"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_modules_of_the_scripts(script: Path) -> None:
    digests = source_digests(script)
    assert {script.name, "backtranslation"} < set(digests)
    assert not {name.split(".")[1] for name in digests if name.count(".") > 1} & LEFT_OUT
    assert list(digests) == sorted(digests)


def test_late_imports_of_imports_are_followed() -> None:
    digests = source_digests(ROOT / "scripts" / "generate_instructions.py")
    assert {"backtranslation.models.engine", "backtranslation.models.loading"} <= set(digests)
    assert not [name for name in digests if name.startswith("backtranslation.models.engines.")], "none is chosen yet"


@pytest.mark.parametrize(
    ("chosen", "modules"),
    [((), "one"), (("library.inner.five",), "one inner inner.three inner.five"), (("library.two",), "one two")],
)
def test_chosen_modules_and_their_imports_count(chosen: tuple[str, ...], modules: str, package: Path) -> None:
    script = package.parent / "script.py"
    script.write_text("import library.one")
    expected = {"script.py", "library"} | {f"library.{name}" for name in modules.split()}
    assert set(source_digests(script, chosen, package)) == expected


# Why whole rooms can be left out

# All that code behind results takes from the machinery: it says how far the work is, keeps what a killed job goes on
# from, and starts and ends processes. A module that decides what a result is does not belong there.
MACHINERY = {
    "bounds": {"ALL", "Ended", "Items", "work_in_bounds"},
    "checkpoints": {"Checkpoints", "latest_checkpoint", "step_of"},
    "contract": {"Input", "Output", "Workplace"},
    "journal": {"complete_journal"},
    "process": {"StoppedError", "die_with_parent", "run_script", "start_job"},
    "progress": {"Progress", "count_tokens", "log", "report", "track", "work_folder"},
    "server_process": {"ServerProcess", "fill_in", "free_port"},
    "stage": {"PARENT", "run_stage"},
    "trackers": {"open_trackers"},
    "work_files": {"COMPLETIONS", "LABEL"},
}


def test_a_module_that_makes_results_is_noticed_in_a_room_that_is_left_out() -> None:
    used: dict[str, set[str]] = {}
    for path in files_behind_results():
        for name in read_source(path)[1]:
            if name.startswith("backtranslation.jobs."):
                _, _, module, imported = name.split(".")
                used.setdefault(module, set()).add(imported)
    assert used == MACHINERY
    commands = [name for path in files_behind_results() for name in read_source(path)[1] if ".commands" in name]
    assert commands == []


# Code of the settings that runs behind results although no digest shows it, and why that is harmless.
CODE_OF_SETTINGS = {
    "load_settings": "puts the settings in the report's spec into the order of their models",
    "identity": "leaves out of them what that spec does not hold",
    "modules": "names the module of the chosen engine or judge, whose code is in the key by itself",
}


def files_behind_results() -> list[Path]:
    """All files that digests stand for, whatever engine and judge are chosen."""
    chosen = [engine.module for engine in ENGINES.values()] + [*JudgeServer(url="https://a", model="a").modules()]
    modules = {name for script in SCRIPTS for name in source_digests(script, chosen)}
    files = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("backtranslation/**/*.py")
    }
    return [*SCRIPTS, *sorted(path for path, name in files.items() if name.removesuffix(".__init__") in modules)]


def test_only_models_types_and_faults_are_imported_from_the_settings() -> None:
    """What models hold comes from the spec, and so is in the key; what a function does would not be."""
    imports = {name for path in files_behind_results() for name in read_source(path)[1]}
    names = {name for name in imports if name.startswith("backtranslation.settings")}
    assert "backtranslation.settings.slices.Slice" in names
    for name in names:
        module, _, name = name.rpartition(".")
        if name in CODE_OF_SETTINGS:
            continue
        value = getattr(importlib.import_module(module), name)
        is_model_or_fault = isinstance(value, type) and issubclass(value, Slice | UserError)
        assert is_model_or_fault or get_origin(value) is Annotated, name


def test_methods_of_the_settings_are_for_the_rules() -> None:
    """Code behind a result only reads fields."""
    modules = [importlib.import_module(f"backtranslation.settings.{path.stem}") for path in SETTINGS]
    values = [value for module in modules for value in vars(module).values()]
    models = [value for value in values if isinstance(value, type) and issubclass(value, Slice)]
    methods = {name for model in models for name, value in vars(model).items() if callable(value) and name[0] != "_"}
    assert {"only", "without", "loading"} <= methods
    for path in files_behind_results():
        calls = (node.func for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
        called = {function.attr for function in calls if isinstance(function, ast.Attribute)}
        assert not called & methods - set(CODE_OF_SETTINGS), path
