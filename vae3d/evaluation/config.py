"""`EvaluationConfig`: what is measured, against what, and what is shown."""

from dataclasses import dataclass, field

from vae3d.errors import ConfigError
from vae3d.evaluation.metrics import METRICS
from vae3d.evaluation.references import BASELINES
from vae3d.evaluation.regions import REGIONS
from vae3d.inference import InferenceConfig

MEDIA = ("png", "gif", "mp4")


@dataclass
class EvaluationConfig:
    """What is measured and shown.

    `metrics` are told for the whole volume and for `regions` of it: its foreground, and for CT
    its tissues by HU. `floor` tells what clipping and resampling cost without any VAE, `baselines`
    what simpler ways to keep as many numbers would. `window` [low, high] (null: what the model
    sees) is the data range, `crop` (null: none) the voxels around the centre that are scored,
    filled up with the low end; `model_range` is where `_model` metrics live.

    `media` are the pictures made of each case, for at most `media_cases` of them (null: all).
    `latents` looks at the posterior, `report` makes the page. `save_reconstructions` writes them
    as scans in the scan's own geometry and units. `sample` decodes a sample of the posterior
    instead of its mode, drawn from (seed, case).
    """

    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    regions: list[str] = field(default_factory=lambda: list(REGIONS))
    floor: bool = True
    baselines: list[str] = field(default_factory=list)
    window: tuple[float, float] | None = None
    crop: tuple[int, ...] | None = None
    model_range: tuple[float, float] = (-1.0, 1.0)
    media: list[str] = field(default_factory=lambda: list(MEDIA))
    media_cases: int | None = 4
    latents: bool = True
    report: bool = True
    save_reconstructions: bool = False
    sample: bool = False
    seed: int = 0
    precision: str = "auto"
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        for key, chosen, choices in (
            ("metrics", self.metrics, [*METRICS]),
            ("regions", self.regions, [*REGIONS]),
            ("baselines", self.baselines, [*BASELINES]),
            ("media", self.media, [*MEDIA]),
        ):
            for name in chosen:
                if name not in choices:
                    raise ConfigError(
                        f"evaluation.{key} may hold {', '.join(choices)}, got {name!r}"
                    )
        if not self.metrics:
            raise ConfigError(f"evaluation.metrics must name one of {', '.join(METRICS)}")
        for key, pair in (("window", self.window), ("model_range", self.model_range)):
            if pair is not None and (len(pair) != 2 or not pair[0] < pair[1]):
                raise ConfigError(
                    f"evaluation.{key} must be [low, high] with low < high, got {[*pair]}"
                )
        if self.crop is not None and not all(n >= 1 for n in self.crop):
            raise ConfigError(f"evaluation.crop must hold sizes above 0, got {[*self.crop]}")
