"""`LossConfig`: the terms that training minimises, and their weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from vae3d.adversary.config import AdversarySpec
from vae3d.bounds import PATH, AtLeast, Between, LowHigh, OneOf, Settings, Weights
from vae3d.errors import ConfigError
from vae3d.runtime.registry import Registry, plugins_of

if TYPE_CHECKING:
    from torch import Tensor

LOSSES: "Registry[Callable[[Tensor, Tensor], Tensor]]" = Registry(
    "loss",
    {
        "l1": "vae3d.loss.pointwise:l1",
        "mse": "vae3d.loss.pointwise:mse",
        "huber": "vae3d.loss.pointwise:huber",
        "charbonnier": "vae3d.loss.pointwise:charbonnier",
        "ssim": "vae3d.loss.structural:one_minus_ssim",
        "ms_ssim": "vae3d.loss.structural:one_minus_ms_ssim",
        "gradient": "vae3d.loss.spectral:gradient",
        "focal_frequency": "vae3d.loss.spectral:focal_frequency",
        "eagle": "vae3d.loss.spectral:eagle",
    },
)
"""Reconstruction terms by name: functions of (reconstruction, image), both (B, C, *spatial) in
[-1, 1], that return (B,)."""

REDUCTIONS = ("mean", "sum", "voxel")
"""Ways to reduce the KL divergence of a case to one number."""
EQUIVARIANT_SIDES = ("decoder", "encoder")
"""The parts of a network that can be trained to commute with changes of the grid."""


@dataclass
class EquivarianceSpec(Settings, key="loss.equivariance"):
    """The equivariance term: a latent that is scaled, flipped, turned or shifted is the latent of
    the image that is changed in the same way."""

    weight: Annotated[float, AtLeast(0)] = 0.0
    """Weight of the term, which costs a second pass of fewer voxels through one side of the
    network; 0 leaves it out."""
    side: Annotated[str, OneOf(*EQUIVARIANT_SIDES)] = "decoder"
    """What is compared: with decoder the decoded latent and the image, by loss.terms (Kouzelis et
    al. 2025, arXiv:2502.09509), with encoder the latents."""
    min_scale: Annotated[float, Between(0, 1, "(]")] = 0.5
    """Each case is scaled by a factor between this one and 1; 1 scales none."""
    flips: bool = True
    """Flip each axis of a case or not, by chance."""
    turns: bool = True
    """Turn each case by 0 to 3 quarters, in a plane whose axes have the same voxel sides and
    factor of the model."""
    shift: Annotated[int, AtLeast(0)] = 1
    """Cut off this number of latent voxels along each axis, at the beginning or at the end."""
    warmup_steps: Annotated[int, AtLeast(0)] = 0
    """Optimizer steps over which the weight grows linearly from 0."""


@dataclass
class PerceptualSpec(Settings, key="loss.perceptual"):
    """A term that compares features of a frozen network; without `features` there is none."""

    features: Annotated[str | None, PATH] = None
    """Folder of vae3d import kind=features, or an earlier run, whose encoder is used; null leaves
    the term out."""
    weight: Annotated[float, AtLeast(0)] = 0.3
    """Weight of the term; 0 leaves it out."""
    slices: Annotated[float, Between(0, 1, "(]")] = 0.2
    """Share of the slices of a volume that a 2D network sees, drawn for each patch in each of the
    three planes; 1 takes all."""
    layers: list[str] = field(default_factory=list)
    """Layers to compare, as in [relu1_2,relu2_2]; [] takes those of the published method."""
    range: Annotated[Any, LowHigh(nullable=True)] = None
    """Range [low, high] to which images are brought for the network; null is the one that it was
    trained with."""

    def check_given(self) -> None:
        """Raise a ConfigError if something was chosen for a network that was not."""
        chosen = [name for name in self.given() if name != "weight"]
        if self.features is None and chosen:
            raise ConfigError(
                f"loss.perceptual.{chosen[0]} has an effect only with loss.perceptual.features="
                "FOLDER"
            )

    @property
    def is_used(self) -> bool:
        """Whether the term is computed."""
        return self.features is not None and self.weight > 0


@dataclass
class LossConfig(Settings, key="loss"):
    """Settings of the training objective: weighted reconstruction terms plus the KL divergence."""

    terms: Annotated[dict[str, float], Weights(LOSSES, "loss")] = field(
        default_factory=lambda: {"l1": 1.0}
    )
    """Weight of each reconstruction term by name, as in loss.terms.ssim=0.1; a weight of 0 leaves
    a term out."""
    kl_weight: Annotated[float, AtLeast(0)] = 1e-5
    """Weight of the KL divergence; larger values make latents closer to a standard normal and
    reconstructions blurrier."""
    kl_reduction: Annotated[str, OneOf(*REDUCTIONS)] = "mean"
    """Over the latent of a case: mean of its elements, their sum (the ELBO's own, grows with the
    patch), or voxel, the sum divided by the image's voxels."""
    kl_warmup_steps: Annotated[int, AtLeast(0)] = 0
    """Optimizer steps over which kl_weight grows linearly from 0."""
    latent_noise: Annotated[float, AtLeast(0)] = 0.0
    """Deviation of normal noise that is added to the latent before the decoder, relative to the
    deviation of each latent channel; for decoders of latents that a diffusion model generates."""
    free_bits: Annotated[float, AtLeast(0)] = 0.0
    """Nats per latent element that each latent channel may use without cost (Kingma et al. 2016,
    section C.8)."""
    perceptual: PerceptualSpec = field(default_factory=PerceptualSpec)
    """The perceptual term."""
    equivariance: EquivarianceSpec = field(default_factory=EquivarianceSpec)
    """Latents that follow the image when its grid is changed; easier for a diffusion model."""
    adversary: AdversarySpec = field(default_factory=AdversarySpec)
    """A discriminator that training plays against."""

    def __post_init__(self) -> None:
        super().__post_init__()
        spec = self.equivariance
        if spec.weight and spec.side == "decoder" and not any(self.terms.values()):
            raise ConfigError(
                "loss.equivariance.side=decoder needs a term of loss.terms above 0; type one, as "
                "in loss.terms.l1=1, or loss.equivariance.side=encoder"
            )

    @property
    def plugins(self) -> list[str]:
        """The plugin modules that the terms need."""
        return plugins_of(*((LOSSES, name) for name in self.terms))

    @property
    def columns(self) -> list[str]:
        """The names under which a training logs its losses."""
        terms = [name for name, weight in self.terms.items() if weight > 0]
        if self.perceptual.is_used:
            terms.append("perceptual")
        equivariance = ["equivariance"] if self.equivariance.weight else []
        return ["loss", *terms, "kl", *equivariance, "kl_weight", *self.adversary.columns]
