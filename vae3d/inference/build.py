"""`build_runner`: the runner of a mode of inference."""

import torch

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.inference.config import MODES, InferenceConfig
from vae3d.inference.patches import PatchRunner
from vae3d.inference.runner import MEMORY_KEY, ModelRunner
from vae3d.runtime.precision import Precision


def build_runner(
    config: InferenceConfig,
    mode: str,
    model: CustomVAE,
    device: torch.device,
    precision: Precision,
) -> ModelRunner:
    """Return the runner of one of MODES, with the model on the device.

    Raises:
        ConfigError: an unknown mode, or a size of patches that does not fit the model's axes.
    """
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "patch":
        return PatchRunner(model, device, precision, config)
    return ModelRunner(model, device, precision, config.memory, MEMORY_KEY)
