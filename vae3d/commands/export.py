"""The settings, examples and summary of `vae3d export`."""

from vae3d.exchange.config import ExportConfig
from vae3d.settings.command import Command

COMMAND = Command(
    name="export",
    summary="write weights for MONAI, torch.export or ONNX",
    about=(
        "Writes a network for programs that do not have vae3d, with the scale of its latents, "
        "loads it again and compares its output with the model's."
    ),
    config=ExportConfig,
    run="vae3d.commands.export_run:export",
    examples=(
        ("vae3d export run=runs/ct64 to=onnx output=ct64-onnx", "encoder.onnx and decoder.onnx"),
        ("vae3d export run=weights/maisi to=monai output=maisi", "for MONAI's own class"),
        ("vae3d export run=runs/ct64 weights=latest to=torch output=graphs", "torch.export"),
    ),
    plain="run",
)
