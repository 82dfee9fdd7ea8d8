"""`least_work`: which residual blocks recompute what, so that a step fits in memory."""

import math
from collections.abc import Iterator, Mapping

from vae3d.budget.footprint import Footprint
from vae3d.layers.recomputation import RECOMPUTATIONS

Choice = dict[str, str]
"""What each residual block recomputes, one of RECOMPUTATIONS, by its name."""
Footprints = Mapping[str, Footprint]
"""The footprint of a step whose blocks all recompute the same, for each of RECOMPUTATIONS."""


def nothing(footprint: Footprint) -> Choice:
    """Return the choice that recomputes nothing in the blocks of a step."""
    return {part.block: "nothing" for part in footprint.parts if part.block is not None}


def combined(footprints: Footprints, choice: Choice) -> Footprint:
    """Return the footprint of a step with this choice.

    What a block holds does not depend on the other blocks, so that parts of different footprints
    add up.
    """
    plain = footprints["nothing"]
    parts = [
        part if part.block is None else footprints[choice[part.block]].parts[index]
        for index, part in enumerate(plain.parts)
    ]
    return Footprint(parts, plain.largest)


def least_work(footprints: Footprints, limit: float) -> Choice | None:
    """Return a choice whose peak is at most `limit` bytes; None if there is none."""
    for choice in (*_descent(footprints, limit), *_uniform(footprints)):
        if combined(footprints, choice).peak <= limit:
            return _without_needless(footprints, choice, limit)
    return None


def smallest(footprints: Footprints) -> Choice:
    """Return the choice of the lowest peak."""
    choices = (*_descent(footprints, 0), *_uniform(footprints))
    return min(choices, key=lambda choice: combined(footprints, choice).peak)


def _uniform(footprints: Footprints) -> Iterator[Choice]:
    """Yield the choices in which all blocks recompute the same."""
    for what in RECOMPUTATIONS:
        yield dict.fromkeys(nothing(footprints["nothing"]), what)


def _descent(footprints: Footprints, limit: float) -> Iterator[Choice]:
    """Yield choices that recompute more and more, until nothing is above the limit.

    Each changes the block that frees the most bytes above the limit for its work.
    """
    choice = nothing(footprints["nothing"])
    gain = 1.0
    while gain > 0:
        yield choice
        now = combined(footprints, choice)
        gains = []
        for other in _neighbours(choice, more=True):
            after = combined(footprints, other)
            freed = now.excess(limit) - after.excess(limit)
            gains.append((freed / max(after.work - now.work, 1.0), other))
        gain, choice = max(gains, key=lambda pair: pair[0], default=(0.0, choice))


def _without_needless(footprints: Footprints, choice: Choice, limit: float) -> Choice:
    """Return the choice without the recomputation that the limit does not need."""
    while True:
        others = [(combined(footprints, o), o) for o in _neighbours(choice, more=False)]
        fitting = [(print_.work, o) for print_, o in others if print_.peak <= limit]
        work, less = min(fitting, key=lambda pair: pair[0], default=(math.inf, choice))
        if work >= combined(footprints, choice).work:
            return choice
        choice = less


def _neighbours(choice: Choice, more: bool) -> Iterator[Choice]:
    """Yield the choices in which one block recomputes more, or less."""
    for block, what in choice.items():
        place = RECOMPUTATIONS.index(what)
        for other in RECOMPUTATIONS[place + 1 :] if more else RECOMPUTATIONS[:place]:
            yield {**choice, block: other}
