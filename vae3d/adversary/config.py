"""`AdversarySpec`: the discriminator that training plays against, and when it plays."""

from dataclasses import dataclass
from typing import Annotated

from vae3d.bounds import Above, AtLeast, Between, OneOf, Settings
from vae3d.errors import ConfigError

KINDS = ("hinge", "least_squares")
"""Losses of both players, `LOSSES` in vae3d/adversary/losses.py."""
NORMS = ("none", "group", "instance", "layer", "rms")
"""Norms of `NORMS` in vae3d/model/config.py that take no statistics over a batch."""
COLUMNS = ("adversarial", "discriminator", "real_accuracy", "fake_accuracy")
"""What every training with an adversary logs, besides its weight and its gradient's norm."""


@dataclass
class AdversarySpec(Settings, key="loss.adversary"):
    """A patch discriminator that learns to distinguish reconstructions from scans.

    It is updated in the same step as the VAE, which learns to have its reconstructions taken for
    scans.
    """

    weight: Annotated[float, AtLeast(0)] = 0.0
    """Weight of the adversarial term; 0 trains without a discriminator, 0.1 is usual with
    adaptive=false, 0.5 with adaptive=true."""
    adaptive: bool = False
    """Multiply weight by the ratio of the gradient norms of the other terms and of the adversarial
    one, at the decoder's last layer in the previous step (Esser et al. 2021, equation 7)."""
    start_step: Annotated[int, AtLeast(0)] = 0
    """Optimizer step at which the adversary begins; until then the training is one without it."""
    ramp_steps: Annotated[int, AtLeast(0)] = 0
    """Steps from start_step over which weight grows linearly from 0, while the discriminator
    already learns."""
    stop_step: Annotated[int | None, AtLeast(1)] = None
    """Optimizer step from which the training is one without an adversary again; null never
    stops."""
    kind: Annotated[str, OneOf(*KINDS)] = "hinge"
    """Losses of both players: hinge (Lim and Ye 2017) or least_squares (Mao et al. 2017)."""
    levels: Annotated[int, Between(1, 6)] = 3
    """Convolutions between the first and the last one of the discriminator; each but the last of
    them halves the image, and its receptive field is 70 voxels for 3."""
    channels: Annotated[int, Between(1, 512)] = 32
    """Channels of the discriminator's first convolution, doubled by each of levels."""
    planes: bool = False
    """Judge the slices of volumes along each of the three axes with a 2D discriminator, as MedVAE
    does."""
    norm: Annotated[str, OneOf(*NORMS)] = "instance"
    """Norm of the discriminator; none has statistics over a batch."""
    spectral_norm: bool = False
    """Divide the discriminator's weights by their spectral norm (Miyato et al. 2018), with one
    power iteration per step; usual with norm=none."""
    feature_matching: Annotated[float, AtLeast(0)] = 0.0
    """Weight, within the adversarial term, of the distance between the discriminator's features of
    scan and reconstruction (Wang et al. 2018, equation 4)."""
    r1: Annotated[float, AtLeast(0)] = 0.0
    """Weight of the penalty on the discriminator's gradient at scans (Mescheder et al. 2018,
    equation 9); steadier, at about twice the discriminator's time."""
    lr: Annotated[float, Above(0)] = 2e-4
    """Peak learning rate of the discriminator, which follows the cosine of trainer.lr without its
    warm-up."""
    beta1: Annotated[float, Between(0, 1, "[)")] = 0.5
    """Decay of the mean of its gradients, for optimizers of the Adam family."""
    beta2: Annotated[float, Between(0, 1, "[)")] = 0.9
    """Decay of the mean of their squares."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop_step is not None and self.stop_step <= self.start_step:
            raise ConfigError(
                f"loss.adversary.stop_step must be above start_step ({self.start_step}), "
                f"got {self.stop_step}"
            )

    @property
    def columns(self) -> list[str]:
        """The names under which a training logs what the players do; none without an adversary."""
        if not self.weight:
            return []
        optional = [name for name in ("feature_matching", "r1") if getattr(self, name)]
        return [*COLUMNS, *optional, "adversary_weight", "discriminator_grad_norm"]

    def plays(self, step: int) -> bool:
        """Return whether the discriminator takes part in this optimizer step."""
        before_end = self.stop_step is None or step < self.stop_step
        return self.weight > 0 and self.start_step <= step and before_end

    def weight_at(self, step: int) -> float:
        """Return the weight of the adversarial term at an optimizer step, before `adaptive`."""
        if not self.plays(step):
            return 0.0
        ramp = (step - self.start_step) / self.ramp_steps if self.ramp_steps else 1.0
        return self.weight * min(1.0, ramp)

    def phase(self, steps: int) -> str:
        """Return the phase to which weights belong after this number of optimizer steps.

        One of `before`, `ramp`, `with` and `after` the adversary. Scores of different phases are
        not compared: an adversary makes pictures sharper and squared errors larger.
        """
        if not self.weight or steps <= self.start_step:
            return "before"
        if self.stop_step is not None and steps > self.stop_step:
            return "after"
        return "with" if steps > self.start_step + self.ramp_steps else "ramp"

    def ends(self, phase: str) -> bool:
        """Return whether another phase follows this one."""
        if phase == "with":
            return self.stop_step is not None
        return self.weight > 0 and phase != "after"

    def kept_as(self, steps: int) -> list[str]:
        """Return the names under which the best weights after this number of steps are saved.

        `best` is that of the latest phase. Those of a phase that ends have a name of their own.
        """
        phase = self.phase(steps)
        own = self.ends(phase) and phase != "ramp"
        return ["best", f"best_{phase}_adversary"] if own else ["best"]
