"""Which parameters of a network are trained; the others are frozen and stay bit-identical."""

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from vae3d.errors import ConfigError

KEY = "trainer.train"
SIDES = ("decoder", "encoder")
"""The parts that have a word of their own, besides `all`."""


def freeze(model: nn.Module, choice: str | Sequence[str]) -> None:
    """Let only the chosen parameters of a model be trained.

    `choice` is `all`, one of SIDES, or shell-style patterns of names, such as `decoder.head.*`.

    Raises:
        ConfigError: a pattern matches no parameter, or none is left to train.
    """
    patterns = _patterns(choice)
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, [*_groups(names), *names], n=3, cutoff=0.3)
            raise ConfigError(
                f"{KEY}: {pattern!r} matches no parameter of this model; the nearest are "
                f"{', '.join(near or names[:3])}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))
    model.train(model.training)


def check_start(choice: str | Sequence[str], starts_from: object) -> None:
    """Refuse to keep one side of a network as it is where it is random.

    `starts_from` is what a training takes its first weights from; None is random ones. Patterns
    name what is trained on purpose, and are never refused.

    Raises:
        ConfigError: one side of random weights would be frozen.
    """
    if choice in SIDES and starts_from is None:
        kept = next(side for side in SIDES if side != choice)
        raise ConfigError(
            f"{KEY}={choice} keeps the {kept} as it is, which is random in a new run: name "
            f"weights, as in init_from=runs/x (or {KEY}=[{choice}.*] to keep a random one)"
        )


def frozen_parts(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that have parameters, all of which are frozen."""
    if all(parameter.requires_grad for parameter in model.parameters()):
        return
    for module in model.modules():
        parameters = [*module.parameters()]
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            yield module


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names of the frozen parameters, and of the buffers of frozen parts."""
    parts = {id(part) for part in frozen_parts(model)}
    buffers = {
        f"{name}.{buffer}".lstrip(".")
        for name, module in model.named_modules()
        if id(module) in parts
        for buffer, _ in module.named_buffers(recurse=False)
    }
    return buffers | {name for name, p in model.named_parameters() if not p.requires_grad}


def is_frozen(module: nn.Module) -> bool:
    """Return whether no parameter of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())


def trained_parameters(model: nn.Module) -> list[Tensor]:
    """Return the parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _patterns(choice: str | Sequence[str]) -> list[str]:
    if isinstance(choice, str):
        return ["*"] if choice == "all" else [f"{choice}.*"]
    return [*choice]


def _groups(names: Sequence[str]) -> list[str]:
    """Return a pattern for each module of some parameters."""
    modules: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        modules.update(dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts))))
    return [f"{module}.*" for module in modules]
