"""The documents tell the truth about the project."""

import json
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from renewal_audit.findings import Difference
from renewals.domain.row_attributes import ROW_ATTRIBUTES
from scripts.oncall.__main__ import main
from scripts.transformed import written

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = "AWS::Serverless::Function"


def _ways() -> set[tuple[str, str]]:
    """Return every transition from a state of the workflow to the next state."""
    ways = set()
    for name, state in json.loads((ROOT / "statemachine/renewal.asl.json").read_text())["States"].items():
        followers = [state.get("Next"), state.get("Default")]
        followers += [choice.get("Next") for choice in state.get("Choices", []) + state.get("Catch", [])]
        ways |= {(name, follower) for follower in followers if follower}
    return ways


def test_the_picture_of_the_workflow_is_the_workflow() -> None:
    """README draws every transition between two states, and no further transition."""
    drawn = re.findall(r"^ +(\w+) --> (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(drawn) == _ways()


DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)|src=\"([^\"#]+)\"")


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them: lower case, no punctuation, hyphens for
    blanks."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_into_the_project_leads_somewhere(document: str) -> None:
    """Every file, picture and section that a document links to exists."""
    page = ROOT / document
    for file, section, picture in LINK.findall(page.read_text()):
        target = page.parent / (file or picture) if file or picture else page
        assert target.exists(), target
        assert not section or section in _anchors(target), f"{file}#{section}"


def test_every_page_is_in_the_readmes_index() -> None:
    """README's last section links to every document of the project."""
    index = (ROOT / "README.md").read_text().partition("\n## Where to read on\n")[2]
    linked = set(re.findall(r"\]\(([^)#]+)\)", index))
    assert set(DOCUMENTS) - linked == {"README.md"}


def test_every_parameter_of_the_template_is_documented() -> None:
    """The table of parameters in docs/deploy.md names every parameter of the template."""
    parameters = re.findall(
        r"^  (\w+):$",
        (ROOT / "template.yaml").read_text().split("\nGlobals:")[0].split("\nParameters:")[1],
        re.MULTILINE,
    )
    table = (ROOT / "docs/deploy.md").read_text().partition("\n## Parameters\n")[2]
    assert len(parameters) > 5
    assert [name for name in parameters if f"`{name}`" not in table] == []


def test_the_newest_release_is_the_version_of_the_project() -> None:
    """The newest release in CHANGELOG.md is the version in pyproject.toml, with a date, and stands below Unreleased."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(re.escape(version) + r" \(\d{4}-\d\d-\d\d\)", headings[1])


def test_the_changelog_says_nothing_twice() -> None:
    """A release has each group of changes once, and the changelog has each entry once: merges of both sides repeat."""
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    for release in releases:
        groups = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert len(groups) == len(set(groups)), groups
    entries = [entry for release in releases for entry in re.findall(r"^- (.+)$", release, re.MULTILINE)]
    assert len(entries) == len(set(entries))


def test_decisions_are_numbered_and_dated() -> None:
    """Every decision has its own number and a date within the project's time, and numbers rise by one."""
    text = (ROOT / "DECISIONS.md").read_text()
    assert re.findall(r"^\*\*.+", text, re.MULTILINE) == [], "a decision needs a heading with the next number"
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    parts = [re.fullmatch(r"D(\d+): .+ \((20\d\d-\d\d-\d\d)\)", heading) for heading in headings]
    assert [heading for heading, part in zip(headings, parts, strict=True) if part is None] == []
    assert [int(part[1]) for part in parts if part] == list(range(1, len(headings) + 1))
    assert all(date(2026, 11, 23) <= date.fromisoformat(part[2]) for part in parts if part)


CITES = ("src", "layers", "local", "scripts", "tests", "benchmarks", "docs", ".github", "statemachine")


def test_each_decision_that_is_cited_exists() -> None:
    """Code, documents, template and workflows cite decisions as D12, and every cited number belongs to a decision."""
    decided = set(re.findall(r"^### (D\d+): ", (ROOT / "DECISIONS.md").read_text(), re.MULTILINE))
    suffixes = {".py", ".md", ".yaml", ".yml", ".sh"}
    files = [path for name in CITES for path in (ROOT / name).rglob("*") if path.suffix in suffixes]
    files += [*ROOT.glob("*.md"), ROOT / "template.yaml", ROOT / "Makefile"]
    texts = [re.sub(r"^### .*", "", path.read_text(), flags=re.MULTILINE) for path in files]
    cited = {number for text in texts for number in re.findall(r"(?<![\w.-])D[1-9]\d{0,2}(?![\w-])", text)}
    assert len(cited) > 5
    assert cited - decided == set()


