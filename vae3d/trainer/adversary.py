"""`build_adversary`: the second player of a training, with an optimizer of the trainer's kind."""

import logging

from vae3d.adversary.config import AdversarySpec
from vae3d.adversary.discriminator import build_discriminator
from vae3d.adversary.player import Adversary, NoAdversary, Schedule
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.messages import counted
from vae3d.runtime.precision import Precision
from vae3d.trainer.config import TrainerConfig
from vae3d.trainer.optimizer import build_optimizer, learning_rate

log = logging.getLogger(__name__)


def build_adversary(
    spec: AdversarySpec,
    model: CustomVAE,
    config: TrainerConfig,
    total_steps: int,
    distributed: Distributed,
    precision: Precision,
    seed: int,
) -> NoAdversary:
    """Return the adversary of a training, or none if it has no weight.

    Raises:
        ConfigError: the weight cannot be adaptive in this training.
    """
    if not spec.weight:
        return NoAdversary()
    check_adversary(spec, model, config)
    if spec.start_step >= total_steps and distributed.is_main:
        log.warning(
            f"loss.adversary.start_step={spec.start_step} is not reached in "
            f"{counted(total_steps, 'step')}: the adversary never plays"
        )
    dims, channels = model.config.dims, model.config.in_channels
    discriminator = build_discriminator(spec, dims, channels, seed).to(distributed.device)
    optimizer = build_optimizer(config.optimizer, discriminator, spec.lr, weight_decay=0.0)
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (spec.beta1, spec.beta2)

    def rate(step: int) -> float:
        return learning_rate(step, total_steps, spec.lr, 0, config.min_lr_ratio)

    schedule = Schedule(rate, config.clip_norm)
    return Adversary(spec, discriminator, optimizer, schedule, model, distributed, precision)


def check_adversary(spec: AdversarySpec, model: CustomVAE, config: TrainerConfig) -> None:
    """Refuse an adversary that does not fit the images, the network or what is trained.

    Raises:
        ConfigError: slices of images, or an adaptive weight without a gradient at the last layer.
    """
    if spec.weight and spec.planes and model.config.dims == 2:
        raise ConfigError(
            "loss.adversary.planes=true judges slices of volumes, these data are 2D; type "
            "loss.adversary.planes=false"
        )
    if not (spec.weight and spec.adaptive):
        return
    key = "loss.adversary.adaptive=true"
    if config.compile:
        raise ConfigError(f"{key} needs trainer.compile=false, or type adaptive=false")
    if not model.decoder.head.weight.requires_grad:
        raise ConfigError(
            f"{key} compares gradients at decoder.head, which trainer.train leaves out; "
            "type loss.adversary.adaptive=false"
        )
