"""The settings, examples and summary of `vae3d import`, a word that is no name of a module."""

from vae3d.exchange.config import ImportConfig
from vae3d.settings.command import Command

COMMAND = Command(
    name="import",
    summary="read weights of MONAI, or of a feature network",
    about=(
        "Turns a file of tensors into a folder that other commands read: an autoencoder of MONAI "
        "for run= and init_from=, or a network whose features a perceptual loss compares."
    ),
    config=ImportConfig,
    run="vae3d.commands.import_weights_run:import_weights",
    examples=(
        (
            "vae3d import kind=monai input=autoencoder.pt output=weights/maisi "
            "window=[-1000,1000] unit_range=true",
            "MAISI's autoencoder",
        ),
        (
            "vae3d import kind=features input=vgg16.pth heads=vgg.pth output=weights/vgg16",
            "VGG16 with the weights of LPIPS",
        ),
    ),
    plain="input",
)
