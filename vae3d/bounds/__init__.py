"""Bounds and choices of settings, written in the type of a field and checked when it is set.

    @dataclass
    class TrainerConfig(Settings, key="trainer"):
        steps: Annotated[int, AtLeast(1)] = 2000
        \"\"\"Optimizer steps to train for.\"\"\"

`Settings` checks and converts every field. The help and docs/settings.md are generated from the
same types and sentences. Nothing here needs torch or numpy.

`hints` reads the types of fields, `markers` has the bounds, `fields` checks values against them.
"""

from vae3d.bounds.fields import MISSING, Settings, check_fields
from vae3d.bounds.hints import Bound, allows_none, did_you_mean, hints_of, is_union, parts
from vae3d.bounds.markers import (
    CODE,
    NAME,
    PATH,
    Above,
    AtLeast,
    Between,
    Gibibytes,
    LowHigh,
    Number,
    OneOf,
    OneOfNumbers,
    PerAxis,
    SomeOf,
    Text,
    Weights,
    is_finite,
    is_number,
    listed,
    number,
)

__all__ = [
    "CODE",
    "MISSING",
    "NAME",
    "PATH",
    "Above",
    "AtLeast",
    "Between",
    "Bound",
    "Gibibytes",
    "LowHigh",
    "Number",
    "OneOf",
    "OneOfNumbers",
    "PerAxis",
    "Settings",
    "SomeOf",
    "Text",
    "Weights",
    "allows_none",
    "check_fields",
    "did_you_mean",
    "hints_of",
    "is_finite",
    "is_number",
    "is_union",
    "listed",
    "number",
    "parts",
]
