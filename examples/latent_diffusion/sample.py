"""Draws latents from a diffusion model that `train.py` made.

    python sample.py diffusion --output samples.safetensors --count 4

They are normalised numbers (N, C, *size), as the model knows them; `vae3d decode` with
`scaling=channels statistics=latents` brings them back to the VAE's and makes them volumes.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.runtime.messages import show_messages

log = logging.getLogger("vae3d.sample")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model", type=Path, help="the folder that train.py wrote")
    parser.add_argument("--output", type=Path, default=Path("samples.safetensors"))
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50, help="a divisor of 1000")
    parser.add_argument("--seed", type=int, default=0, help="of the first; then the next one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


@torch.no_grad()
def denoised(
    net: DiffusionModelUNet, latent: Tensor, noise: dict[str, str | int], steps: int
) -> Tensor:
    """Latents (N, C, *size) of pure noise of the same shape, by DDIM."""
    scheduler = DDIMScheduler(**noise, clip_sample=False)
    scheduler.set_timesteps(steps)
    # MONAI spaces the steps from the first level to the last, but takes each to be 1000 // steps
    # wide. These are that wide: every step ends on the very level that the next one is told.
    last = scheduler.num_train_timesteps - 1
    for level in range(last, -1, -(scheduler.num_train_timesteps // steps)):
        times = torch.full((len(latent),), level, device=latent.device)
        latent, _ = scheduler.step(net(latent, times), level, latent)
    return latent


def main(arguments: Sequence[str] | None = None) -> None:
    """Samples, and writes them."""
    show_messages()
    args = parsed(arguments)
    told = json.loads((args.model / "diffusion.json").read_text())
    net = DiffusionModelUNet(**told["unet"])
    net.load_state_dict(load_file(args.model / "diffusion.safetensors"))
    net.eval().to(args.device)
    shape = (told["unet"]["in_channels"], *told["size"])
    found = []
    for number in range(args.count):  # one at a time: a sample depends on its number alone
        draws = torch.Generator().manual_seed(args.seed + number)
        start = torch.randn((1, *shape), generator=draws).to(args.device)
        found.append(denoised(net, start, told["noise"], args.steps).cpu())
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_file({"latents": torch.cat(found)}, args.output)
    log.info(f"{args.count} latents of {shape}: {args.output}")


if __name__ == "__main__":
    main()
