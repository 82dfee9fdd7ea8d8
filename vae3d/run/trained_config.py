"""Settings that all commands on trained weights share."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from vae3d.bounds import CODE, PATH, Gibibytes, OneOf, Settings, SomeOf
from vae3d.errors import ConfigError
from vae3d.runtime.choices import ALLOWABLE, DEVICES, ONE_GPU, PRECISIONS, REFUSED_DEVICES
from vae3d.scans.formats import DTYPES

WEIGHTS = ("auto", "best", "latest")
EXISTING = ("fail", "skip", "replace")


@dataclass
class TrainedConfig(Settings):
    """The weights that a command uses, and where it computes."""

    run: Annotated[str | None, PATH] = None
    """Run folder, or a folder of weights, as in run=runs/ct64."""
    weights: Annotated[str, OneOf(*WEIGHTS)] = "auto"
    """Weights of the run: the best ones, the latest ones, or auto for the best where there are
    any."""
    allow: Annotated[list[str], SomeOf(*ALLOWABLE)] = field(default_factory=list)
    """What may differ from what the weights were trained with, as in allow=[window]; all else that
    differs is refused; weights allows latents of other weights."""
    device: Annotated[str, OneOf(*DEVICES, like=ONE_GPU, refused=REFUSED_DEVICES)] = "auto"
    """Where to compute; auto takes this rank's GPU if there is one; cuda:1 is one of
    several."""
    plugins: Annotated[list[str], CODE] = field(default_factory=list)
    """Python modules to import first, for weights that use norms, activations or metrics of your
    own; taken from the command line only."""

    def check_given(self) -> None:
        """Raise a ConfigError if no weights are named."""
        super().check_given()
        self.run_name()

    def run_name(self) -> str:
        """Return the name of the weights.

        Raises:
            ConfigError: there is none.
        """
        if self.run is None:
            raise ConfigError("run must name a run folder, for example run=runs/vae3d")
        return self.run


@dataclass
class CodecConfig(TrainedConfig):
    """How the network computes latents or scans."""

    memory: Annotated[Any, Gibibytes()] = "auto"
    """GiB that the network may use; larger volumes go slab by slab with the same result; auto is
    half of the device's memory, null no limit."""
    precision: Annotated[str, OneOf(*PRECISIONS)] = "fp32"
    """Number format of the forward pass; auto is bf16 where the device computes in it, else
    fp32."""


@dataclass
class ToScansConfig(CodecConfig):
    """The settings that `vae3d decode` and `vae3d reconstruct` share."""

    input: Annotated[str | None, PATH] = None
    """File or folder to read; must be given."""
    output: Annotated[str, PATH] = "scans"
    """Folder to write to; for a single input a file."""
    existing: Annotated[str, OneOf(*EXISTING)] = "fail"
    """What to do with files that exist: stop, skip them, or replace them."""
    dtype: Annotated[str, OneOf("auto", *DTYPES)] = "auto"
    """Number type of the written scans; auto is that of the scan's own file, else float32."""
    sample: bool = False
    """Decode a sample of each posterior, drawn from (seed, case), instead of its mean."""
    seed: int = 0
    """Seed of the samples with sample=true."""
