"""Errors of Hydra and OmegaConf as one line of plain text."""

import os
import re
import sys
from collections.abc import Sequence

from vae3d.settings.nearest import no_option, unknown_key

RULES = {
    r"Value (.*) of type .* could not be converted to Integer": "be a whole number, got {}",
    r"Value (.*) of type .* could not be converted to Float": "be a number, got {}",
    r"Value (.*) of type .* could not be converted to (\w+)": "be {1}, got {0}",
    r"Value (.*) is not a valid bool": "be true or false, got {}",
    r"is not a subclass of \w+\. value: (.*)": (
        "be a table of settings such as {{key: value}}, got {}"
    ),
    r"is not Optional": "not be null",
    r"is not a ListConfig, list or tuple": "be a list, as in [1,2]",
    r"Cannot merge DictConfig with ListConfig": "be a table, as in {{name: value}}",
    r"to Dict\[": "be a table, as in {{name: value}}",
    r"Cannot convert 'list' to string": "be one word, not a list",
}
"""OmegaConf's messages about values of the wrong kind, and the rule for the value."""
MAX_LINE = 2000
"""Characters of an error, at most."""
NOT_UNDERSTOOD = "the command line cannot be understood; look for a stray + ~ @ = or $"


def explain(error: BaseException, keys: Sequence[str]) -> str:
    """Return what is wrong with the settings, with the most similar key that exists."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text, reason = (" ".join(str(e).split()) for e in (error, cause))
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1].split("@")[0]
        inner = re.search(r"Key '(\w+)' not in '\w+'", reason)
        # The wrong key is inside of the table that was typed.
        deeper = inner is not None and key in keys and not key.endswith(inner[1])
        return unknown_key(f"{key}.{inner[1]}" if inner and deeper else key, keys)
    if match := re.search(r"Could not find '([^']+)' Available options in '([^']+)': (.*)", text):
        options = match[3].partition(" Config search path")[0].split()
        return no_option(match[2], match[1].split("/")[-1], options)
    if match := re.search(r"full_key: (\S+)", reason):
        message = re.split(r" (?:full_key|reference_type|object_type)[:=]", reason)[0]
        return wrong_type(re.sub(r"\[(\d+)\]", r".\1", match[1]), message)
    if isinstance(cause, AssertionError | TypeError) or not text:
        return NOT_UNDERSTOOD
    return text.partition(" See https")[0]


def wrong_type(key: str, message: str) -> str:
    """Return what is wrong with the value of a key, from OmegaConf's message about it."""
    for pattern, rule in RULES.items():
        if match := re.search(pattern, message):
            return f"{key} must {rule.format(*match.groups())}"
    return f"{key}: {message}"


def fail(message: str, code: int) -> int:
    """Write one line to stderr, or none if another rank reports it, and return `code`."""
    if not message:
        return code
    rank = int(os.environ.get("RANK", "0"))
    who = f"vae3d: rank {rank}" if rank else "vae3d"
    # Control characters in a key or a path must not move the cursor.
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    if len(shown) > MAX_LINE:
        # Of a name or a value that fills screens, both ends say enough.
        shown = f"{shown[: MAX_LINE // 2]} ... {shown[-MAX_LINE // 2 :]}"
    sys.stderr.write(f"{who}: {shown}\n")
    return code
