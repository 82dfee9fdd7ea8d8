"""`fact_lines`: the facts of a report as text, the same on its page and in the terminal."""

from collections.abc import Sequence
from typing import Any

MAX_LINE = 500
"""Characters of a fact that are shown: a summary.json may come from anybody."""


def fact_lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts of a `summary.json` by their names for people, without unknown ones."""
    versions = facts.get("versions", {}).items()
    lines = {
        "Split": facts.get("split"),
        "Data": facts.get("data"),
        "Model": _model(facts.get("model", {})),
        "Latent shape": _latent(facts.get("compression", {})),
        "Compression": _compression(facts.get("compression", {})),
        "Per voxel": _per_voxel(facts.get("compression", {})),
        "Scaling": facts.get("scaling", {}).get("text"),
        "Feature distance": _distance(facts, "frechet_features", "vectors"),
        "Radiomics distance": _distance(facts, "frechet_radiomics", "regions"),
        "Patch distance": _patch_distance(facts.get("sets", {}).get("swd", {})),
        "Steps": _steps(facts.get("steps", {})),
        "Seed": facts.get("seed"),
        "Started from": _start(facts),
        "Date": f"{facts.get('date', '')}".replace("T", " ").replace("Z", " UTC"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions),
    }
    return {name: _short(str(text)) for name, text in lines.items() if text not in (None, "")}


def _short(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} ..."


def _model(model: dict[str, Any]) -> str:
    """Return as `ct64 (best weights), 174,128 parameters` or `vae, MONAI VQVAE, 1,000 ...`."""
    if not model:
        return ""
    weights = f" ({model['weights']} weights)" if model.get("weights") else ""
    count = model.get("parameters")
    parameters = f"{count:,} parameters" if count is not None else ""
    return ", ".join(
        filter(None, (f"{model.get('name', '')}{weights}", model.get("kind"), parameters))
    )


def _latent(compression: dict[str, Any]) -> str:
    """Return as `4 x 16 x 16 x 16 of an image of 1 x 64 x 64 x 64`."""
    if "latent_shape" not in compression:
        return ""
    image, latent = (_sides(compression[f"{name}_shape"]) for name in ("image", "latent"))
    return f"{latent} of an image of {image}"


def _compression(compression: dict[str, Any]) -> str:
    """Return as `16 to 1 (4 channels, a voxel for 4 x 4 x 4 voxels)`."""
    if not compression:
        return ""
    ratio = f"{compression['ratio']:.4g} to 1"
    if "latent_channels" not in compression:
        return ratio
    channels, bits = compression["latent_channels"], compression.get("bits")
    values = f"{channels} channel{'s' * (channels != 1)}"
    values += f" of {bits:.4g} bits" if bits else ""
    return f"{ratio} ({values}, a voxel for {_sides(compression['factor'])} voxels)"


def _per_voxel(compression: dict[str, Any]) -> str:
    """Return as `0.0625 numbers, 1 bit`, of the latent of the largest case."""
    if "bits_per_voxel" not in compression:
        return ""
    numbers, bits = compression["values_per_voxel"], compression["bits_per_voxel"]
    return f"{numbers:.4g} numbers, {bits:.4g} bit{'s' * (bits != 1)}"


def _distance(facts: dict[str, Any], name: str, unit: str) -> str:
    """Return as `0.8 (of 120 regions)`: a Fréchet distance of the set."""
    parts = facts.get("sets", {}).get(name)
    return f"{parts['mean']:.3g} (of {parts[unit]:.0f} {unit})" if parts else ""


def _patch_distance(parts: dict[str, float]) -> str:
    """Return as `0.12 (0.2 at voxels of 1, 0.04 at voxels of 2)`."""
    levels = {name.removeprefix("voxels_"): value for name, value in parts.items()}
    if "mean" not in levels:
        return ""
    mean = levels.pop("mean")
    texts = [f"{value:.3g} at voxels of {size}" for size, value in levels.items()]
    return f"{mean:.3g} ({', '.join(texts)})"


def _steps(steps: dict[str, int]) -> str:
    """Return as `10`, or as `6 of 10, best at 4` where these are other steps."""
    if not steps:
        return ""
    trained, planned, best = steps["trained"], steps["planned"], steps.get("best")
    text = f"{trained:,}" if trained == planned else f"{trained:,} of {planned:,}"
    return text if best in (None, trained) else f"{text}, best at {best:,}"


def _start(facts: dict[str, Any]) -> str:
    """Return as `runs/ct64: other weights (SHA-256 0123456789ab, step 2,000)`."""
    texts = ", which started from ".join(map(str, facts.get("started_from") or []))
    return ": ".join(filter(None, (str(facts.get("init_from") or ""), texts)))


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
