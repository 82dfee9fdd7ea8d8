"""Encoder and decoder as graphs of any batch and size, for torch.export and ONNX."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError, RunError
from vae3d.files.reading import reason_of
from vae3d.layers.folding import pixel_unshuffle
from vae3d.model.config import VAEConfig

TOLERANCE = 1e-4
"""Largest difference of an exported network's output, as a share of the largest value or of 1."""
MAX_ONNX_BYTES = 2**30
"""Tensors up to which an ONNX file holds them itself; protobuf's limit is 2 GiB."""
PARTS = ("encoder", "decoder")
OUTPUTS = {"encoder": ["mean", "logvar"], "decoder": ["image"]}
Run = Callable[[Tensor], Sequence[Tensor]]


class EncoderGraph(nn.Module):
    """The encoder with the padding of `VAE.encode`, whose sizes it computes itself."""

    def __init__(self, model: CustomVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, *spatial) in [-1, 1] to mean and log-variance (B, latent, *grid)."""
        model = self.model
        image = repeated_end(image, model.factor)
        if model.config.unit_range:
            image = (image + 1) / 2
        folded = pixel_unshuffle(image, model.config.patches)
        posterior = model.posterior(model.encoder(folded))
        return posterior.mean, posterior.logvar


class DecoderGraph(nn.Module):
    """The decoder, whose image has a multiple of the factor along each axis."""

    def __init__(self, model: CustomVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> Tensor:
        """Map latents (B, latent, *grid) to images (B, C, *(grid * factor)) in [-1, 1]."""
        return self.model.unfolded(self.model.decoder(latent))


def repeated_end(image: Tensor, factor: Sequence[int]) -> Tensor:
    """Return the images that `pad_to_multiple` returns, by steps that depend on no size."""
    for axis, side in enumerate(factor, start=2):
        length = image.shape[axis]
        multiple = (length + side - 1) // side * side
        index = torch.arange(multiple, device=image.device).clamp(max=length - 1)
        image = image.index_select(axis, index)
    return image


def why_no_graph(config: VAEConfig) -> list[str]:
    """Return what a graph of any size cannot express, as `key=value: reason`."""
    levels = {f"model.levels.{i}.attention": lv.attention for i, lv in enumerate(config.levels)}
    kinds = {**levels, "model.attention.bottleneck": config.attention.bottleneck}
    return [
        f"{key}=windowed: windows divide an image by its size, which a graph does not know"
        for key, kind in kinds.items()
        if kind == "windowed"
    ]


@dataclass(frozen=True)
class Format:
    """How graphs are written and run: the suffix of their files, and the two functions.

    `write` takes the traced graph, its part and the path. `load` returns a function that runs the
    file.
    """

    suffix: str
    write: Callable[[ExportedProgram, str, Path], None]
    load: Callable[[Path], Run]


def write_graphs(model: CustomVAE, to: str, folder: Path) -> dict[str, float]:
    """Write encoder and decoder to a folder, and return the largest difference of each.

    Each file is loaded again and compared with the model for two sizes before the next one is
    made.

    Raises:
        ConfigError: the network cannot be written as a graph.
        RunError: a file's output is not the model's.
    """
    reasons = why_no_graph(model.config)
    if reasons:
        raise ConfigError(f"to={to}: {'; '.join(reasons)}")
    known = FORMATS[to]
    differences = {}
    for part in PARTS:
        path = folder / f"{part}{known.suffix}"
        with torch.no_grad(), _quiet():
            try:
                known.write(_traced(model, part), part, path)
            except OSError:
                raise
            except Exception as error:  # torch raises whatever an operator or a symbol leads to
                reason = reason_of(error)
                raise ConfigError(f"to={to}: the {part} cannot be exported: {reason}") from error
            differences[part] = check_outputs(model, part, known.load(path), path.name)
    return differences


def sizes_of(model: CustomVAE, part: str, multiples: bool = False) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors that a part is traced and compared with.

    The first is traced. The others differ from it, and without `multiples` one is no multiple of
    the factor.
    """
    factor = model.factor
    if part == "decoder":
        grids = [(2, (3, 4, 5)), (1, (2, 3, 2)), (3, (4, 2, 2))]
        channels = model.config.latent_channels
        return [(batch, channels, *grid[: len(factor)]) for batch, grid in grids]
    shapes = []
    for batch, grid, rest in ((2, (3, 4, 5), 0), (1, (2, 3, 2), 0), (3, (3, 2, 2), 1)):
        sides = zip(grid, factor, strict=False)
        more = 0 if multiples else rest
        # With a factor of 1 every size is a multiple.
        sizes = [n * f + more * (f > 1) for n, f in sides]
        shapes.append((batch, model.config.in_channels, *sizes))
    return shapes


