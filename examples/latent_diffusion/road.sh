#!/usr/bin/env bash
# From scans to generated scans. Every setting is a variable:
#   DATA="data=ct data.root=/scans" OUT=runs/ct_diffusion bash examples/latent_diffusion/road.sh
# What is finished is not done again: the same command with more STEPS or COUNT trains or draws anew.
set -feuo pipefail # -f: [32,64,64] is no pattern of files
: "${DATA:=data.shape=[32,64,64] data.count=256}" # phantoms
: "${VAE:=model=small trainer.steps=800 loss.kl_weight=1e-3}" # smoother latents than by default
: "${STEPS:=800}" "${COUNT:=4}"
: "${OUT:=runs/latent_diffusion}" "${PYTHON:=python}"
here=$(dirname "$0")
vae3d() { "$PYTHON" -m vae3d "$@"; }

# shellcheck disable=SC2086  # several settings in one variable
vae3d train name=vae runs_dir="$OUT" $DATA $VAE
vae3d encode run="$OUT/vae" output="$OUT/latents"
"$PYTHON" "$here/train.py" "$OUT/latents" --output "$OUT/diffusion" --steps "$STEPS"
"$PYTHON" "$here/sample.py" "$OUT/diffusion" --output "$OUT/samples.safetensors" --count "$COUNT"
# Generated scans lie over the first real one; its file is the third column.
first="$OUT/latents/$(sed -n 2p "$OUT/latents/manifest.csv" | cut -d, -f3)"
vae3d decode run="$OUT/vae" input="$OUT/samples.safetensors" output="$OUT/generated" \
  scaling=channels statistics="$OUT/latents" like="$first" existing=replace
vae3d decode run="$OUT/vae" input="$OUT/latents" output="$OUT/real" existing=skip
"$PYTHON" "$here/look.py" "$OUT/generated" "$OUT/real" --output "$OUT/look.png"
