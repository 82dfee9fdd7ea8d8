"""`TrainerConfig`: how long, how fast and how carefully to train."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from vae3d.bounds import (
    PATH,
    Above,
    AtLeast,
    Between,
    Gibibytes,
    OneOf,
    OneOfOrGlobs,
    Settings,
    SomeOf,
)
from vae3d.runtime.choices import DEVICES, ONE_GPU, PRECISIONS, REFUSED_DEVICES
from vae3d.runtime.registry import Registry

if TYPE_CHECKING:
    from torch.optim import Optimizer

OPTIMIZERS: "Registry[Callable[..., Optimizer]]" = Registry(
    "optimizer",
    {
        "adamw": "vae3d.trainer.optimizer:adamw",
        "adam": "vae3d.trainer.optimizer:adam",
        "sgd": "vae3d.trainer.optimizer:sgd",
    },
)
"""Optimizers by name."""

MAX_VAL_EVERY, VALIDATIONS = 500, 5
"""Steps between two validations by default, at most, and validations of a short training."""
BEST_BY = {"psnr": 1, "ssim": 1, "mse": -1, "mae": -1, "fsc": 1, "fsc_05": 1, "fsc_0143": 1}
"""Scores that can choose the best step: 1 where higher is better, -1 where lower is. Of the scores
of sharpness these are the ones that noise and blur make worse: a power or a staircase near 1 says
nothing about the rest of the image."""
VALIDATED = ("psnr", "ssim", "mse", "mae")
"""Scores of every validation; the one that chooses is added."""

ALLOWABLE = (
    *("lr", "min_lr_ratio", "warmup_steps", "weight_decay", "clip_norm", "precision"),
    *("portions", "threads_per_portion"),
)
"""Keys that affect the coming steps and may change in a run if `allow_change` lists them."""
RESTRICTED = (*ALLOWABLE, "optimizer", "ema_decay", "train", "halo")
"""Keys that affect the coming steps; all others may change whenever a run resumes."""
RECORDED = ("portions", "threads_per_portion", "val_every")
"""Keys that are null until a run begins, which keeps them."""


@dataclass
class TrainerConfig(Settings, key="trainer"):
    """The training loop.

    A *step* is one optimizer update over `batch_size * accumulation` patches on each rank.
    """

    steps: Annotated[int, AtLeast(1)] = 2000
    """Optimizer steps to train for; a finished run is extended by a larger number."""
    train: Annotated[Any, OneOfOrGlobs("all", "decoder", "encoder")] = "all"
    """What is trained: all, one side, or the parameters that match a list of patterns, as in
    trainer.train=[decoder.head.*]; the rest is frozen and stays bit-identical."""
    latents: Annotated[str | None, PATH] = None
    """Folder of vae3d encode whose latents the decoder is trained on, instead of encoding patches;
    needs trainer.train=decoder."""
    halo: Annotated[int | None, AtLeast(0)] = None
    """Latent voxels on each side of a patch that are decoded with it and not scored, with
    trainer.latents; null is as many as the decoder looks at, more memory and time."""
    epochs: Annotated[int | None, AtLeast(1)] = None
    """Passes over the training patches; replaces steps where it is set."""
    batch_size: Annotated[int, AtLeast(1)] = 4
    """Patches in one forward pass on each rank; lower it when memory runs out, and raise
    accumulation."""
    accumulation: Annotated[int, AtLeast(1)] = 1
    """Forward passes whose gradients are added up for one optimizer step."""
    portions: Annotated[int | None, AtLeast(1)] = None
    """Parts of a batch whose gradients are computed independently and added up; null is half of
    batch_size on a CPU, 1 elsewhere and for runs of earlier versions."""
    threads_per_portion: Annotated[int | None, AtLeast(1)] = None
    """Threads that compute one portion; null is an equal share of the cores on which the run
    begins, and always all of them with one portion."""
    lanes: Annotated[int | None, AtLeast(1)] = None
    """Portions computed at the same time, which changes memory and speed but no result; null is as
    many as the cores of this process have threads for."""
    optimizer: Annotated[str, OneOf(of=OPTIMIZERS)] = "adamw"
    """Optimizer; sgd has Nesterov momentum 0.9."""
    lr: Annotated[float, Above(0)] = 2e-3
    """Peak learning rate, reached after warmup_steps; lower it for large models or when the loss
    diverges."""
    weight_decay: Annotated[float, AtLeast(0)] = 0.01
    """Weight decay of convolutions; biases and norms have none."""
    warmup_steps: Annotated[int, AtLeast(0)] = 100
    """Steps over which the learning rate grows linearly from 0."""
    min_lr_ratio: Annotated[float, Between(0, 1)] = 0.01
    """Learning rate at the end of the cosine schedule, as a share of lr."""
    clip_norm: Annotated[float, Above(0)] = 1.0
    """Largest norm of the gradient; larger gradients are scaled down."""
    ema_decay: Annotated[float | None, Between(0, 1, "()")] = None
    """Decay of an exponential moving average of the weights, which is validated and saved; null
    keeps none, 0.999 is usual for long trainings."""
    precision: Annotated[str, OneOf(*PRECISIONS)] = "auto"
    """Number format of the forward pass; auto is bf16 where the device computes in it, else
    fp32."""
    device: Annotated[str, OneOf(*DEVICES, like=ONE_GPU, refused=REFUSED_DEVICES)] = "auto"
    """Where to compute; auto takes this rank's GPU if there is one; cuda:1 is one of
    several."""
    memory: Annotated[Any, Gibibytes()] = None
    """GiB that a training step may take, by recomputing activations in the backward pass; auto is
    half of the device's memory, null leaves it to model.checkpointing."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start, faster steps."""
    log_every: Annotated[int, AtLeast(1)] = 10
    """Steps between two lines of metrics.csv."""
    val_every: Annotated[int | None, AtLeast(1)] = None
    """Steps between two validations; null is a fifth of the training, at most 500 steps."""
    val_cases: Annotated[int | None, AtLeast(1)] = 8
    """Held-out volumes scored in a validation, at most; null scores all."""
    checkpoint_every: Annotated[int, AtLeast(1)] = 500
    """Steps between two checkpoints, from which an interrupted training resumes."""
    keep_checkpoints: Annotated[int, AtLeast(2)] = 2
    """Newest checkpoints kept on disk; at least two, in case the newest one is damaged."""
    keep_best: Annotated[int, AtLeast(1)] = 1
    """Best checkpoints by best_by that are kept in addition."""
    best_by: Annotated[str, OneOf(*BEST_BY)] = "psnr"
    """Validation score that chooses the best weights."""
    patience: Annotated[int | None, AtLeast(1)] = None
    """Validations without a better score after which training stops; null never stops early."""
    max_nonfinite: Annotated[int, AtLeast(0)] = 0
    """Steps in a row that may be skipped because a loss or gradient is not finite; one more ends
    the training."""
    timeout: Annotated[float, Above(0)] = 1800.0
    """Seconds that a rank may keep the others waiting before the job ends."""
    resume: Annotated[int | None, AtLeast(1)] = None
    """Step of the checkpoint to go back to; null resumes from the newest one that is whole."""
    allow_change: Annotated[list[str], SomeOf(*ALLOWABLE)] = field(default_factory=list)
    """Settings that may differ from those the run was trained with so far, as in
    trainer.allow_change=[lr]."""

    def keeping(self, recorded: Mapping[str, Any]) -> "TrainerConfig":
        """Return these settings with what a run recorded, where they are null here."""
        missing = [name for name in RECORDED if getattr(self, name) is None]
        values: dict[str, Any] = {name: recorded.get(name) for name in missing}
        return replace(self, **values)

    def divided(self, device: str, cores: int, in_parts: bool) -> "TrainerConfig":
        """Return these settings with the portions of a batch filled in, for a kind of device.

        Unless a batch can be computed `in_parts`, it is one portion by default.
        """
        # Two patches to a portion: one alone takes a fifth more time (docs/experiments.md).
        default = max(1, self.batch_size // 2) if device == "cpu" and in_parts else 1
        portions = self.portions or default
        share = max(1, cores // portions) if portions > 1 else None
        threads = self.threads_per_portion or share
        return replace(self, portions=portions, threads_per_portion=threads)

    def validation_interval(self, total_steps: int) -> int:
        """Return `val_every`, or its default for a training of `total_steps`."""
        return self.val_every or min(MAX_VAL_EVERY, max(1, total_steps // VALIDATIONS))
