"""The sizes this code promises to keep: files, functions, escapes from the checkers, notes to self."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES, TEST_FILE_LINES, FUNCTION_LINES = 400, 600, 60
LOOP_LINES, HANDLER_LINES = 80, 8
ESCAPES = re.compile(r"#\s*(type:\s*ignore|noqa)")
CODED_ESCAPE = re.compile(r"#\s*(type:\s*ignore\[[\w, -]+\]|noqa:\s*[A-Z]+\d+[\w, ]*)")
BROAD = re.compile(r"except(\s+(Base)?Exception(\s+as\s+\w+)?)?\s*:")
SHIPPED = ("operator/", "runtime/")


@cache
def python_files() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(ROOT / name for name in listed.stdout.split() if (ROOT / name).exists())


def functions_in(body: Iterable[ast.AST]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function below these statements: none hides in an expression, and those are most of a tree."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from functions_in(getattr(node, part, []))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_its_budget() -> None:
    def budget(path: Path) -> int:
        return TEST_FILE_LINES if name_of(path).startswith("tests/") else FILE_LINES

    sizes = {path: len(path.read_text().splitlines()) for path in python_files() if "_generated" not in path.name}
    assert [f"{name_of(path)}: {lines}" for path, lines in sizes.items() if lines > budget(path)] == []


def test_no_function_is_longer_than_its_budget() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in python_files()
        for node in functions_in(ast.parse(path.read_text()).body)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES
    ]
    assert long == []


def test_the_one_loop_fits_on_a_page() -> None:
    assert len((ROOT / "operator/neuron_operator/reconcile.py").read_text().splitlines()) <= LOOP_LINES


def test_handlers_only_hand_on() -> None:
    """Whatever one decides belongs into the reconcile."""
    handlers = ast.parse((ROOT / "operator/neuron_operator/handlers.py").read_text())
    (feed,) = [node for node in handlers.body if isinstance(node, ast.ClassDef)]
    public = [node for node in functions_in(feed.body) if not node.name.startswith("_")]
    assert {node.name for node in public} >= {"know", "forget"}
    assert [node.name for node in public if body_lines(node) > HANDLER_LINES] == []


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without the signature and the docstring."""
    first = node.body[1 if ast.get_docstring(node) is not None and len(node.body) > 1 else 0]
    return (node.end_lineno or first.lineno) - first.lineno + 1


def escapes(path: Path) -> list[str]:
    return [
        f"{name_of(path)}:{number} {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if ESCAPES.search(line) and path != Path(__file__)
    ]


def test_every_escape_from_a_checker_names_its_rule() -> None:
    assert [found for path in python_files() for found in escapes(path) if not CODED_ESCAPE.search(found)] == []


def test_shipped_code_hardly_escapes_its_checkers() -> None:
    found = [escape for path in python_files() if name_of(path).startswith(SHIPPED) for escape in escapes(path)]
    assert len(found) <= 5, found


def test_shipped_code_catches_everything_only_at_its_edges() -> None:
    """One reconcile, one frame of a worker, and a library whose Rust side raises plain Exception."""
    broad = [
        f"{name_of(path)}:{number}"
        for path in python_files()
        if name_of(path).startswith(SHIPPED)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if BROAD.search(line)
    ]
    assert len(broad) <= 3, broad


def test_no_notes_to_self_are_left() -> None:
    note = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    assert [name_of(path) for path in python_files() if note.search(path.read_text())] == []
