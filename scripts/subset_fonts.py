"""Makes the fonts of the receipt: `python -m scripts.subset_fonts FOLDER`.

The command searches FOLDER for the complete fonts, packaged by Debian as fonts-noto-core and fonts-noto-cjk:

    apt-get download fonts-noto-core fonts-noto-cjk
    for package in *.deb; do dpkg -x "$package" fonts; done

The results are written to layers/receipt/receipt_fonts/, with coverage.json, which lists the characters of every font,
and to src/renewals/domain/printable_ranges.py, from which functions without fonts know the characters that the fonts
together can draw. Equal input fonts give equal output bytes (with the fontTools of requirements-dev.txt).
"""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from textwrap import fill

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "layers" / "receipt" / "receipt_fonts"
RANGES = ROOT / "src" / "renewals" / "printable_ranges.py"

PRINTABLE_ASCII = set(range(0x20, 0x7F))
LATIN_1 = PRINTABLE_ASCII | set(range(0xA1, 0x100)) - {0xAD}
PUNCTUATION = set(range(0x2010, 0x2028)) | set(range(0x2030, 0x205F)) | {0x20AC, 0x2122}
JOINERS = {0x200C, 0x200D}  # decide how Arabic letters join
LATIN = (
    LATIN_1
    | PUNCTUATION
    | set(range(0x0100, 0x0370))  # Latin, marks
    | set(range(0x1E00, 0x1F00))  # Vietnamese and other Latin
    | set(range(0x2070, 0x20C1))  # superscripts, currencies
    | set(range(0x2100, 0x2190))  # letterlike, fractions, Roman numerals
    | set(range(0xFB00, 0xFB07))
    | {0xFFFD}  # replaces characters that no font has
)
GREEK = PRINTABLE_ASCII | PUNCTUATION | {0xAB, 0xBB} | set(range(0x0370, 0x0400)) | set(range(0x1F00, 0x2000))
CYRILLIC = PRINTABLE_ASCII | PUNCTUATION | {0xAB, 0xBB} | set(range(0x0400, 0x0530)) | {0x0300, 0x0301}
ARABIC = (
    {0x20, *JOINERS}
    | set(range(0x0600, 0x0700))
    | set(range(0x0750, 0x0780))
    | set(range(0x08A0, 0x0900))
    | set(range(0xFB50, 0xFE00))
    | set(range(0xFE70, 0xFEFD))
)
HEBREW = {0x20, *JOINERS} | set(range(0x0590, 0x0600)) | set(range(0xFB1D, 0xFB50))
DANDAS = {0x0964, 0x0965}  # full stops shared by most scripts of India


def indic(first: int, size: int = 0x80) -> set[int]:
    """Return the characters of a script of India or Sri Lanka, with the joiners and punctuation of the script."""
    return {0x20, *JOINERS, *DANDAS} | set(range(first, first + size))


def blocks(*ranges: tuple[int, int]) -> set[int]:
    """Return the characters of a script from its ranges (last character included), with the space between words."""
    return {0x20}.union(*(range(first, last + 1) for first, last in ranges))


BURMESE = ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))
GEORGIAN = ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F))
ETHIOPIC = ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB00, 0xAB2F))
HAN = set(range(0x4E00, 0x9FA6))
COMMON_CJK = LATIN_1 | PUNCTUATION | set(range(0x3000, 0x3040)) | set(range(0xFF01, 0xFF61))
HANGUL = set(range(0xAC00, 0xD7A4)) | set(range(0x3131, 0x318F))
BOPOMOFO = set(range(0x3105, 0x3130))


def of_codec(codec: str, lead: range) -> set[int]:
    """Return the characters that `codec` decodes from two bytes with the first byte in `lead`."""
    found: set[int] = set()
    for pair in ((first, second) for first in lead for second in range(0x40, 0xFF)):
        try:
            found.update(map(ord, bytes(pair).decode(codec)))
        except UnicodeDecodeError:
            continue
    return found


