"""Find the language for a customer's language tag (BCP 47), such as pt-BR. Pure.

Decision: D259 (DECISIONS.md).
"""

ENGLISH = "en"
LANGUAGES = (ENGLISH, "de", "fr", "es", "it", "nl", "pt", "pl", "ja", "zh", "ar")
"""The tags of the languages that have catalogues. zh is written in simplified characters, and pt as in Brazil."""
RIGHT_TO_LEFT = frozenset({"ar"})

_BY_SPELLING = {tag.lower(): tag for tag in LANGUAGES}
# Other codes for the same languages: https://www.unicode.org/cldr/charts/latest/supplemental/aliases.html
_ALIASES = {
    "eng": "en",
    "deu": "de",
    "ger": "de",
    "fra": "fr",
    "fre": "fr",
    "spa": "es",
    "ita": "it",
    "nld": "nl",
    "dut": "nl",
    "por": "pt",
    "pol": "pl",
    "jpn": "ja",
    "zho": "zh",
    "chi": "zh",
    "cmn": "zh",
    "ara": "ar",
    "arb": "ar",
}
# The scripts that readers of a language's catalogue read. The script of every other language here is Latin.
_SCRIPTS = {"ja": ("jpan", "hira", "kana", "hrkt"), "zh": ("hans", "hani"), "ar": ("arab",)}
_TRADITIONAL = ("tw", "hk", "mo")
_SCRIPT_LENGTH = 4
_MOST_SUBTAGS = 10


def serving(locale: str) -> str:
    """Return the tag of the language that serves a reader of `locale`; English for every tag without such a language.

    Subtags are dropped from the end until a language is found: de-AT-1996 leads to de-AT, and then to de. A tag that
    names a different script than the catalogue's leads to English, as in CLDR, where the parent of zh-Hant is not zh:
    many readers of traditional Chinese read simplified Chinese with effort, and a seller who writes simplified Chinese
    to Taiwan or Hong Kong looks careless, while English is neutral. Any text is accepted, even a text that is no
    language tag.
    """
    subtags = _subtags(locale)
    while subtags:
        known = _BY_SPELLING.get("-".join(subtags))
        if known is not None:
            return known
        last = subtags.pop()
        if len(last) == _SCRIPT_LENGTH and last.isalpha() and last not in _SCRIPTS.get("".join(subtags[:1]), ("latn",)):
            break
    return ENGLISH


def _subtags(locale: str) -> list[str]:
    """Return the subtags in lower case, without extensions (-u-…, -x-…) and without the encoding of POSIX (.UTF-8)."""
    spelled = locale.strip().partition(".")[0].partition("@")[0].replace("_", "-").lower()
    subtags = spelled.split("-", _MOST_SUBTAGS)[:_MOST_SUBTAGS]
    end = next((at for at, subtag in enumerate(subtags) if len(subtag) == 1), len(subtags))
    language, *others = subtags[:end] or [""]
    language = _ALIASES.get(language, language)
    if language == "zh" and "hans" not in others:
        others = ["hant" if other in _TRADITIONAL else other for other in others]
    return [language, *others]
