"""Tiny networks with random weights, made and saved by the libraries themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch

MONAI: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4, 8],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "latent_channels": 2,
        "norm_num_groups": 2,
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
    "AutoencoderKlMaisi": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "num_channels": [4, 8],
        "num_res_blocks": [1, 1],
        "attention_levels": [False, False],
        "latent_channels": 2,
        "norm_num_groups": 2,
        "num_splits": 1,
    },
    "VQVAE": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4, 8],
        "num_res_channels": [4, 8],
        "num_res_layers": 1,
        "downsample_parameters": [[2, 4, 1, 1], [2, 4, 1, 1]],
        "upsample_parameters": [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]],
        "num_embeddings": 16,
        "embedding_dim": 4,
    },
}
"""Arguments of MONAI's networks."""
DIFFUSERS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": [4, 4, 4],
        "norm_num_groups": 2,
        "latent_channels": 4,
    },
    "AutoencoderKLWan": {
        "base_dim": 4,
        "z_dim": 4,
        "dim_mult": [1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [True, True],
        "latents_mean": [0.0] * 4,
        "latents_std": [1.0] * 4,
        "scale_factor_spatial": 4,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 8,
        "block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 8, 8, 8],
        "layers_per_block": [1, 1, 1, 1, 1],
        "decoder_layers_per_block": [1, 1, 1, 1, 1],
    },
    "AutoencoderKLCogVideoX": {
        "down_block_types": ["CogVideoXDownBlock3D"] * 3,
        "up_block_types": ["CogVideoXUpBlock3D"] * 3,
        "block_out_channels": [4, 4, 4],
        "latent_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "temporal_compression_ratio": 4,
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4,
        "encoder_block_out_channels": [8, 8, 8, 8],
        "decode_block_out_channels": [8, 8, 8, 8],
        "attention_resolutions": [8],
        "num_layers": 1,
        "resolution": 64,
    },
}
"""Arguments of diffusers' networks."""


def monai_network(name: str, path: Path, **changes: Any) -> Any:
    """Return a network of MONAI in eval mode, whose state dict is written to `path`."""
    pytest.importorskip("monai")
    from vae3d.autoencoder.config import MONAI_NETWORKS
    from vae3d.runtime.registry import load

    torch.manual_seed(0)
    network = load(MONAI_NETWORKS[name])(**MONAI[name] | changes).eval()
    torch.save(network.state_dict(), path)
    return network


def diffusers_network(name: str, folder: Path) -> Any:
    """Return a network of diffusers in eval mode, which is saved to `folder`."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = getattr(diffusers, name)(**DIFFUSERS[name]).eval()
    network.save_pretrained(folder)
    return network
