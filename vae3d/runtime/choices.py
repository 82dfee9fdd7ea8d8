"""The names of devices, precisions and splits, without importing torch."""

from vae3d.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")
ONE_GPU = "cuda:[0-9]{1,3}"
"""The form of the name of one GPU of several, for a process without ranks."""
REFUSED_DEVICES = {
    "mps": "on Apple's GPUs nothing of vae3d is tested, so that it computes on the CPU there",
}
"""Devices that torch has and vae3d does not use, and why."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SPLITS = ("train", "val", "test")
SPLIT_RULES = ("hash", "count")
"""How cases are held out where no list assigns splits."""
ALLOWABLE = ("window", "percentiles", "spacing", "channel", "weights")
"""What may differ from the weights of a command whose `allow` names it."""
LABEL_MAPS = ("leave_out", "keep")
"""What becomes of label maps among scans, the default first."""

RESAMPLINGS = ("linear", "filtered")
"""How scans are resampled: at points, as earlier versions did, or as means over new voxels."""
READERS = (1, 2)
"""Versions of the readers of scans: 1 ignores the unit of a NIfTI header."""

EARLIER = {
    "split_rule": "count",
    "label_maps": "keep",
    "resampling": RESAMPLINGS[0],
    "reader": READERS[0],
    "portions": 1,
}
"""What runs of earlier versions did where their settings are null or missing."""


def parse_part(text: str, key: str) -> tuple[int, int]:
    """Return K and N of a text `K/N`, part K of N, counted from 0.

    Raises:
        ConfigError: the text has another form; `key` is the setting that it names.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(f"{key} must be K/N with 0 <= K < N, got {text!r}")
    return int(index), int(count)
