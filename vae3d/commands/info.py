"""The settings, examples and summary of `vae3d info`."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from vae3d.bounds import CODE, PATH, AtLeast, Between, Gibibytes, OneOf, PerAxis, Settings
from vae3d.errors import ConfigError
from vae3d.model.config import VAEConfig
from vae3d.runtime.choices import DEVICES, ONE_GPU, PRECISIONS, REFUSED_DEVICES
from vae3d.settings.command import Command


@dataclass
class InfoConfig(Settings):
    """The settings of a model summary."""

    run: Annotated[str | None, PATH] = None
    """Run folder or folder of weights whose model is shown; null shows the model of model=."""
    size: Annotated[Any, PerAxis(Between(1, 4096))] = (64,)
    """Side of the image or patch in voxels, one number or one per axis."""
    memory: Annotated[Any, Gibibytes()] = None
    """GiB for which to report whether such an image goes through in one pass or slab by slab; auto
    is half of the device's memory."""
    batch_size: Annotated[int | None, AtLeast(1)] = None
    """Patches in a training step whose memory is reported, and what it recomputes to fit in
    memory; null reports none."""
    measure: bool = True
    """Measure memory and time of a training step and of a reconstruction."""
    precision: Annotated[str, OneOf(*PRECISIONS)] = "auto"
    """Number format of the measured passes; auto is bf16 where the device computes in it, else
    fp32."""
    device: Annotated[str, OneOf(*DEVICES, like=ONE_GPU, refused=REFUSED_DEVICES)] = "auto"
    """Where to compute; auto takes the GPU if there is one; cuda:1 is one of several."""
    plugins: Annotated[list[str], CODE] = field(default_factory=list)
    """Python modules to import first, for models with norms or activations of your own; taken from
    the command line only."""
    model: VAEConfig = field(default_factory=VAEConfig)
    """The architecture."""

    def check_given(self) -> None:
        """Raise a ConfigError if both a run and a model are named."""
        super().check_given()
        typed = sorted(key for key in self.typed if key.partition(".")[0] == "model")
        if self.run is not None and typed:
            raise ConfigError(
                f"run={self.run} has a model of its own: drop {', '.join(f'{k}=' for k in typed)} "
                "or run="
            )


COMMAND = Command(
    name="info",
    summary="show what a model is and what it needs on this machine",
    about=(
        "Lists the layers, parameters, receptive field and FLOPs of a model, and measures memory "
        "and time on this machine."
    ),
    config=InfoConfig,
    run="vae3d.commands.info_run:info",
    examples=(
        ("vae3d info model=small size=64", "a model on patches of 64^3"),
        ("vae3d info run=runs/ct64 measure=false", "the model of a run, without measuring"),
        ("vae3d info model=base size=[275,512,512] memory=8", "does a whole CT fit in 8 GiB?"),
        ("vae3d info model=base memory=8 batch_size=4", "what does training recompute in 8 GiB?"),
    ),
    plain="run",
)
