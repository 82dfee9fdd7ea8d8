"""The settings of every kind of autoencoder that can be scored, selected with `autoencoder=`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from vae3d.bounds import CODE, PATH, LowHigh, OneOf, Settings

AXES = ("depth", "height", "width")
"""The axes of a volume, in the order of its dimensions."""
CHANNELS = ("mean", "first")
"""How the channels that a network returns become the one of a scan."""
MONAI_NETWORKS = {
    "AutoencoderKL": "monai.networks.nets.autoencoderkl:AutoencoderKL",
    "AutoencoderKlMaisi": (
        "monai.apps.generation.maisi.networks.autoencoderkl_maisi:AutoencoderKlMaisi"
    ),
    "VQVAE": "monai.networks.nets.vqvae:VQVAE",
}
"""Networks of MONAI by the name of their class."""
DIFFUSERS_NETWORKS = {
    "AutoencoderKL": "diffusers:AutoencoderKL",
    "AutoencoderKLWan": "diffusers:AutoencoderKLWan",
    "AutoencoderKLLTXVideo": "diffusers:AutoencoderKLLTXVideo",
    "AutoencoderKLCogVideoX": "diffusers:AutoencoderKLCogVideoX",
    "AutoencoderKLCosmos": "diffusers:AutoencoderKLCosmos",
}
"""Networks of diffusers by the name of their class: the first is of images, others of video."""


@dataclass
class AutoencoderConfig(Settings, key="autoencoder"):
    """Which autoencoder is scored.

    `opener` is the `module:function` that returns its network; it is empty for vae3d's own.
    """

    opener: ClassVar[str] = ""
    library: ClassVar[str] = ""
    """The package that it needs, which is also the name of the extra of vae3d."""
    runs_code: ClassVar[bool] = False
    """Whether `path` is the name of a Python callable."""


@dataclass
class OwnConfig(AutoencoderConfig):
    """The weights of `run=`."""


@dataclass
class ForeignConfig(AutoencoderConfig):
    """What networks of other programs have in common."""

    range: Annotated[tuple[float, ...], LowHigh()] = (-1.0, 1.0)
    """Values [low, high] that the network takes and returns for those that the model sees as -1
    and 1, as in autoencoder.range=[0,1]."""
    channels: Annotated[str, OneOf(*CHANNELS)] = "mean"
    """A scan of one channel is repeated for a network of several; of the channels that it returns
    the mean is taken, or the first."""
    axis: Annotated[str | None, OneOf(*AXES)] = None
    """Axis along which networks of images take the slices of a volume, and which is the time of
    those of video; null is depth, and for autoencoder=python whole volumes."""


@dataclass
class MonaiConfig(ForeignConfig):
    """A network of MONAI: its weights, and the arguments of its class."""

    opener: ClassVar[str] = "vae3d.foreign.monai:open_network"
    library: ClassVar[str] = "monai"

    path: Annotated[str | None, PATH] = None
    """State dict, a .safetensors file or one of torch.save; required."""
    network: Annotated[str, OneOf(*MONAI_NETWORKS)] = "AutoencoderKL"
    """Class of the network."""
    config: Annotated[str | None, PATH] = None
    """JSON or YAML file with a table of the arguments of the class."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, in addition to those of the file and before them, as in
    autoencoder.options.spatial_dims=3."""
    range: Annotated[tuple[float, ...], LowHigh()] = (0.0, 1.0)
    """Values [low, high] that the network takes and returns for those that the model sees as -1
    and 1; MONAI's own trainings scale images to [0, 1]."""


@dataclass
class DiffusersConfig(ForeignConfig):
    """An autoencoder of diffusers, of images or of video, from a local folder."""

    opener: ClassVar[str] = "vae3d.foreign.diffusers:open_network"
    library: ClassVar[str] = "diffusers"

    path: Annotated[str | None, PATH] = None
    """Folder with config.json and diffusion_pytorch_model.safetensors; nothing is downloaded;
    required."""
    network: Annotated[str | None, OneOf(*DIFFUSERS_NETWORKS)] = None
    """Class of the network; null is the one that config.json names."""


@dataclass
class CallableConfig(ForeignConfig):
    """Any Python callable that returns an object with `encode` and `decode`."""

    opener: ClassVar[str] = "vae3d.foreign.callables:open_network"
    runs_code: ClassVar[bool] = True

    path: Annotated[str | None, CODE] = None
    """The callable as package.module:name; taken from the command line only; required."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the callable, as in autoencoder.options.size=large."""


AUTOENCODERS: dict[str, type[AutoencoderConfig]] = {
    "vae3d": OwnConfig,
    "monai": MonaiConfig,
    "diffusers": DiffusersConfig,
    "python": CallableConfig,
}
"""The options of the group `autoencoder`."""
