"""`TrainerConfig`: how long, how fast and how carefully to train."""

from dataclasses import dataclass, field

from vae3d.errors import ConfigError
from vae3d.trainer.optimizer import OPTIMIZERS

BEST_BY = {"psnr": 1, "ssim": 1, "mse": -1, "mae": -1}
"""Scores that can choose the best step, with the sign that makes more better."""

MAY_BE_ALLOWED = ("lr", "min_lr_ratio", "warmup_steps", "weight_decay", "clip_norm", "precision")
"""What alters the steps to come, and may do so in the middle of a run when that is asked for."""
ALTERS = (*MAY_BE_ALLOWED, "optimizer", "ema_decay")
"""What alters the steps to come; all else may change from one start of a run to the next."""


@dataclass
class TrainerConfig:
    """The loop's settings.

    A *step* is one optimizer update over `batch_size * accumulation` patches on each rank.
    `epochs` sets the number of steps where given, else `steps` does. The learning rate grows
    linearly over `warmup_steps`, then falls along a cosine to `lr * min_lr_ratio`. Every
    `val_every` steps at most `val_cases` (null: all) held-out volumes are scored. `compile` has
    torch compile the model: minutes at the start, faster steps.

    The newest `keep_checkpoints` and the `keep_best` by `best_by` stay on disk. `patience`
    validations without a better one end the training. `max_nonfinite` steps in a row may be
    skipped because a number in them was not finite. A rank that keeps the others waiting for
    `timeout` seconds ends the job. `resume` is the step to go back to; null is the newest
    checkpoint that is whole. `allow_change` names settings that may differ from the run's own.
    """

    steps: int = 2000
    epochs: int | None = None
    batch_size: int = 4
    accumulation: int = 1
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    min_lr_ratio: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float | None = None
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    log_every: int = 10
    val_every: int = 500
    val_cases: int | None = 8
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    keep_best: int = 1
    best_by: str = "psnr"
    patience: int | None = None
    max_nonfinite: int = 0
    timeout: float = 1800.0
    resume: int | None = None
    allow_change: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every", "val_every"):
            self._at_least(name, 1)
        for name in ("checkpoint_every", "epochs", "val_cases", "keep_best", "patience", "resume"):
            self._at_least(name, 1)
        # With one alone nothing would be left where the newest one is damaged.
        self._at_least("keep_checkpoints", 2)
        for name in ("warmup_steps", "weight_decay", "max_nonfinite"):
            self._at_least(name, 0)
        for name in ("lr", "clip_norm", "timeout"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"trainer.{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.min_lr_ratio <= 1:
            raise ConfigError(f"trainer.min_lr_ratio must lie in [0, 1], got {self.min_lr_ratio}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ConfigError(f"trainer.ema_decay must lie in (0, 1), got {self.ema_decay}")
        for name in self.allow_change:
            if name not in MAY_BE_ALLOWED:
                raise ConfigError(
                    f"trainer.allow_change may hold {', '.join(MAY_BE_ALLOWED)}, got {name!r}"
                )
        for name, choices in (("optimizer", OPTIMIZERS), ("best_by", BEST_BY)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"trainer.{name} must be one of {', '.join(choices)}, "
                    f"got {getattr(self, name)!r}"
                )

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is not None and not value >= least:
            raise ConfigError(f"trainer.{name} must be at least {least}, got {value}")