# JIS X 0208 with vendor additions needed by many names (髙, 﨑), without the wide Greek and Cyrillic letters
JAPANESE = of_codec("cp932", range(0x81, 0xFD)) - set(range(0x0370, 0x0530)) - set(range(0xE000, 0xF900))
GB_2312 = of_codec("gb2312", range(0xB0, 0xF8)) & HAN
BIG5_LEVEL_1 = of_codec("big5", range(0xA4, 0xC7)) & HAN


@dataclass(frozen=True)
class Subset:
    """A subset of a source font.

    Kana are only in the Japanese font, and Hangul only in the Korean font: the characters of a text therefore select
    the font. Greek and Cyrillic have their own fonts, because a receipt takes longer with every glyph of a used font,
    even if the glyph is not drawn.
    """

    name: str
    source: str
    characters: set[int]
    index: int = -1  # of the font in a collection
    part: str = ""  # a name for the part of the source: two fonts of a PDF must not share a name
    shaped: bool = False


CJK = "NotoSansCJK-Regular.ttc"
SUBSETS = (
    Subset("latin.ttf", "NotoSans-Regular.ttf", LATIN),
    Subset("greek.ttf", "NotoSans-Regular.ttf", GREEK, part="Greek"),
    Subset("cyrillic.ttf", "NotoSans-Regular.ttf", CYRILLIC, part="Cyrillic"),
    Subset("arabic.ttf", "NotoNaskhArabic-Regular.ttf", ARABIC, shaped=True),
    Subset("hebrew.ttf", "NotoSansHebrew-Regular.ttf", HEBREW, shaped=True),
    Subset("thaana.ttf", "NotoSansThaana-Regular.ttf", blocks((0x0780, 0x07BF)) | JOINERS, shaped=True),
    Subset("devanagari.ttf", "NotoSansDevanagari-Regular.ttf", indic(0x0900) | blocks((0xA8E0, 0xA8FF)), shaped=True),
    Subset("bengali.ttf", "NotoSansBengali-Regular.ttf", indic(0x0980), shaped=True),
    Subset("gurmukhi.ttf", "NotoSansGurmukhi-Regular.ttf", indic(0x0A00), shaped=True),
    Subset("gujarati.ttf", "NotoSansGujarati-Regular.ttf", indic(0x0A80), shaped=True),
    Subset("oriya.ttf", "NotoSansOriya-Regular.ttf", indic(0x0B00), shaped=True),
    Subset("tamil.ttf", "NotoSansTamil-Regular.ttf", indic(0x0B80), shaped=True),
    Subset("telugu.ttf", "NotoSansTelugu-Regular.ttf", indic(0x0C00), shaped=True),
    Subset("kannada.ttf", "NotoSansKannada-Regular.ttf", indic(0x0C80), shaped=True),
    Subset("malayalam.ttf", "NotoSansMalayalam-Regular.ttf", indic(0x0D00), shaped=True),
    Subset("sinhala.ttf", "NotoSansSinhala-Regular.ttf", indic(0x0D80), shaped=True),
    Subset("thai.ttf", "NotoSansThai-Regular.ttf", blocks((0x0E00, 0x0E7F)), shaped=True),
    Subset("lao.ttf", "NotoSansLao-Regular.ttf", blocks((0x0E80, 0x0EFF)), shaped=True),
    Subset("burmese.ttf", "NotoSansMyanmar-Regular.ttf", blocks(*BURMESE) | JOINERS, shaped=True),
    Subset("khmer.ttf", "NotoSansKhmer-Regular.ttf", blocks((0x1780, 0x17FF), (0x19E0, 0x19FF)) | JOINERS, shaped=True),
    Subset("armenian.ttf", "NotoSansArmenian-Regular.ttf", blocks((0x0530, 0x058F), (0xFB13, 0xFB17))),
    Subset("georgian.ttf", "NotoSansGeorgian-Regular.ttf", blocks(*GEORGIAN)),
    Subset("ethiopic.ttf", "NotoSansEthiopic-Regular.ttf", blocks(*ETHIOPIC)),
    Subset("cherokee.ttf", "NotoSansCherokee-Regular.ttf", blocks((0x13A0, 0x13FF), (0xAB70, 0xABBF))),
    Subset("syllabics.ttf", "NotoSansCanadianAboriginal-Regular.ttf", blocks((0x1400, 0x167F), (0x18B0, 0x18FF))),
    Subset("tifinagh.ttf", "NotoSansTifinagh-Regular.ttf", blocks((0x2D30, 0x2D7F))),
    Subset("japanese.otf", CJK, COMMON_CJK | JAPANESE, index=0),
    Subset("korean.otf", CJK, COMMON_CJK | HANGUL, index=1),
    Subset("simplified.otf", CJK, COMMON_CJK | GB_2312, index=2),
    Subset("traditional.otf", CJK, COMMON_CJK | BIG5_LEVEL_1 | BOPOMOFO, index=3),
    Subset("rare_han.otf", CJK, {0x20} | (HAN - JAPANESE - GB_2312 - BIG5_LEVEL_1), index=3),
)


