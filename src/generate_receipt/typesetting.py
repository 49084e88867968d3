"""Set text of every script on an A4 sheet.

A sheet knows all texts beforehand, and loads the fewest fonts that can draw the texts: none for texts that the core
font of every PDF reader can draw (cp1252), and fonts of `receipt_fonts` for other texts. A text stays within its column
and its number of lines; a longer text ends in an ellipsis. A character that is missing in all fonts is drawn as U+FFFD
and named in `Sheet.missing`, because fpdf2 would leave the character out silently.
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

warnings.filterwarnings("ignore", "Pillow could not be imported")  # the layer has no Pillow: only images need it
from fpdf import FPDF  # noqa: E402  (it warns when imported)
from fpdf.fonts import TTFFont  # noqa: E402
from fpdf.line_break import Fragment  # noqa: E402

CORE_FONT = "helvetica"
MM_PER_POINT = 25.4 / 72
LINE_SPACING = 1.38
SMALLEST = 6.0  # points
LONGEST = 2000  # characters: longer texts are cut before they are measured; a column shows far fewer
ELLIPSIS = "…"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Of fonts that can draw a text equally well, the earlier font in this list is taken.
ALPHABETS = (
    *("latin.ttf", "cyrillic.ttf", "greek.ttf", "hebrew.ttf", "arabic.ttf", "korean.otf"),
    *("devanagari.ttf", "bengali.ttf", "gurmukhi.ttf", "gujarati.ttf", "oriya.ttf", "tamil.ttf", "telugu.ttf"),
    *("kannada.ttf", "malayalam.ttf", "sinhala.ttf", "thai.ttf", "lao.ttf", "burmese.ttf", "khmer.ttf"),
    *("armenian.ttf", "georgian.ttf", "ethiopic.ttf", "cherokee.ttf", "syllabics.ttf", "tifinagh.ttf"),
    "thaana.ttf",
)
# Letters of these fonts change form or place beside other letters: HarfBuzz shapes the texts.
SHAPED = frozenset(
    """arabic.ttf hebrew.ttf thaana.ttf devanagari.ttf bengali.ttf gurmukhi.ttf gujarati.ttf oriya.ttf tamil.ttf
    telugu.ttf kannada.ttf malayalam.ttf sinhala.ttf thai.ttf lao.ttf burmese.ttf khmer.ttf""".split()
)
HAN = ("simplified.otf", "traditional.otf", "japanese.otf", "rare_han.otf")
# Han characters (山田太郎) do not show their language; the language of the receipt and the currency of the payment may.
HAN_OF_LANGUAGE = {"ja": "japanese.otf", "zh": "simplified.otf"}
HAN_OF_CURRENCY = {
    "JPY": "japanese.otf",
    "KRW": "traditional.otf",
    "TWD": "traditional.otf",
    "HKD": "traditional.otf",
    "MOP": "traditional.otf",
}
# In these fonts letters stand under letters, and lines need more room.
TALL = frozenset({"burmese.ttf"})
TALL_LINE = 1.25

_MIRRORED_ALIGN = {"L": "R", "R": "L", "C": "C"}
_CONTROL = "[\x00-\x1f\x7f]"  # compiled at first use
SOFT_HYPHEN = "\u00ad"  # the only invisible character of the core font
# A line may break before a space, and before and after a character of a script that is written without spaces.
_WRITTEN_WITHOUT_SPACES = "\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\uff01-\uffef\U00020000-\U0003ffff"
_BREAKABLE = f" ?[{_WRITTEN_WITHOUT_SPACES}]| ?[^ {_WRITTEN_WITHOUT_SPACES}]+"


@dataclass(frozen=True, slots=True)
class Style:
    """The look of a text: `size` in points, `colour` as red, green and blue. Only the core font can be bold."""

    size: float
    colour: tuple[int, int, int]
    bold: bool = False

    @property
    def line_height(self) -> float:
        """The distance between two lines in millimetres."""
        return self.size * LINE_SPACING * MM_PER_POINT


def tidy(text: str) -> str:
    """Return the text as a line in composed form (NFC), with single spaces and without invisible characters."""
    start = text[:LONGEST]
    seen = start.replace(SOFT_HYPHEN, "") if _core_font_has(start) else printable.composed(start)
    line = " ".join(seen.split())
    return line + ELLIPSIS if len(text) > LONGEST else line


def _core_font_has(text: str) -> bool:
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return re.search(_CONTROL, text) is None


def _fewest_fonts(text: str, fonts: Sequence[str]) -> list[str]:
    """Return the fonts to draw `text` with, beginning with the font for most characters. Together, `fonts` must have
    all characters."""
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


def _direction(text: str, *, mirrored: bool) -> str:
    """Return "rtl" or "ltr", the direction of the first letter that has a direction. On a page that is read from right
    to left, a text with a single letter from right to left is a text from right to left: our own texts there may begin
    with a name in Latin letters."""
    strong = [kind for kind in map(unicodedata.bidirectional, text) if kind in {"L", "R", "AL"}]
    begins = strong[:1] if not mirrored else strong
    return "rtl" if {"R", "AL"}.intersection(begins) else "ltr"


# When letters are put into the order of drawing, a joiner belongs to the letter before the joiner, like a mark. fpdf2
# would take a joiner for a run of its own. Therefore two marks stand for the two joiners while fpdf2 looks for runs of
# one direction. No tidy text holds these marks.
_AS_MARKS = str.maketrans("\u200c\u200d", "\ufe00\ufe01")
_AS_JOINERS = str.maketrans("\ufe00\ufe01", "\u200c\u200d")


_READ_AS_DRAWN = frozenset({"arabic.ttf", "hebrew.ttf"})


class _Shaped(Fragment):
    """A run of text whose glyphs the PDF holds in the order of drawing. Beside the glyphs, the run carries its text
    (ISO 32000, 14.9.4), so that readers can copy the text from the page and find the text on the page."""

    def render_with_text_shaping(self, *where: float) -> str:
        meant = self.string.encode("utf-16-be").hex()
        return f"/Span <</ActualText <FEFF{meant}>>> BDC {super().render_with_text_shaping(*where)} EMC "


class _Pages(FPDF):
    """A document of fpdf2 that cuts a text only where the direction or the font changes.

    fpdf2 also cuts a text where the script changes, takes a joiner or a mark for a change of script, and so tears
    letters apart.
    """

    drawn_with: Sequence[str] = ()
    """The fonts for the present text, beginning with the font for most characters; empty for the core font."""

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
        """Yield the font of every character: the font of the character before, if that font can draw the character."""
        covered = receipt_fonts.coverage() if self.drawn_with else {}
        font = self.drawn_with[0] if self.drawn_with else ""
        for character in text:
            if self.drawn_with and character not in covered[font]:
                font = next((name for name in self.drawn_with if character in covered[name]), font)
            yield font


class Sheet:
    """An A4 page; lengths are millimetres from the upper left corner. `texts`: all texts to be written on the page.
    `roomy`: whether lines of a tall script are set further apart. `mirrored`: whether left and right are exchanged, for
    a page that is read from right to left."""

    def __init__(
        self,
        texts: Iterable[str],
        *,
        currency: str,
        made_at: datetime,
        language: str = "en",
        mirrored: bool = False,
        roomy: bool = True,
    ) -> None:
        self._mirrored = mirrored
        self._tall_line = TALL_LINE if roomy else 1.0
        beyond_core = "".join(text for text in map(tidy, texts) if not _core_font_has(text))
        undrawable: set[str] = set()
        self._fonts: list[str] = []
        if beyond_core:
            undrawable = set(beyond_core).difference(*receipt_fonts.coverage().values())
            preferred = HAN_OF_LANGUAGE.get(language) or HAN_OF_CURRENCY.get(currency)
            self._fonts = [*ALPHABETS, *sorted(HAN, key=lambda font: font != preferred)]
            drawn = "".join(REPLACEMENT if character in undrawable else character for character in beyond_core)
            self._fonts = _fewest_fonts(drawn + ELLIPSIS, self._fonts)
        self._replacements = str.maketrans(dict.fromkeys(undrawable, REPLACEMENT))
        # `missing` names a lone surrogate by its replacement, because UTF-8 cannot write a surrogate.
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
        """Return `text` as the sheet will show the text."""
        return tidy(text).translate(self._replacements)

    def write(
        self, text: str, x: float, y: float, width: float, style: Style, *, lines: int = 1, align: str = "L"
    ) -> float:
        """Write at most `lines` lines, from (x, y) down; return the y below them (the same y for no text)."""
        text = self.drawable(text)
        if not text:
            return y
        self._choose_fonts(text, style)
        broken = list(islice(self._broken(text, width), lines + 1))  # measuring takes long
        if len(broken) > lines:
            text += ELLIPSIS
            self._choose_fonts(text, style)
            broken = [*broken[: lines - 1], self._shortened(broken[lines - 1], width)]
        core = _core_font_has(text)
        height = style.line_height * (self._tall_line if TALL.intersection(self.pdf.drawn_with) else 1)
        if self._mirrored:
            x, align = self._mirror(x, width), _MIRRORED_ALIGN[align]
        for n, line in enumerate(broken):
            if n:
                self._choose_fonts(text, style)  # fpdf2 still has the font that ended the line before
            if core and align == "L":  # the same result as by `cell`, in a fifth of the time
                self.pdf.text(x, y + 0.5 * height + 0.3 * style.size * MM_PER_POINT, line)
            else:
                self.pdf.set_xy(x, y)
                self.pdf.cell(width, height, line, align=align)
            y += height
        return y

    def write_whole(self, text: str, x: float, y: float, width: float, style: Style, *, align: str = "L") -> float:
        """Write a line that must not be cut, such as an amount, in a smaller size if necessary."""
        self._choose_fonts(self.drawable(text), style)
        needed = self.pdf.get_string_width(self.drawable(text))
        if needed > width:
            style = replace(style, size=max(SMALLEST, style.size * width / needed * 0.99))
        return self.write(text, x, y, width, style, align=align)

    def rule(self, x: float, y: float, width: float, colour: tuple[int, int, int]) -> None:
        """Draw a thin horizontal line."""
        self.pdf.set_draw_color(*colour)
        self.pdf.set_line_width(0.2)
        x = self._mirror(x, width) if self._mirrored else x
        self.pdf.line(x, y, x + width, y)

    def box(
        self, x: float, y: float, width: float, height: float, colour: tuple[int, int, int], radius: float = 0
    ) -> None:
        """Draw a filled rectangle; a radius rounds the corners."""
        self.pdf.set_fill_color(*colour)
        x = self._mirror(x, width) if self._mirrored else x
        self.pdf.rect(x, y, width, height, style="F", round_corners=radius > 0, corner_radius=radius)

    def _mirror(self, x: float, width: float) -> float:
        return self.pdf.w - x - width

    def _choose_fonts(self, text: str, style: Style) -> None:
        self.pdf.set_text_color(*style.colour)
        # fpdf2 restores the graphics state, and still believes that the font is set: so every text sets the font.
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
        self.pdf.set_text_shaping(
            use_shaping_engine=not SHAPED.isdisjoint(fonts),
            direction=_direction(text, mirrored=self._mirrored),
        )

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
            else:  # a word that is wider than a line begins in the present line
                line = (line + piece).lstrip()
            while (fitting := self._fitting(line, width)) < len(line):
                yield line[:fitting]
                line = line[fitting:]
        yield line

    def _fitting(self, word: str, width: float) -> int:
        """Return how many characters of `word` fit: at least one character, and no letter without its marks."""
        if self.pdf.get_string_width(word) <= width:
            return len(word)
        low, high = 1, len(word)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.pdf.get_string_width(word[:middle]) <= width else (low, middle)
        return printable.whole(word, low)
