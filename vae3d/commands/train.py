"""The examples and summary of `vae3d train`; its settings are in vae3d/run/config.py."""

from vae3d.data.config import DATA
from vae3d.run.config import TrainConfig
from vae3d.settings.command import Command

COMMAND = Command(
    name="train",
    summary="train a VAE, or resume the run of this name",
    about=(
        "Trains a VAE and writes a run folder with weights, checkpoints, metrics and pictures. "
        "Without data= it trains on phantoms that are generated on the fly. The same command "
        "again resumes an interrupted run."
    ),
    config=TrainConfig,
    run="vae3d.commands.train_run:train",
    examples=(
        ("vae3d train", "phantoms, no data needed"),
        ("vae3d train data=ct data.root=/scans name=ct64", "a folder of CT scans"),
        ("vae3d train data=mri data.root=/scans init_from=runs/ct64", "from trained weights"),
        ("vae3d train -m trainer.lr=1e-4,1e-3 name=sweep", "a sweep, one run a value"),
    ),
    options={"data": tuple(DATA)},
    interrupted="the same command resumes from the last checkpoint",
)