def options(*, shaped: bool) -> Options:
    """Return the options for a subset.

    Hinting is dropped. Layout is kept only for scripts whose letters join or carry marks, without optional ligatures:
    text read back from a PDF has the letters of a right-to-left ligature in the wrong order. (The Arabic font is
    therefore Naskh, which builds even lam-alef from two glyphs.) CFF has no subroutines: with subroutines every receipt
    takes 30 ms longer, and the file is only 5 % smaller.
    """
    chosen = Options(
        hinting=False,
        desubroutinize=True,
        notdef_outline=True,
        name_IDs=[0, 1, 2, 4, 6, 13, 14],  # the copyright and licence stay in the font
    )
    chosen.drop_tables += ["BASE", "VORG", "vhea", "vmtx", "STAT", "DSIG"]
    if shaped:
        chosen.layout_features = [feature for feature in chosen.layout_features if feature != "liga"]
    else:
        chosen.layout_features = []
        chosen.drop_tables += ["GSUB", "GPOS", "GDEF"]
    return chosen


def make(subset: Subset, folder: Path) -> str:
    """Write a subset, and return the characters that the font can draw, in order."""
    source = next(iter(sorted(folder.rglob(subset.source))), None)
    if source is None:
        sys.exit(f"{subset.source} was not found under {folder}")
    with TTFont(source, fontNumber=subset.index, recalcTimestamp=False) as font:
        subsetter = Subsetter(options(shaped=subset.shaped))
        subsetter.populate(unicodes=subset.characters)
        subsetter.subset(font)
        for record in font["name"].names if subset.part else ():
            if record.nameID in (1, 4, 6):  # family, full and PostScript name
                record.string = re.sub(r"(Noto( ?)Sans)", rf"\1\2{subset.part}", str(record))
        font.save(RESULTS / subset.name)
        return "".join(map(chr, sorted(font.getBestCmap())))


def ranges_module(characters: Iterable[str]) -> str:
    """Return the source of a module with all characters, as ranges from the first to the last character of every
    run.
    """
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    written = fill(" ".join(f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in runs), 120, break_on_hyphens=False)
    told = '"""The characters that the fonts of the receipt can draw, as ranges; made by scripts/subset_fonts.py."""'
    return f'{told}\n\nRANGES = """\n{written}\n"""\n'


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    coverage = {}
    for subset in SUBSETS:
        coverage[subset.name] = make(subset, Path(sys.argv[1]))
        size = (RESULTS / subset.name).stat().st_size
        print(f"{subset.name:16} {len(coverage[subset.name]):6} characters {size:9,} bytes")
    text = json.dumps(coverage, ensure_ascii=False, indent=0)
    (RESULTS / "coverage.json").write_text(text + "\n", encoding="utf-8")
    together = set(chain.from_iterable(coverage.values()))
    RANGES.write_text(ranges_module(together), encoding="utf-8")
    print(f"{'all':16} {len(together):6} characters")


if __name__ == "__main__":
    main()
