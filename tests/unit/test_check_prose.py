"""`scripts.check_prose` counts the pro-forms in docstrings, and fails above its limits."""

from pathlib import Path

import pytest

from scripts.check_prose import FOLDERS, MOST_README_LINES, Count, Docstring, check, docstrings, show, total

SENTENCE = (
    "The sweep finds renewals that are due, sends a message for every renewal to the queue, and counts the messages."
)
PLAIN = f'"""{SENTENCE}"""\n'
WORDY = '"""What it finds is sent there."""\n'


def project(root: Path, source: str = PLAIN, *, readme_lines: int = MOST_README_LINES) -> Path:
    """Make a project in which every folder holds a module with the given source."""
    for folder in FOLDERS:
        (root / folder / "package").mkdir(parents=True)
        (root / folder / "package" / "module.py").write_text(source)
    (root / "README.md").write_text("line\n" * readme_lines)
    return root


def test_docstrings_of_modules_classes_and_functions_are_counted(tmp_path: Path) -> None:
    """Every docstring counts, and neither comments nor other strings do."""
    source = '"""It."""\n\n\nclass A:\n    """This one."""\n\n    async def b(self):\n        """Nothing here."""\n'
    source += '\n\ndef c():\n    # which\n    return "that"\n'
    (tmp_path / "module.py").write_text(source)
    assert [(each.line, each.text) for each in docstrings(tmp_path)] == [
        (1, "It."),
        (4, "This one."),
        (7, "Nothing here."),
    ]
    assert total(tmp_path / "module.py") == Count(pro_forms=4, words=5)


def test_upper_case_and_parts_of_words_are_told_apart() -> None:
    """A pro-form in upper case counts; a longer word that begins like a pro-form, or is joined to others, does not."""
    assert Docstring(Path("module.py"), 1, "THIS item so-called other-worldly").count == Count(pro_forms=1, words=4)


def test_plain_prose_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A project within all limits passes, and every count is printed beside the limit."""
    assert check(project(tmp_path)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "src: 5.0 pro-forms in 100 words of docstrings, at most 6.0"
    assert said[-1] == "README.md: 150 lines, at most 150"
    assert len(said) == len(FOLDERS) + 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_wordy_docstrings_of_any_folder_fail(tmp_path: Path, folder: str) -> None:
    """A single folder above the limit fails the check."""
    project(tmp_path)
    (tmp_path / folder / "wordy.py").write_text(WORDY)
    assert check(tmp_path) == 1


def test_a_long_readme_fails(tmp_path: Path) -> None:
    """README.md with a line too many fails the check."""
    assert check(project(tmp_path, readme_lines=MOST_README_LINES + 1)) == 1


def test_the_worst_docstrings_are_listed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list begins with the docstring of the highest rate, and ends with the rate of all listed paths."""
    (tmp_path / "a.py").write_text(PLAIN)
    (tmp_path / "b.py").write_text(PLAIN.replace("The sweep finds", "It finds what"))
    show([tmp_path / "a.py", tmp_path / "b.py"])
    first, second, last = capsys.readouterr().out.splitlines()
    assert "b.py:1" in first
    assert "a.py:1" in second
    assert last == "10.0 pro-forms in 100 words of docstrings, 40 words"