def _traced(model: CustomVAE, part: str) -> ExportedProgram:
    module = (EncoderGraph if part == "encoder" else DecoderGraph)(model).eval()
    example = torch.zeros(sizes_of(model, part)[0])
    dynamic = {axis: Dim.DYNAMIC for axis in range(example.dim()) if axis != 1}
    return torch.export.export(module, (example,), dynamic_shapes=(dynamic,), strict=False)


def check_outputs(
    model: CustomVAE, part: str, run: Run, name: str, multiples: bool = False
) -> float:
    """Return how much a part's output differs, as a share of the largest value or of 1.

    `run` maps images or latents to mean and log-variance, or to images. With `multiples`, all
    images are multiples of the factor.

    Raises:
        RunError: it is above TOLERANCE, or the outputs have another shape.
    """
    generator = torch.Generator().manual_seed(0)
    differences = []
    for shape in sizes_of(model, part, multiples)[1:]:
        x = torch.rand(shape, generator=generator) * 2 - 1
        found_outputs = [*run(x)]
        if part == "encoder":
            posterior = model.encode(x)
            expected = [posterior.mean, posterior.logvar]
            found_outputs[0] = _without_ties(model, x, found_outputs[0], posterior.mean)
        else:
            expected = [model.decode(x)]
        for found, own in zip(found_outputs, expected, strict=True):
            if found.shape != own.shape:
                raise RunError(
                    f"{name}: its output has shape {tuple(found.shape)} instead of "
                    f"{tuple(own.shape)} for an input of {shape}; nothing was written"
                )
            differences.append(_difference(found, own))
    largest = float(torch.stack(differences).max())  # of NaN among them it is NaN
    if not largest <= TOLERANCE:
        raise RunError(
            f"{name}: its output differs from the model's by {largest:.2g}, the limit is "
            f"{TOLERANCE:g}; nothing was written"
        )
    return largest


def _difference(found: Tensor, own: Tensor) -> Tensor:
    """Return how much two outputs differ, as a share of the largest finite value or of 1."""
    finite = own[own.isfinite()].abs()
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    # Equal infinities differ by 0: a log-variance without variance.
    return torch.where(found == own, 0.0, found - own).abs().max() / scale


def _without_ties(model: CustomVAE, image: Tensor, found: Tensor, own: Tensor) -> Tensor:
    """Return a graph's latent, with the model's values where these are halfway between levels.

    Rounding errors decide there which of two levels a value gets.
    """
    if model.quantizer is None or found.shape != own.shape:
        return found
    bounded = model.quantizer.bounded(model.encoder(model.folded(image)).float())
    halfway = (bounded - bounded.floor() - 0.5).abs() < TOLERANCE * bounded.abs().max().clamp(1)
    return torch.where(halfway, own, found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the notes of exporters about packages and about torch itself."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _write_torch(program: ExportedProgram, part: str, path: Path) -> None:
    torch.export.save(program, path)


def _load_torch(path: Path) -> Run:
    module: Any = torch.export.load(path).module()

    def run(x: Tensor) -> Sequence[Tensor]:
        output = module(x)
        return output if isinstance(output, tuple) else (output,)

    return run


def _write_onnx(program: ExportedProgram, part: str, path: Path) -> None:
    size = sum(value.nbytes for value in program.state_dict.values())
    inputs = ["image" if part == "encoder" else "latent"]
    written = torch.onnx.export(program, input_names=inputs, dynamo=True, verbose=False)
    assert written is not None
    _name_outputs(written.model.graph, OUTPUTS[part])
    written.save(path, external_data=size > MAX_ONNX_BYTES)


def _name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Name the outputs of a graph of ONNX; a value inside that has such a name gets another.

    Values are called as their operators are, such as `mean`.
    """
    inner = {value.name: value for node in graph for value in node.outputs}
    for output, name in zip(graph.outputs, names, strict=True):
        if (other := inner.get(name)) is not None and other is not output:
            other.name = f"{name}_inside"
        output.name = name


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(value) for value in session.run(None, {name: x.numpy()})]


FORMATS = {
    "torch": Format(".pt2", _write_torch, _load_torch),
    "onnx": Format(".onnx", _write_onnx, _load_onnx),
}
