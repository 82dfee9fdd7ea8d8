"""The examples and summary of `vae3d probe`; its settings are in `vae3d.probing.config`."""

from vae3d.probing.config import ProbeConfig
from vae3d.settings.command import Command

COMMAND = Command(
    name="probe",
    summary="measure what latents know of labels, by a linear model, next to downsampled scans",
    about=(
        "Fits a linear model to the latents of vae3d encode in cross-validation by patient, and "
        "the same to as many voxels of the downsampled scans. Needs scikit-learn: vae3d[probe]."
    ),
    config=ProbeConfig,
    run="vae3d.probing.command:probe",
    examples=(
        ("vae3d probe latents labels=labels.csv label=sex data.root=/scans", "a class"),
        ("vae3d probe a b labels=labels.csv label=age group=patient output=age.json", "a number"),
    ),
    plain="latents",
)
