"""`Sheet`: the images of a case that are compared with each other."""

from dataclasses import dataclass

from torch import Tensor

REFERENCES = ("scan", "floor")
"""Suffixes of the scores against the scan on disk: that of the reconstruction, and the floor, the
error of clipping and resampling alone."""
# Reports store these texts in their protocol, and only equal protocols can be compared: do not
# reword them.
REFERENCE_DESCRIPTIONS = {
    "scan": "against the scan on disk: its own grid, not clipped",
    "floor": "the same without a VAE: clipped, resampled and back",
    "downsample": "averaged to as many numbers as the latent has, and linearly back",
    "jpeg": "8-bit axial slices in as many bytes as the latent has in float16",
    "jpeg2000": "12-bit axial slices as one picture in the bytes of the latent in float16",
    "jpeg2000_3d": "the same after a 9/7 wavelet along the slices (2 levels)",
}


@dataclass
class Sheet:
    """Images on one grid, the pairs of them to compare, and the score suffix of each pair.

    The first image is the model's input, the second its reconstruction.
    """

    images: list[Tensor]
    pairs: list[tuple[int, int]]
    names: list[str]

    def add(self, name: str, image: Tensor) -> None:
        """Add an image, to be compared with the model's input."""
        self.images.append(image)
        self.pairs.append((0, len(self.images) - 1))
        self.names.append(name)

    def against_scan(self, scan: Tensor) -> None:
        """Add the scan on disk, to be compared with the reconstruction and the model's input."""
        self.images.append(scan)
        last = len(self.images) - 1
        self.pairs += [(last, 1), (last, 0)]
        self.names += [f"@{name}" for name in REFERENCES]
