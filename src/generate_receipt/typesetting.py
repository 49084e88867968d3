"""Text of any script, set on one A4 sheet.

A sheet knows all of its texts beforehand, so that it loads the fewest fonts that can draw them: none for what
the core font writes (cp1252), else those of `receipt_fonts`. A text keeps to its column and its number of
lines; what does not fit ends in an ellipsis. A character that no font has is drawn as U+FFFD and named in
`Sheet.missing`, because fpdf2 would leave it out without a word.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter

import receipt_fonts

from renewals.domain import printable

warnings.filterwarnings("ignore", "Pillow could not be imported")  # for images, so the layer leaves it out
from fpdf import FPDF  # noqa: E402  (it warns when imported)
from fpdf.fonts import TTFFont  # noqa: E402
from fpdf.line_break import Fragment  # noqa: E402

CORE_FONT = "helvetica"
MM_PER_POINT = 25.4 / 72
LINE_SPACING = 1.38
SMALLEST = 6.0  # points
LONGEST = 2000  # characters of one text that are looked at: many times what a column can show
ELLIPSIS = "…"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Where fonts can draw a text equally well, the earlier is taken.
ALPHABETS = (
    *("latin.ttf", "cyrillic.ttf", "greek.ttf", "hebrew.ttf", "arabic.ttf", "korean.otf"),
    *("devanagari.ttf", "bengali.ttf", "gurmukhi.ttf", "gujarati.ttf", "oriya.ttf", "tamil.ttf", "telugu.ttf"),
    *("kannada.ttf", "malayalam.ttf", "sinhala.ttf", "thai.ttf", "lao.ttf", "burmese.ttf", "khmer.ttf"),
    *("armenian.ttf", "georgian.ttf", "ethiopic.ttf", "cherokee.ttf", "syllabics.ttf", "tifinagh.ttf"),
    "thaana.ttf",
)
# Their letters take other forms or places beside each other: what they draw is shaped by HarfBuzz.
SHAPED = frozenset(
    """arabic.ttf hebrew.ttf thaana.ttf devanagari.ttf bengali.ttf gurmukhi.ttf gujarati.ttf oriya.ttf tamil.ttf
    telugu.ttf kannada.ttf malayalam.ttf sinhala.ttf thai.ttf lao.ttf burmese.ttf khmer.ttf""".split()
)
HAN = ("simplified.otf", "traditional.otf", "japanese.otf", "rare_han.otf")
# Han characters alone (山田太郎) do not tell their language; the money that they pay with may.
HAN_OF_CURRENCY = {
    "JPY": "japanese.otf",
    "KRW": "traditional.otf",
    "TWD": "traditional.otf",
    "HKD": "traditional.otf",
    "MOP": "traditional.otf",
}
# Letters stand under letters: the lines need more room.
TALL = frozenset({"burmese.ttf"})
TALL_LINE = 1.25

_CONTROL = re.compile("[\x00-\x1f\x7f]")
SOFT_HYPHEN = "\u00ad"  # all that is invisible of what the core font writes
# A line may break before a space, and before and after what is written without spaces.
_WRITTEN_WITHOUT_SPACES = "\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\uff01-\uffef\U00020000-\U0003ffff"
_BREAKABLE = f" ?[{_WRITTEN_WITHOUT_SPACES}]| ?[^ {_WRITTEN_WITHOUT_SPACES}]+"


@dataclass(frozen=True, slots=True)
class Style:
    """`size` in points, `colour` as red, green, blue. Only the core font has a bold."""

    size: float
    colour: tuple[int, int, int]
    bold: bool = False

    @property
    def line_height(self) -> float:
        """Millimetres from one line to the next."""
        return self.size * LINE_SPACING * MM_PER_POINT


def tidy(text: str) -> str:
    """One line in composed form (NFC), single spaces between words, nothing invisible in it."""
    start = text[:LONGEST]
    seen = start.replace(SOFT_HYPHEN, "") if _core_font_has(start) else printable.composed(start)
    line = " ".join(seen.split())
    return line + ELLIPSIS if len(text) > LONGEST else line


def _core_font_has(text: str) -> bool:
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return _CONTROL.search(text) is None


def _fewest_fonts(text: str, fonts: Sequence[str]) -> list[str]:
    """The fonts to draw `text` with, the one for most of its characters first. Together `fonts` have them all."""
    covered = receipt_fonts.coverage()
    left = Counter(text)
    chosen = []
    while left:
        best = max(fonts, key=lambda font: sum(n for character, n in left.items() if character in covered[font]))
        if left.keys().isdisjoint(covered[best]):
            raise ValueError(f"{''.join(left)!a} was not among the texts of the sheet")
        chosen.append(best)
        left = Counter({character: n for character, n in left.items() if character not in covered[best]})
    return chosen


def _direction(text: str) -> str:
    """ "rtl" or "ltr" by the first letter that has a direction."""
    strong = (kind for kind in map(unicodedata.bidirectional, text) if kind in {"L", "R", "AL"})
    return "ltr" if next(strong, "L") == "L" else "rtl"


# For the order of letters a joiner belongs to the letter before it, as a mark does: these two stand for the two joiners
# while fpdf2 finds the runs of one direction, since a joiner would be a run of its own. No tidy text has them.
_AS_MARKS = str.maketrans("\u200c\u200d", "\ufe00\ufe01")
_AS_JOINERS = str.maketrans("\ufe00\ufe01", "\u200c\u200d")


_READ_AS_DRAWN = frozenset({"arabic.ttf", "hebrew.ttf"})


class _Shaped(Fragment):
    """A run of one font whose glyphs stand in the order in which they are drawn: the text that they mean goes with them
    (ISO 32000, 14.9.4), and is what a reader copies from the page or finds on it."""

    def render_with_text_shaping(self, *where: float) -> str:
        meant = self.string.encode("utf-16-be").hex()
        return f"/Span <</ActualText <FEFF{meant}>>> BDC {super().render_with_text_shaping(*where)} EMC "


class _Pages(FPDF):
    """fpdf2, but for where it cuts a text to draw it: only where the direction or the font changes.

    fpdf2 cuts where the script changes, too, and takes a joiner or a mark for another script: letters are torn apart.
    """

    drawn_with: Sequence[str] = ()
    """The fonts for the text at hand, the one for most of it first; none for the core font."""

    def _preload_bidirectional_text(self, text: str, markdown: bool) -> Sequence[Fragment]:  # noqa: FBT001
        return super()._preload_bidirectional_text(text.translate(_AS_MARKS), markdown)

    def _parse_chars(
        self,
        text: str,
        markdown: bool,  # noqa: ARG002, FBT001
        *,
        _initial_emphasis: tuple[bool, bool, bool, bool] | None = None,
    ) -> Iterator[Fragment]:
        text = text.translate(_AS_JOINERS)
        for font, run in groupby(zip(self._fonts_of(text), text, strict=True), itemgetter(0)):
            state = self._get_current_graphics_state()
            if font:
                state.font_family, state.current_font = font, self.fonts[font]
            kind = _Shaped if font in SHAPED - _READ_AS_DRAWN else Fragment
            yield kind([character for _, character in run], state, self.k)

    def _fonts_of(self, text: str) -> Iterator[str]:
        """The font of each character: that of the one before, where it can draw this one, too."""
        covered = receipt_fonts.coverage() if self.drawn_with else {}
        font = self.drawn_with[0] if self.drawn_with else ""
        for character in text:
            if self.drawn_with and character not in covered[font]:
                font = next((name for name in self.drawn_with if character in covered[name]), font)
            yield font


class Sheet:
    """One A4 page; lengths are millimetres from its upper left corner. `texts`: all that will be written on it.
    `roomy`: whether lines of a script that stands high are set further apart."""

    def __init__(self, texts: Iterable[str], *, currency: str, made_at: datetime, roomy: bool = True) -> None:
        self._tall_line = TALL_LINE if roomy else 1.0
        beyond_core = "".join(text for text in map(tidy, texts) if not _core_font_has(text))
        undrawable: set[str] = set()
        self._fonts: list[str] = []
        if beyond_core:
            undrawable = set(beyond_core).difference(*receipt_fonts.coverage().values())
            self._fonts = [*ALPHABETS, *sorted(HAN, key=lambda font: font != HAN_OF_CURRENCY.get(currency))]
            drawn = "".join(REPLACEMENT if character in undrawable else character for character in beyond_core)
            self._fonts = _fewest_fonts(drawn + ELLIPSIS, self._fonts)
        self._replacements = str.maketrans(dict.fromkeys(undrawable, REPLACEMENT))
        # A lone surrogate goes by its replacement, so that `missing` can be written as UTF-8.
        self.missing = "".join(sorted({REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in undrawable}))

        self.pdf = _Pages(format="A4")
        self.pdf.set_creation_date(made_at)
        self.pdf.set_auto_page_break(auto=False)
        self.pdf.core_fonts_encoding = "cp1252"
        self.pdf.alias_nb_pages("")  # else "{nb}" in a name would become the number of pages
        self.pdf.c_margin = 0
        self.pdf.add_page()

    def discard(self) -> None:
        """Close the fonts of a sheet that will not be output."""
        for font in self.pdf.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()

    def drawable(self, text: str) -> str:
        """`text` as it will be seen."""
        return tidy(text).translate(self._replacements)

    def write(
        self, text: str, x: float, y: float, width: float, style: Style, *, lines: int = 1, align: str = "L"
    ) -> float:
        """Write at most `lines` lines, from (x, y) down; return the y below them (the same y for no text)."""
        text = self.drawable(text)
        if not text:
            return y
        self._choose_fonts(text, style)
        broken = list(islice(self._broken(text, width), lines + 1))  # no more are looked at: measuring takes long
        if len(broken) > lines:
            text += ELLIPSIS
            self._choose_fonts(text, style)
            broken = [*broken[: lines - 1], self._shortened(broken[lines - 1], width)]
        core = _core_font_has(text)
        height = style.line_height * (self._tall_line if TALL.intersection(self.pdf.drawn_with) else 1)
        for n, line in enumerate(broken):
            if n:
                self._choose_fonts(text, style)  # again: fpdf2 leaves the font behind that the last line ended with
            if core and align == "L":  # the same as by `cell`, in a fifth of the time
                self.pdf.text(x, y + 0.5 * height + 0.3 * style.size * MM_PER_POINT, line)
            else:
                self.pdf.set_xy(x, y)
                self.pdf.cell(width, height, line, align=align)
            y += height
        return y

    def write_whole(self, text: str, x: float, y: float, width: float, style: Style, *, align: str = "L") -> float:
        """Write one line, smaller if that is what it takes to show it whole: for amounts."""
        self._choose_fonts(self.drawable(text), style)
        needed = self.pdf.get_string_width(self.drawable(text))
        if needed > width:
            style = replace(style, size=max(SMALLEST, style.size * width / needed * 0.99))
        return self.write(text, x, y, width, style, align=align)

    def rule(self, x: float, y: float, width: float, colour: tuple[int, int, int]) -> None:
        """A thin horizontal line."""
        self.pdf.set_draw_color(*colour)
        self.pdf.set_line_width(0.2)
        self.pdf.line(x, y, x + width, y)

    def box(
        self, x: float, y: float, width: float, height: float, colour: tuple[int, int, int], radius: float = 0
    ) -> None:
        """A filled rectangle; a radius rounds its corners."""
        self.pdf.set_fill_color(*colour)
        self.pdf.rect(x, y, width, height, style="F", round_corners=radius > 0, corner_radius=radius)

    def _choose_fonts(self, text: str, style: Style) -> None:
        self.pdf.set_text_color(*style.colour)
        # fpdf2 trusts this where it should not: it restores the graphics state after the font was set in it.
        self.pdf.current_font_is_set_on_page = False
        if _core_font_has(text):
            self.pdf.drawn_with = ()
            self.pdf.set_text_shaping(use_shaping_engine=False)
            self.pdf.set_font(CORE_FONT, "B" if style.bold else "", style.size)
            return
        fonts = _fewest_fonts(text, self._fonts)
        for font in fonts:
            if font not in self.pdf.fonts:
                self.pdf.add_font(font, "", receipt_fonts.FOLDER / font)
        self.pdf.drawn_with = fonts
        self.pdf.set_font(fonts[0], "", style.size)
        self.pdf.set_text_shaping(use_shaping_engine=not SHAPED.isdisjoint(fonts), direction=_direction(text))

    def _shortened(self, line: str, width: float) -> str:
        while line and self.pdf.get_string_width(line + ELLIPSIS) > width:
            line = line[: printable.whole(line, len(line) - 1)]
        return line.rstrip() + ELLIPSIS

    def _broken(self, text: str, width: float) -> Iterator[str]:
        if self.pdf.get_string_width(text) <= width:
            yield text
            return
        line = ""
        for piece in re.findall(_BREAKABLE, text):
            if self.pdf.get_string_width(line + piece) <= width:
                line += piece
                continue
            if line and self.pdf.get_string_width(piece.lstrip()) <= width:
                yield line
                line = piece.lstrip()
            else:  # a word that is wider than any line begins where it stands
                line = (line + piece).lstrip()
            while (fitting := self._fitting(line, width)) < len(line):
                yield line[:fitting]
                line = line[fitting:]
        yield line

    def _fitting(self, word: str, width: float) -> int:
        """How many characters of `word` fit: at least one, and no letter is parted from its marks."""
        if self.pdf.get_string_width(word) <= width:
            return len(word)
        low, high = 1, len(word)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.pdf.get_string_width(word[:middle]) <= width else (low, middle)
        return printable.whole(word, low)
