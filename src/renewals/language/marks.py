"""Marks around amounts and users' texts within a text, so that no amount breaks over a line or loses its direction.

The marks are the isolates of Unicode (https://www.unicode.org/reports/tr9/#Explicit_Directional_Isolates). Every amount
is marked, in every language. A text from right to left has its other values marked, too. `Words.plain` finishes a text
for plain text, `in_html` finishes a text for HTML. Pure.
"""

LEFT_TO_RIGHT, RIGHT_TO_LEFT, BY_CONTENT, END = "\u2066", "\u2067", "\u2068", "\u2069"
_UNMARKED = str.maketrans(dict.fromkeys(f"{LEFT_TO_RIGHT}{RIGHT_TO_LEFT}{BY_CONTENT}{END}"))
_KEPT = 'style="white-space:nowrap"'
_WHOLE_WORDS = ("E-Mail", "E-mail", "e-mail")
"""Words that browsers would break after the hyphen."""


def amount(text: str) -> str:
    """Mark an amount. An amount whose currency is written in Arabic letters runs from right to left."""
    begin = RIGHT_TO_LEFT if any("\u0590" <= character <= "\u08ff" for character in text) else LEFT_TO_RIGHT
    return f"{begin}{text}{END}"


def isolated(text: str) -> str:
    """Mark a text whose direction depends on the text alone, such as the name of a plan."""
    return f"{BY_CONTENT}{text}{END}"


def is_amount(text: str) -> bool:
    """Whether the whole text is an amount."""
    return text[:1] in (LEFT_TO_RIGHT, RIGHT_TO_LEFT) and text.find(END) == len(text) - 1


def is_balanced(text: str) -> bool:
    """Whether each mark that begins has its end, as in a text that `Words.say` has put together."""
    return sum(map(text.count, (LEFT_TO_RIGHT, RIGHT_TO_LEFT, BY_CONTENT))) == text.count(END)


def without(text: str) -> str:
    """Remove all marks."""
    return text if text.isascii() else text.translate(_UNMARKED)


def in_html(text: str, kept: str = _KEPT) -> str:
    """Return the text escaped for HTML, with elements in place of the marks, and around "E-Mail".

    kept: the attribute that keeps an amount or a word on one line. A page whose policy forbids styles names a class
    instead.
    """
    from html import escape  # receipts have no HTML, and the function that makes receipts must start fast

    html = escape(text)
    for word in _WHOLE_WORDS:
        html = html.replace(word, f"<span {kept}>{word}</span>")
    return html.translate(
        {
            ord(LEFT_TO_RIGHT): f'<bdi dir="ltr" {kept}>',
            ord(RIGHT_TO_LEFT): f'<bdi dir="rtl" {kept}>',
            ord(BY_CONTENT): "<bdi>",
            ord(END): "</bdi>",
        }
    )
