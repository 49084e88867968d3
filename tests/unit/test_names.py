"""Names and comments of the source, read from its syntax trees: a name has a single meaning, and an ignored error has a
reason."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

from tests import sources

ROOT = Path(__file__).parents[2]
SOURCES = {path: sources.tree(path) for path in sorted((ROOT / "src").rglob("*.py"))}
SCRIPTS = {path: sources.tree(path) for path in sorted((ROOT / "scripts").rglob("*.py"))}
CLASSES = [node for tree in SOURCES.values() for node in sources.walked(tree) if isinstance(node, ast.ClassDef)]

_QUESTION = re.compile(r"_?(is|has|may|can|was|are|had)_")
_OF_A_CLASS = re.compile(r"\b([A-Z]\w+)\.(\w+)")
_RAISED = re.compile(r"\b[Rr]aises ((?:[A-Z]\w+)(?:(?:,? and |, | or )[A-Z]\w+)*)")
_OF_A_MODULE = re.compile(r"\brenewals\.(\w+)(?:\.(\w+))?(?:\.(\w+))?")


def _where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def test_no_two_classes_share_a_name() -> None:
    """No two classes share a name, models of the API included: a reader of a class's name knows the class in every
    module."""
    names = [node.name for node in CLASSES]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_a_name_that_asks_a_question_is_answered_by_yes_or_no() -> None:
    """A function named like a question returns a bool: `if switch.is_on(...)` never tests an always true object."""
    functions = ((path, node) for path, tree in SOURCES.items() for node in sources.walked(tree))
    wrong = [
        f"{_where(path, node)} {node.name}"
        for path, node in functions
        if isinstance(node, ast.FunctionDef) and _QUESTION.match(node.name)
        if node.returns is None or ast.unparse(node.returns) != "bool"
    ]
    assert wrong == []


def test_a_row_is_raw_and_a_subscription_is_parsed() -> None:
    """A parameter or field `row` is the table's raw mapping and never a parsed Subscription, nor what is known of one:
    nobody reads `row.amount` where only `row["amount"]` exists."""
    named = [
        (path, node, node.arg if isinstance(node, ast.arg) else ast.unparse(node.target), node.annotation)
        for path, tree in (SOURCES | SCRIPTS).items()
        for node in sources.walked(tree)
        if isinstance(node, ast.arg | ast.AnnAssign)
    ]
    parsed = {"Subscription", "Subscription | None", "Known"}
    typed = [(_where(path, node), name, ast.unparse(kind)) for path, node, name, kind in named if kind is not None]
    wrong = [
        f"{where} {name}: {kind}"
        for where, name, kind in typed
        if (name == "row" and kind in parsed) or (name == "subscription" and kind not in parsed)
    ]
    assert wrong == []
    assert sum(name == "subscription" for _, name, _ in typed) > 20


def _docstrings(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield the docstrings of modules, classes and functions, and the texts below attributes."""
    for node in sources.walked(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node, node.value.value


def _members(name: str) -> set[str]:
    """Return the members of a class: names in the class body, in our own base classes, and set by methods on `self`."""
    found: set[str] = set()
    for each in (node for node in CLASSES if node.name == name):
        for node in ast.walk(each):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Name):
                found.add(node.id)
        for base in each.bases:
            found |= _members(ast.unparse(base))
    return found


def _is_there(room: str, module: str, name: str) -> bool:
    path = ROOT / "src/renewals" / room / f"{module or '__init__'}.py"
    if not path.exists():
        return False
    named = {node.id for node in sources.walked(SOURCES[path]) if isinstance(node, ast.Name)}
    named |= {node.name for node in sources.walked(SOURCES[path]) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return not name or name in named


def test_what_a_docstring_names_is_there() -> None:
    """Every class member and module name mentioned in a docstring exists under the mentioned name."""
    ours = {node.name for node in CLASSES}
    gone = []
    for path, tree in SOURCES.items():
        for node, text in _docstrings(tree):
            of_classes = (f"{owner}.{member}" for owner, member in _OF_A_CLASS.findall(text)
                          if owner in ours and member not in _members(owner))  # fmt: skip
            of_modules = (".".join(("renewals", *filter(None, path))) for path in _OF_A_MODULE.findall(text)
                          if not _is_there(*path))  # fmt: skip
            gone += [f"{_where(path, node)} {each}" for each in (*of_classes, *of_modules)]
    assert gone == []


def test_what_a_docstring_says_is_raised_is_there() -> None:
    """Every error announced in a docstring is a class of ours or Python's own, under the present name."""
    known = {node.name for node in CLASSES} | set(dir(builtins))
    imports = (node for tree in SOURCES.values() for node in sources.walked(tree) if isinstance(node, ast.ImportFrom))
    known |= {alias.name for node in imports for alias in node.names}
    gone = [
        f"{_where(path, node)} {name}"
        for path, tree in SOURCES.items()
        for node, text in _docstrings(tree)
        for names in _RAISED.findall(text)
        for name in re.findall(r"[A-Z]\w+", names)
        if name not in known
    ]
    assert gone == []


def _suppressed(tree: ast.AST) -> Iterator[ast.With]:
    """Yield the places that ignore an Overtaken error instead of repeating the write or answering."""
    for node in sources.walked(tree):
        if isinstance(node, ast.With) and any("suppress(Overtaken" in ast.unparse(each) for each in node.items):
            yield node


def test_who_ignores_being_overtaken_says_why() -> None:
    """Every place that continues after a faster writer has the reason beside it, and ignores only a single write."""
    silent, seen = [], 0
    for path, tree in SOURCES.items():
        lines = path.read_text().splitlines()
        for node in _suppressed(tree):
            seen += 1
            has_reason = "  # " in lines[node.lineno - 1] or lines[node.lineno - 2].lstrip().startswith("# ")
            if not has_reason or len(node.body) != 1:
                silent.append(_where(path, node))
    assert silent == []
    assert seen > 10


_MOST_ANY_IN_A_THOUSAND = 8


def test_what_has_no_type_is_rare() -> None:
    """`Any`, which turns mypy's checks off, stands at most eight times in 1,000 lines of the source."""
    nodes = (each for tree in SOURCES.values() for each in sources.walked(tree))
    names = [each for each in nodes if isinstance(each, ast.Name | ast.alias)]
    count = sum((each.id if isinstance(each, ast.Name) else each.name) == "Any" for each in names)
    lines = sum(len(path.read_text().splitlines()) for path in SOURCES)
    assert 1000 * count <= _MOST_ANY_IN_A_THOUSAND * lines


_FOR_TYPES_ALONE = ("mypy_boto3", "renewals.domain.stored", "stripe.params")


def test_types_cost_nothing_at_run_time() -> None:
    """Imports for type checkers stand under TYPE_CHECKING: no function loads such modules at its start."""
    loaded, seen = [], 0
    for path, tree in SOURCES.items():
        guarded = {
            each
            for node in sources.walked(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for each in ast.walk(node)
        }
        for node in sources.walked(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_FOR_TYPES_ALONE):
                seen += 1
                loaded += [_where(path, node)] if node not in guarded else []
    assert loaded == []
    assert seen > 20
