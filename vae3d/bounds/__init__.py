"""Bounds and choices of settings, written in the type of a field and checked when it is set.

    @dataclass
    class TrainerConfig(Settings, key="trainer"):
        steps: Annotated[int, AtLeast(1)] = 2000
        \"\"\"Optimizer steps to train for.\"\"\"

`Settings` checks and converts every field. The help and docs/settings.md are generated from the
same types and sentences. Nothing here needs torch or numpy.

`fields` reads the types of fields and checks values against them, `markers` and `globs` have the
bounds.
"""

from vae3d.bounds.fields import (
    MISSING,
    Bound,
    Settings,
    allows_none,
    check_fields,
    did_you_mean,
    hints_of,
    is_number,
    is_union,
    parts,
)
from vae3d.bounds.globs import OneOfOrGlobs
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
    "OneOfOrGlobs",
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
