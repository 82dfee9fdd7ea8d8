"""`EvaluationConfig`: what is measured, what it is compared with, and what is drawn."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import AtLeast, OneOf, SomeOf
from vae3d.inference.config import InferenceConfig
from vae3d.runtime.choices import PRECISIONS
from vae3d.scoring.config import ScoringConfig

MEDIA = ("png", "gif", "mp4")


@dataclass
class EvaluationConfig(ScoringConfig, key="evaluation"):
    """What is measured, and what is drawn."""

    media: Annotated[list[str], SomeOf(*MEDIA)] = field(default_factory=lambda: list(MEDIA))
    """Pictures and videos drawn of a case; [] draws none and is faster."""
    media_cases: Annotated[int | None, AtLeast(0)] = 4
    """Cases that are drawn, at most; null draws all."""
    latents: bool = True
    """Report statistics and probes of the posterior."""
    report: bool = True
    """Write index.html, the report in one page."""
    save_reconstructions: bool = False
    """Write the reconstructions as scans on the scan's own grid and in its units."""
    sample: bool = False
    """Decode a sample of the posterior, drawn from (seed, case), instead of its mode."""
    seed: int = 0
    """Seed of the samples with sample=true."""
    precision: Annotated[str, OneOf(*PRECISIONS)] = "auto"
    """Number format of the forward pass; auto is bf16 where the device computes in it, else
    fp32."""
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    """How a volume is reconstructed."""
