"""Trains MONAI's DiffusionModelUNet on latents that `vae3d encode` wrote.

    python train.py latents --output diffusion --steps 800

Writes `diffusion.safetensors`, the averaged weights, and `diffusion.json`, which says what they
are: all that `sample.py` needs.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDPMScheduler
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vae3d import LatentDataset
from vae3d.runtime.messages import show_messages

log = logging.getLogger("vae3d.train")


UNET: dict[str, Any] = {
    "channels": [32, 64, 64],
    "num_res_blocks": 1,
    "attention_levels": [False, False, True],  # only where a latent is a few voxels wide
    "norm_num_groups": 16,
    "num_head_channels": 32,
}
STRIDE = 2 ** (len(UNET["channels"]) - 1)
# The velocity is learned: it is well posed at every noise level, also where no signal is left.
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "schedule": "cosine",
    "prediction_type": "v_prediction",
}


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("latents", type=Path, help="a folder that vae3d encode wrote")
    parser.add_argument("--output", type=Path, default=Path("diffusion"))
    parser.add_argument("--size", type=int, nargs="+", help="cut latents to it, at random")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.995, help="decay of the averaged weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def opened(args: argparse.Namespace) -> LatentDataset:
    """Samples of the posteriors of the training cases, each channel of mean 0 and deviation 1."""
    size = tuple(args.size) if args.size else None
    latents = LatentDataset(args.latents, split="train", size=size, seed=args.seed)
    found = {size} if size else {entry.size for entry in latents.entries}
    if len(found) > 1 or any(side % STRIDE for side in next(iter(found))):
        raise SystemExit(
            f"latents must be of one size that {STRIDE} divides, got {sorted(found)[:3]}; "
            f"--size cuts them to one"
        )
    return latents


def batches(latents: LatentDataset, args: argparse.Namespace) -> Iterator[Tensor]:
    """Latents (B, C, *size) without end, every epoch in another order and of other samples."""
    order = torch.Generator().manual_seed(args.seed)
    count = min(args.batch, len(latents))
    loader = DataLoader(latents, count, shuffle=True, drop_last=True, generator=order)
    epoch = 0
    while True:
        latents.set_epoch(epoch)
        for batch in loader:
            yield batch["latent"]
        epoch += 1


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Moves the average towards the weights, in the first steps faster."""
    decay = min(decay, (1 + step) / (10 + step))
    for ours, theirs in zip(average.parameters(), net.parameters(), strict=True):
        ours.lerp_(theirs, 1 - decay)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, and writes the averaged weights."""
    show_messages()
    args = parsed(arguments)
    latents = opened(args)
    channels, *size = latents[0]["latent"].shape
    unet = {"spatial_dims": len(size), "in_channels": channels, "out_channels": channels, **UNET}
    torch.manual_seed(args.seed)  # of the initial weights
    net = DiffusionModelUNet(**unet).to(args.device)
    average = deepcopy(net)
    noising = DDPMScheduler(**NOISE, clip_sample=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr)
    # Down to nothing in a half cosine: the last steps polish.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    draws = torch.Generator().manual_seed(args.seed)
    mean_loss, spoke = 1.0, time.monotonic()

    for step, latent in zip(range(1, args.steps + 1), batches(latents, args), strict=False):
        noise = torch.randn(latent.shape, generator=draws)
        times = torch.randint(NOISE["num_train_timesteps"], (len(latent),), generator=draws)
        noisy = noising.add_noise(latent, noise, times).to(args.device)
        velocity = noising.get_velocity(latent, noise, times).to(args.device)
        loss = F.mse_loss(net(noisy, times.to(args.device)), velocity)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        follow(average, net, args.ema, step)
        mean_loss += (loss.item() - mean_loss) / min(step, 50)
        if time.monotonic() - spoke > 10 or step == args.steps:
            spoke = time.monotonic()
            log.info(f"step {step}/{args.steps} loss {mean_loss:.4f}")

    args.output.mkdir(parents=True, exist_ok=True)
    save_file(average.state_dict(), args.output / "diffusion.safetensors")
    told = {"unet": unet, "noise": NOISE, "size": size, "normalise": latents.normalise}
    (args.output / "diffusion.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
