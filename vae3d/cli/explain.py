"""What Hydra and OmegaConf object to, on one line in the words of a person."""

import os
import re
import sys
from collections.abc import Sequence

from vae3d.bounds import did_you_mean
from vae3d.settings.nearest import key_hint

TYPES = {"Integer": "a whole number", "Float": "a number"}
"""What OmegaConf calls the types of settings."""
RULES = {
    "is not Optional": "not be null",
    "is not a ListConfig, list or tuple": "be a list, as in [1,2]",
    "Cannot merge DictConfig with ListConfig": "be a table, as in {name: value}",
    "to Dict[": "be a table, as in {name: value}",
    "Cannot convert 'list' to string": "be one word, not a list",
}
"""What OmegaConf says of values of the wrong kind, and what it means."""
NOT_UNDERSTOOD = "the command line cannot be understood; look for a stray + ~ @ = or $"


def explain(error: BaseException, keys: Sequence[str]) -> str:
    """What is wrong with the settings, with the nearest right key."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text, reason = (" ".join(str(e).split()) for e in (error, cause))
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1].split("@")[0]
        inner = re.search(r"Key '(\w+)' not in '\w+'", reason)
        # A key of a table inside of the value that was typed.
        deeper = inner is not None and key in keys and not key.endswith(inner[1])
        return unknown_key(f"{key}.{inner[1]}" if inner and deeper else key, keys)
    if match := re.search(r"Could not find '([^']+)' Available options in '([^']+)': (.*)", text):
        options = match[3].partition(" Config search path")[0].split()
        return no_option(match[2], match[1].split("/")[-1], options)
    if match := re.search(r"full_key: (\S+)", reason):
        said = re.split(r" (?:full_key|reference_type|object_type)[:=]", reason)[0]
        return wrong_type(re.sub(r"\[(\d+)\]", r".\1", match[1]), said)
    if isinstance(cause, AssertionError | TypeError) or not text:
        return NOT_UNDERSTOOD
    return text.partition(" See https")[0]


def wrong_type(key: str, said: str) -> str:
    """What OmegaConf objects to in the value of a key."""
    if found := re.search(r"Value (.*) of type .* could not be converted to (\w+)", said):
        return f"{key} must be {TYPES.get(found[2], found[2])}, got {found[1]}"
    if found := re.search(r"Value (.*) is not a valid bool", said):
        return f"{key} must be true or false, got {found[1]}"
    if found := re.search(r"is not a subclass of \w+\. value: (.*)", said):
        return f"{key} must be a table of settings such as {{key: value}}, got {found[1]}"
    for sign, rule in RULES.items():
        if sign in said:
            return f"{key} must {rule}"
    return f"{key}: {said}"


def unknown_key(key: str, keys: Sequence[str]) -> str:
    """Why a key cannot be set, with the nearest one that can."""
    if re.sub(r"\.\d+\.", ".N.", key) in keys:
        group = key.split(".")[0]
        return f"{key} does not belong to the chosen option of {group}, choose another {group}="
    return f"unknown key {key!r}{key_hint(key, keys)}"


def no_option(group: str, chosen: str, options: Sequence[str]) -> str:
    """That a group has no such option, and which it has."""
    shown = [option for option in options if not option.endswith("_schema")]
    near = did_you_mean(chosen, shown) or ","
    return f"{group} has no option {chosen!r}{near} choose from {', '.join(shown)}"


def fail(message: str, code: int) -> int:
    """One line on stderr; none where another rank has reported the reason."""
    if not message:
        return code
    rank = int(os.environ.get("RANK", "0"))
    who = f"vae3d: rank {rank}" if rank else "vae3d"
    # A foreign key must not move the cursor.
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    sys.stderr.write(f"{who}: {shown}\n")
    return code
