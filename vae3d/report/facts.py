"""`fact_lines`: the facts of a report as text, the same on its page and in the terminal."""

from collections.abc import Sequence
from typing import Any


def fact_lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts of a `summary.json` by their names for people, without unknown ones."""
    versions = facts.get("versions", {}).items()
    lines = {
        "Split": facts.get("split"),
        "Data": facts.get("data"),
        "Model": _model(facts.get("model", {})),
        "Latent shape": _latent(facts.get("compression", {})),
        "Compression": _compression(facts.get("compression", {})),
        "Scaling": facts.get("scaling", {}).get("text"),
        "Steps": _steps(facts.get("steps", {})),
        "Seed": facts.get("seed"),
        "Started from": _start(facts),
        "Date": f"{facts.get('date', '')}".replace("T", " ").replace("Z", " UTC"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions),
    }
    return {name: str(text) for name, text in lines.items() if text not in (None, "")}


def _model(model: dict[str, Any]) -> str:
    """Return as `ct64 (best weights), 174,128 parameters`."""
    if not model:
        return ""
    weights = f" ({model['weights']} weights)" if model.get("weights") else ""
    name = f"{model['name']}{weights}, " if model.get("name") else ""
    return f"{name}{model['parameters']:,} parameters"


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
    channels = compression["latent_channels"]
    return (
        f"{compression['ratio']:.4g} to 1 ({channels} channel{'s' * (channels != 1)}, "
        f"a voxel for {_sides(compression['factor'])} voxels)"
    )


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
