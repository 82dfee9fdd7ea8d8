"""`CaseScorer`: all scores of a case."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.data.cases import Case
from vae3d.errors import ConfigError, RunError, VolumeError
from vae3d.features.extractor import FeatureExtractor
from vae3d.features.opening import open_extractor
from vae3d.inference.runner import ModelRunner
from vae3d.patching.samplers import patch_size
from vae3d.runtime.seeding import torch_generator
from vae3d.scoring.codecs import bits_of_latent
from vae3d.scoring.config import BASELINES, METRICS, SET_SCORES, ScoringConfig
from vae3d.scoring.measure import measure
from vae3d.scoring.metrics import Scale
from vae3d.scoring.perceptual import FeatureDistance, perceptual_distance
from vae3d.scoring.references import on_grid_of, scan_on_disk
from vae3d.scoring.regions import TISSUES, WHOLE, Buckets, names_of, value_regions
from vae3d.scoring.scores import PERCEPTUAL, SEAM, scored, seam_score, unit_of
from vae3d.scoring.sharpness import DEFINITIONS, Sharpness, sharpness
from vae3d.scoring.sheet import REFERENCE_DESCRIPTIONS, REFERENCES, Sheet
from vae3d.values.intensity import IntensityContract, IntensityRange

log = logging.getLogger(__name__)

COMPARED = ("mae", "rmse", "psnr", "ssim")
"""Metrics that are also reported for regions and references."""
FRECHET_FEATURES = "frechet_features"
"""The score of the set that `evaluation.features` adds."""
STAIRCASE = "staircase"
"""The metric that a model without known grids does not have."""


@dataclass(frozen=True)
class ScoredCase:
    """The scores of a case by name, and its sharpness if a metric needs it.

    `members` is what each score of the whole set keeps of scan and reconstruction.
    """

    scores: dict[str, float]
    sharpness: Sharpness | None = None
    members: dict[str, tuple[Any, Any]] = field(default_factory=dict)


class CaseScorer:
    """Scores reconstructions of cases under one protocol.

    Raises:
        ConfigError: the protocol does not fit the scans.
    """

    def __init__(
        self,
        config: ScoringConfig,
        contract: IntensityContract,
        runner: ModelRunner,
    ) -> None:
        if config.window and contract.kind != "window":
            raise ConfigError(
                f"evaluation.window={[*config.window]} needs scans in a physical unit such as HU, "
                "but each of these scans has its own range; set evaluation.window=null"
            )
        self.config = config
        self.contract = contract
        self.runner = runner
        self.periods = runner.model.periods
        known = [name for name in config.metrics if name != STAIRCASE or any(self.periods)]
        if len(known) < len(config.metrics):
            log.info("no staircase score: this autoencoder computes on the grid of the scan")
        self.metrics = known
        self.compared = [name for name in COMPARED if name in known]
        self.model_span = config.model_range[1] - config.model_range[0]
        dims = runner.model.spatial_dims
        self.extractor = self._open_extractor()
        self.set_scores = {name: SET_SCORES[name] for name in config.sets}
        if self.extractor:
            distance = FeatureDistance(self.extractor, config.feature_slices)
            self.set_scores[FRECHET_FEATURES] = distance
        self.crop = patch_size(config.crop, dims, key="evaluation.crop") if config.crop else None

    def _open_extractor(self) -> FeatureExtractor | None:
        """Return the network of `evaluation.features` on the device, None without one."""
        name, model = self.config.features, self.runner.model
        if name is None:
            return None
        try:
            extractor = open_extractor(name)
            extractor.check(model.spatial_dims, model.describe()["channels"])
        except (ConfigError, RunError) as error:
            raise type(error)(f"evaluation.features={error}") from error
        return extractor.to(self.runner.device)

    @property
    def references(self) -> list[str]:
        """The names of the references that are also scored."""
        return [*self.config.baselines, *(REFERENCES if self.config.floor else ())]

    def units(self) -> dict[str, str]:
        """Return the unit of every score that a case may have, by name."""
        regions = names_of(self.config.regions, self.contract.unit)
        names = [
            *self.metrics,
            *([SEAM] if self.runner.has_seams else []),
            *([PERCEPTUAL] if self.extractor else []),
            *(f"{metric}/{region}" for region in regions for metric in self.compared),
            *(
                f"{metric}@{reference}"
                for reference in self.references
                for metric in self.compared
            ),
        ]
        return {name: unit_of(name, self.contract.unit) for name in names}

    def protocol(self) -> dict[str, Any]:
        """Return the definition of the scores, which must agree for runs to be compared.

        Reports store these texts: rewording one makes older reports incomparable.
        """
        window, crop = self.config.window, self.crop
        unit = self.contract.unit
        tissues = {t.name: f"[{t.low:g}, {t.high:g}) HU" for t in TISSUES}
        regions = {"foreground": "above a tenth of the range", **tissues}
        return {
            "scores": self.units(),
            "intensity": self.contract.describe(),
            "data_range": f"{[*window]} {unit}" if window else "the intensity range, high - low",
            "compared": "scan and reconstruction, both clipped to the data range",
            "crop": f"{[*crop]} around the centre, filled with the low end" if crop else "none",
            "mask": "none; padding to the model's factor is cut off",
            "regions": {n: regions[n] for n in names_of(self.config.regions, unit)},
            "model_range": [*self.config.model_range],
            "grid": "the grid the model sees (resampled where data.spacing is set)",
            **({"sharpness": definitions} if (definitions := self._definitions) else {}),
            "ssim": "Gaussian window 11, sigma 1.5, valid windows only, K 0.01 and 0.03",
            **{f"@{name}": REFERENCE_DESCRIPTIONS[name] for name in self.references},
        }

    @property
    def _definitions(self) -> dict[str, str]:
        """What the scores of sharpness are: two runs must agree on those that both have."""
        definitions = {**DEFINITIONS} if self.is_sharp else {}
        if self.extractor:
            name = self.extractor.name
            every = f"every {self.config.feature_slices} slices"
            definitions[PERCEPTUAL] = f"{name.network}, {name.digest}, {every}"
        return definitions

    @property
    def is_sharp(self) -> bool:
        """Whether a metric needs the sharpness."""
        return any(METRICS[name].sharp for name in self.metrics)

    def score(
        self, case: Case, values: Tensor, image: Tensor, reconstruction: Tensor, images: int = 1
    ) -> ScoredCase:
        """Return all scores of a case, one of `images` of a set.

        All tensors are (C, *spatial): `values` in the units of the scan, `image` the same values
        and `reconstruction` in [-1, 1], as the model sees them.
        """
        range_, other = case.range, reconstruction
        if self.config.window:
            low, high = self.config.window
            range_ = IntensityRange(low, high, case.range.unit)
        if range_ != case.range:
            image = range_.to_model(values)
            other = range_.to_model(case.range.from_model(reconstruction))
        sheet = Sheet([self._framed(image, -1), self._framed(other, -1)], [(0, 1)], [""])
        bits = bits_of_latent(self.runner.model, image.shape[1:])
        for name in self.config.baselines:
            sheet.add(f"@{name}", self._framed(BASELINES[name](image, bits).image, -1))
        scan = self._scan_on_disk(case, values) if self.config.floor and self.compared else None
        apart = scan is not None and (self.crop is not None or scan.shape != image.shape)
        if scan is not None and not apart:
            # The scan is on the grid of the images, so that shared terms are computed once.
            sheet.against_scan(range_.to_model(scan, clip=False))
        # Of the whole image: a crop would move the planes of the grids, its filling is no scan.
        detail = self._sharpness(image, other, case.spacing) if self.is_sharp else None
        scores = self._scores_of(sheet, self._framed(values, range_.low), range_, detail)
        if self.runner.has_seams:
            scores[SEAM] = seam_score(image, other, self.runner.borders(tuple(image.shape[1:])))
        if self.extractor:
            scores[PERCEPTUAL] = self._perceptual(self.extractor, image, other)
        if scan is not None and apart:
            own = Sheet([on_grid_of(shared, scan) for shared in (image, other)], [], [])
            own.against_scan(range_.to_model(scan, clip=False))
            scores |= self._scores_of(own, scan, range_)
        return ScoredCase(scores, detail, self._members(case, image, other, images))

    def _perceptual(self, extractor: FeatureExtractor, image: Tensor, other: Tensor) -> float:
        mine, scan = (each[None].to(self.runner.device) for each in (other, image))
        return perceptual_distance(extractor, mine, scan, self.config.feature_slices)

    def compare_sets(self, cases: Sequence[ScoredCase]) -> dict[str, dict[str, float]]:
        """Return the scores of all cases together by name, each with its parts."""
        scores: dict[str, dict[str, float]] = {}
        for name, score in self.set_scores.items() if cases else ():
            scans, others = ([case.members[name][side] for case in cases] for side in (0, 1))
            scores[name] = score.compare(scans, others)
        return {name: parts for name, parts in scores.items() if parts}

    def _members(
        self, case: Case, image: Tensor, other: Tensor, images: int
    ) -> dict[str, tuple[Any, Any]]:
        """Return what the scores of sets keep of an image and of its reconstruction."""
        device, members = self.runner.device, {}
        with torch.inference_mode():
            for name, score in self.set_scores.items():
                scan, own = (
                    score.describe(
                        each.to(device), torch_generator(0, f"{name}:{case.case_id}"), images
                    )
                    for each in (image, other)
                )
                members[name] = scan, own
        return members

    def _sharpness(self, image: Tensor, other: Tensor, spacing: Sequence[float]) -> Sharpness:
        device = self.runner.device
        with torch.inference_mode():
            return sharpness(image.to(device), other.to(device), spacing, self.periods)

    def _scores_of(
        self,
        sheet: Sheet,
        values: Tensor,
        range_: IntensityRange,
        detail: Sharpness | None = None,
    ) -> dict[str, float]:
        """Return the scores of a sheet by name; only the reconstruction is scored by region."""
        main = sheet.names[0] == ""
        metrics = self.metrics if main else self.compared
        regions = value_regions(self.config.regions if main else [], range_)
        device = self.runner.device
        with torch.inference_mode():
            errors_of_pairs = measure(
                [image.to(device) for image in sheet.images],
                sheet.pairs,
                values.to(device),
                Buckets(regions),
                any(METRICS[name].structural for name in metrics),
            )
        if main:
            errors_of_pairs[0][WHOLE] = replace(errors_of_pairs[0][WHOLE], sharpness=detail)
        scale = Scale(range_.span, self.model_span)
        scores: dict[str, float] = {}
        for suffix, errors in zip(sheet.names, errors_of_pairs, strict=True):
            for region, part in errors.items():
                names = metrics if region == WHOLE and not suffix else self.compared
                place = suffix if region == WHOLE else f"/{region}"
                scores |= {f"{n}{place}": v for n, v in scored(names, part, scale).items()}
        return scores

    def _scan_on_disk(self, case: Case, values: Tensor) -> Tensor | None:
        """Return the scan as it is on disk, or None, with a warning, if it cannot be read."""
        try:
            return scan_on_disk(case, values)
        except VolumeError as error:
            log.warning(f"no floor for {case.case_id}: {error}")
            return None

    def _framed(self, values: Tensor, fill: float) -> Tensor:
        """Return the crop around the centre, padded with `fill` where the scan is smaller."""
        if self.crop is None:
            return values
        for axis, size in enumerate(self.crop, start=1):
            values = values.narrow(
                axis, max(0, (values.shape[axis] - size) // 2), min(size, values.shape[axis])
            )
        missing = [size - n for size, n in zip(self.crop, values.shape[1:], strict=True)]
        # F.pad counts axes from the last one.
        sides = [n for m in reversed(missing) for n in (m // 2, m - m // 2)]
        return F.pad(values.float(), sides, value=fill)
