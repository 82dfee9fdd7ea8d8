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
            "vae3d import a.pt kind=monai output=weights/a window=[-1000,1000]",
            "an autoencoder for CT",
        ),
        ("vae3d import vgg16.pth kind=features output=weights/vgg16", "a feature network"),
    ),
    plain="input",
)
