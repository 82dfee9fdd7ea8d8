"""The values of overrides, written so that Hydra's grammar reads what was meant.

Hydra gives a meaning to commas, brackets, quotes, `=` and spaces, and refuses `#`, `^` and letters
outside of ASCII. Between quotes it takes every character. OmegaConf then reads `${...}`.
"""

import re

BRACKETS = {"[": "]", "{": "}", "(": ")"}
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
"""Text between quotes; a backslash before a quote makes it part of the text."""
BEFORE_QUOTES, AFTER_QUOTES = "[{(,:=", "]}),:"
"""What may stand next to quotes that enclose a whole value: `it's` has none."""

PLAIN = re.compile(r"(?:\.{1,2}/|/|[A-Za-z_])[A-Za-z0-9_./-]*")
"""Text that Hydra reads as itself without quotes."""
NOT_TEXT = ("null", "true", "false", "inf", "nan")
"""Words that Hydra, in any case of letters, reads as something else than text."""

PRIMITIVE = re.compile(r"(?:\$\{[^}]+\}|[A-Za-z0-9_/\\+.$%*@?|: \t-])+")
"""Hydra's grammar of a number, a word or an interpolation without quotes."""
ESCAPE = re.compile(r"\\[\\()\[\]{}:=, \t]")
"""Hydra's own escapes: whoever writes them knows its grammar."""
FUNCTION = re.compile(
    r"(?:int|str|bool|float|choice|range|interval|tag|sort|shuffle|glob)[ \t]*\(.*\)"
)


def literal(text: str) -> str:
    """Return a value that Hydra reads as this text; only a closed `${...}` keeps its meaning."""
    if PLAIN.fullmatch(text) and text.lower() not in NOT_TEXT:
        return text
    # Hydra counts backslashes only where a quote follows them.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", without_open_interpolations(text))
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", escaped) + "'"


def without_open_interpolations(text: str) -> str:
    """Return the text with each `${` that nothing closes escaped: OmegaConf would refuse it."""
    if "${" not in text:
        return text
    ends = closed(text)

    def escaped(match: re.Match[str]) -> str:
        brace = match.end() - 1
        inside = text[brace + 1 : ends.get(brace, 0)].strip()
        return match[0] if inside else rf"{match[1]}{match[1]}\${{"

    return re.sub(r"(\\*)\$\{", escaped, text)


def scalar(text: str) -> str:
    """Return a literal text; `null`, and what is in quotes already, as it was typed."""
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
    """Return one literal element of a list, where `null` is a text like any other."""
    return text if QUOTED.fullmatch(text) else literal(text)


def readable(value: str) -> str:
    """Return a value of any type as it was typed, with quotes where Hydra would refuse it.

    `[^decoder.*]` becomes `['^decoder.*']`; whatever Hydra's grammar takes is left alone.
    """
    if ESCAPE.search(value):
        return value
    parts = split(value)
    mended = [_readable_element(part) for part in parts]
    return value if mended == parts else ",".join(mended)


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
    """Whether the text begins with this bracket, and ends where it closes."""
    return text.startswith(bracket) and closed(text).get(0) == len(text) - 1


def lacks_bracket(text: str) -> str:
    """Return the bracket that a list or a mapping ends without; empty where none is missing."""
    opened = text[:1] in ("[", "{") and 0 not in closed(text)
    return BRACKETS[text[0]] if opened else ""


def split(text: str) -> list[str]:
    """Return what is between the commas outside of quotes and brackets, without outer spaces.

    A comma at the end separates nothing.
    """
    ends, parts, start, index = closed(text), [], 0, 0
    while index < len(text):
        if text[index] == ",":
            parts.append(text[start:index].strip())
            start = index + 1
        index = ends.get(index, index) + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def closed(text: str) -> dict[int, int]:
    """Return where each bracket and each quoted text closes, by the index where it opens.

    Brackets and quotes without a partner are text like any other.
    """
    ends: dict[int, int] = {}
    waiting: list[int] = []
    index = 0
    while index < len(text):
        character = text[index]
        if character in BRACKETS:
            waiting.append(index)
        elif character in BRACKETS.values():
            partners = [i for i in waiting if BRACKETS[text[i]] == character]
            if partners:
                partner = partners[-1]
                ends[partner] = index
                del waiting[waiting.index(partner) :]
        elif (end := _end_of_quotes(text, index)) is not None:
            ends[index] = index = end
        index += 1
    return ends


def _end_of_quotes(text: str, start: int) -> int | None:
    """Return where a value in quotes that starts here ends."""
    match = QUOTED.match(text, start)
    if match is None:
        return None
    before, after = text[:start].rstrip()[-1:], text[match.end() :].lstrip()[:1]
    # An empty string is in every other.
    whole = before in BEFORE_QUOTES and after in AFTER_QUOTES
    return match.end() - 1 if whole else None
