"""The values of overrides, quoted so that Hydra's grammar reads them as they were meant.

In Hydra's grammar commas, brackets, quotes, `=` and spaces have a meaning, and `#`, `^` and
letters outside of ASCII are errors. Between quotes all characters are allowed. OmegaConf then
reads `${...}`.
"""

import itertools
import re

BRACKETS = {"[": "]", "{": "}", "(": ")"}
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
"""Text between quotes; a backslash before a quote makes it part of the text."""
BEFORE_QUOTES, AFTER_QUOTES = "[{(,:=", "]}),:"
"""Characters next to quotes that enclose a whole value; the quote in `it's` has none."""

PLAIN = re.compile(r"(?:\.{1,2}/|/|[A-Za-z_])[A-Za-z0-9_./-]*")
"""Text that Hydra reads as itself without quotes."""
NOT_TEXT = ("null", "true", "false", "inf", "nan")
"""Words, in any case of letters, that Hydra does not read as text."""

PRIMITIVE = re.compile(r"(?:\$\{[^}]+\}|[A-Za-z0-9_/\\+.$%*@?|: \t-])+")
"""Hydra's grammar of a number, a word or an interpolation without quotes."""
ESCAPE = re.compile(r"\\[\\()\[\]{}:=, \t]")
"""Hydra's own escapes: a value with one of them is not changed."""
FUNCTION = re.compile(
    r"(?:int|str|bool|float|choice|range|interval|tag|sort|shuffle|glob)[ \t]*\(.*\)"
)


def literal(text: str) -> str:
    """Return a value that Hydra reads as this text, except for interpolations `${...}`."""
    if PLAIN.fullmatch(text) and text.lower() not in NOT_TEXT:
        return text
    # In Hydra backslashes are escapes only before a quote.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", without_open_interpolations(text))
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", escaped) + "'"


def without_open_interpolations(text: str) -> str:
    """Return the text with each unclosed `${` escaped, which is an error in OmegaConf."""
    ends = closed(text)

    def escaped(match: re.Match[str]) -> str:
        brace = match.end() - 1
        inside = text[brace + 1 : ends.get(brace, 0)].strip()
        return match[0] if inside else rf"{match[1]}{match[1]}\${{"

    return re.sub(r"(\\*)\$\{", escaped, text)


def scalar(text: str) -> str:
    """Return a literal text; `null` and text in quotes are returned as typed."""
    return text if text in ("", "null") or QUOTED.fullmatch(text) else literal(text)


def collection(text: str) -> str | None:
    """Return `[...]` or `{key: ...}` with literal elements; None for any other text."""
    if encloses(text, "["):
        return f"[{','.join(map(element, split(text[1:-1])))}]"
    if encloses(text, "{"):
        pairs = [item.partition(":") for item in split(text[1:-1])]
        if all(colon for _, colon, _ in pairs):
            items = (f"{key.strip()}:{element(value.strip())}" for key, _, value in pairs)
            return f"{{{','.join(items)}}}"
    return None


def element(text: str) -> str:
    """Return one literal element of a list, in which `null` is text like any other."""
    return text if QUOTED.fullmatch(text) else literal(text)


def readable(value: str) -> str:
    """Return a value of any type with quotes around the parts that Hydra cannot read.

    `[^decoder.*]` becomes `['^decoder.*']`; what Hydra's grammar accepts is not changed.
    """
    if ESCAPE.search(value):
        return value
    parts = split(value)
    quoted = [_readable_element(part) for part in parts]
    return value if quoted == parts else ",".join(quoted)


def _readable_element(text: str) -> str:
    if not text or QUOTED.fullmatch(text) or PRIMITIVE.fullmatch(text) or FUNCTION.fullmatch(text):
        return text
    if encloses(text, "["):
        return f"[{readable(text[1:-1])}]"
    if encloses(text, "{"):
        items = [item.partition(":") for item in split(text[1:-1])]
        return f"{{{','.join(key + colon + readable(value) for key, colon, value in items)}}}"
    return literal(text)


def encloses(text: str, bracket: str) -> bool:
    """Return whether the text starts with this bracket, which closes at its end."""
    return text.startswith(bracket) and closed(text).get(0) == len(text) - 1


def lacks_bracket(text: str) -> str:
    """Return the closing bracket that a list or a mapping lacks; empty if it lacks none."""
    opened = text[:1] in ("[", "{") and 0 not in closed(text)
    return BRACKETS[text[0]] if opened else ""


def split(text: str) -> list[str]:
    """Return the text split at commas outside of quotes and brackets, without outer spaces.

    A comma at the end adds no empty part.
    """
    spans = closed(text).items()
    commas = [
        comma.start()
        for comma in re.finditer(",", text)
        if not any(start < comma.start() < end for start, end in spans)
    ]
    edges = itertools.pairwise([-1, *commas, len(text)])
    parts = [text[before + 1 : after].strip() for before, after in edges]
    return parts if parts[-1] else parts[:-1]


def closed(text: str) -> dict[int, int]:
    """Return the index where each bracket and quote closes, by the index where it opens.

    Brackets and quotes without a partner are text like any other.
    """
    ends: dict[int, int] = {}
    open_brackets: list[int] = []
    index = 0
    while index < len(text):
        character = text[index]
        if character in BRACKETS:
            open_brackets.append(index)
        elif character in BRACKETS.values():
            partners = [i for i in open_brackets if BRACKETS[text[i]] == character]
            if partners:
                ends[partners[-1]] = index
                del open_brackets[open_brackets.index(partners[-1]) :]
        elif (end := _end_of_quotes(text, index)) is not None:
            ends[index] = index = end
        index += 1
    return ends


def _end_of_quotes(text: str, start: int) -> int | None:
    """Return the index of the last quote of a value in quotes that starts here, or None."""
    match = QUOTED.match(text, start)
    if match is None:
        return None
    before, after = text[:start].rstrip()[-1:], text[match.end() :].lstrip()[:1]
    # At the ends of the text `before` and `after` are empty, and `in` is true for those.
    whole = before in BEFORE_QUOTES and after in AFTER_QUOTES
    return match.end() - 1 if whole else None