@pytest.mark.parametrize("document", ["SECURITY.md", "CONTRIBUTING.md"])
def test_each_test_that_a_document_names_is_there(document: str) -> None:
    """Each test that the threat model or the lists of files to touch name exists: a promise needs its test."""
    named = re.findall(r"`(\w+\.py)::(\w+)`", (ROOT / document).read_text())
    assert len(named) > 20
    sources = [(path.name, path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    there = {
        (name, test) for name, source in sources for test in re.findall(r"^def (test_\w+)\(", source, re.MULTILINE)
    }
    assert [each for each in named if each not in there] == []


def test_the_files_to_touch_are_there() -> None:
    """Each file that CONTRIBUTING.md names stands in the project, and each list of files names its tests."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|json|yaml|txt|toml))`", text)
    neighbours = [path.parent for path in (ROOT / "src").rglob("*.py")]
    missing = [
        path for path in paths
        if not (ROOT / path).exists() and not any((folder / path).exists() for folder in neighbours)
    ]  # fmt: skip
    assert len(paths) > 30
    assert missing == []
    lists = text.partition("\n## Which files to touch\n")[2].partition("\n## ")[0].split("\n### ")[1:]
    assert [each.partition("\n")[0] for each in lists if "::test_" not in each] == []


# --- what each list of CONTRIBUTING.md promises that a test holds ----------------------------------------------------


def test_each_function_has_its_event_and_its_row_in_readme() -> None:
    """Each function of the template has a sample event, a row in README's table, and a place in the runbook's list."""
    functions = (each["Properties"] for each in written()["Resources"].values() if each["Type"] == FUNCTION)
    folders = {each["Handler"].partition(".")[0] for each in functions}
    readme = (ROOT / "README.md").read_text()
    assert len(folders) > 8
    assert [name for name in folders if not (ROOT / f"events/{name}.json").exists()] == []
    assert [name for name in folders if f"| `src/{name}` |" not in readme] == []
    (logs,) = re.findall(r"The functions are ([\w, -]+)\.", " ".join(_runbook().split()))
    assert {name.replace("-", "_") for name in re.split(", | and ", logs)} == folders


def test_each_attribute_of_a_row_is_documented() -> None:
    """The table in docs/subscriptions.md names each attribute that people give a subscription, and no other."""
    table = (
        (ROOT / "docs/subscriptions.md")
        .read_text()
        .partition("\n## The attributes of a row\n")[2]
        .partition("\n## ")[0]
    )
    documented = {
        name for first in re.findall(r"^\| (`.+?) \| [SN]", table, re.MULTILINE) for name in first.split(", ")
    }
    assert {name.strip("`") for name in documented} == {"subscription_id", *ROW_ATTRIBUTES}


def test_each_difference_of_the_audit_is_documented() -> None:
    """docs/audit.md says what each kind of difference means, and the runbook how to mend the difference."""
    meant = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/audit.md").read_text(), re.MULTILINE)
    assert {name.strip("`") for first in meant for name in first.split(", ")} == set(Difference)
    mended = _runbook().partition("\n## audit-difference\n")[2].partition("\n## ")[0].partition("How to mend")[2]
    assert [kind for kind in Difference if f"`{kind}`" not in mended] == []


def test_the_runbook_sorts_every_alarm() -> None:
    """The table in the runbook's beginning links each alarm once, so that a cause is read before a consequence."""
    table, _, alarms = _runbook().partition("\n# Alarms\n")
    sections = re.findall(r"^## (.+)$", alarms.partition("\n# Operations\n")[0], re.MULTILINE)
    rows = "\n".join(line for line in table.splitlines() if line.startswith("|"))
    assert sorted(re.findall(r"\]\(#([\w-]+)\)", rows)) == sorted(sections)


def _runbook() -> str:
    return (ROOT / "docs/runbook.md").read_text()


def test_the_runbook_names_commands_that_there_are() -> None:
    """The runbook names exactly the existing commands of `oncall`, ready to be typed by a person woken at night."""
    named = set(re.findall(r"\boncall ([a-z-]+)", _runbook()))
    assert named == set(main.commands)


def test_the_runbooks_queries_look_for_what_is_logged() -> None:
    """The runbook's queries look only for lines that functions write: a query for an unwritten line would report that
    nothing is wrong."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    compared = re.findall(r"\b(message|outcome) (?:=|in) (\"[^\"]+\"|\[[^\]]+\])", _runbook())
    texts = {text for _, texts in compared for text in re.findall(r'"([^"]+)"', texts)}
    assert len(texts) > 8
    assert [text for text in texts if f'"{text}"' not in source] == []


def test_the_runbook_searches_logs_for_what_is_logged() -> None:
    """Each text after `oncall log <function>` in the runbook is a text of the code, or part of a text."""
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    runbook = " ".join(_runbook().split())
    found = set(re.findall(r"oncall log [a-z-]+ (?:\"([^\"]+)\"|([a-z_]+))(?=[` ])", runbook))
    texts = {quoted or bare for quoted, bare in found} - {"sub_1"}
    assert len(texts) > 4
    assert [text for text in texts if not re.search(rf'[^"]"(?!"")[^"\n]*\b{text}\b[^"\n]*"', source)] == []
