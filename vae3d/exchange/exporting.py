"""`export_weights`: weights for other programs, checked, with what they need to know."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vae3d.autoencoder.monai import State
from vae3d.autoencoder.places import find_weights
from vae3d.autoencoder.state_dicts import read_state_dict
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import TENSOR_FILE, read_weights
from vae3d.errors import ConfigError, RunError
from vae3d.exchange.config import ExportConfig
from vae3d.exchange.facts import FACTS_FILE, README_FILE, export_facts, read_facts
from vae3d.exchange.output import new_output
from vae3d.exchange.readme import readme
from vae3d.exchange.to_monai import MonaiNetwork, to_monai
from vae3d.files.atomic import atomic_folder, file_digest, write_json, write_text
from vae3d.files.checksums import seal
from vae3d.files.paths import user_path
from vae3d.runtime.registry import load

log = logging.getLogger(__name__)

STATE_FILE = "autoencoder"
"""The file of tensors for MONAI, without its suffix."""
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
"""The packages that a target needs; the extra has its name."""


def export_weights(config: ExportConfig) -> Path:
    """Write the weights of `run` for another program to `output`, and return that folder.

    What was written is loaded again and compared with the network.

    Raises:
        UserError: the weights cannot be read, the target cannot express the network, a package is
            missing, `output` holds something else, or the result differs.
    """
    run, to, output = _given(config)
    place = find_weights(run, config.weights)
    description = read_weights(place.weights).description
    digest = description.digest or file_digest(place.weights / TENSOR_FILE)
    known = {"to": to, "digest": digest, "tensors": config.tensors if to == "monai" else None}
    with new_output(output, lambda: read_facts(output).request == known) as wanted:
        if wanted:
            model = CustomVAE.from_pretrained(place.weights)
            with atomic_folder(output) as temporary:
                _write(model, known, temporary)
            log.info(f"{output}: written, and equal to the model")
    return output


def _given(config: ExportConfig) -> tuple[str, str, Path]:
    """Return run, target and output.

    Raises:
        ConfigError: one of them is missing, or a key that another target needs is given.
        RunError: the target needs a package that is not installed.
    """
    if config.run is None:
        raise ConfigError("run must name a run or a folder of weights, for example run=runs/ct64")
    if config.to is None:
        raise ConfigError("to must be monai, torch or onnx")
    if config.output is None:
        raise ConfigError("output must name the folder to write to, for example output=exported")
    if config.tensors != "safetensors" and config.to != "monai":
        raise ConfigError(f"tensors={config.tensors} is for to=monai, not for to={config.to}")
    missing = [name for name in NEEDS.get(config.to, ()) if find_spec(name) is None]
    if missing:
        raise RunError(
            f"to={config.to} needs {', '.join(missing)}: pip install 'vae3d[{config.to}]'"
        )
    return config.run, config.to, user_path(config.output)


def _write(model: CustomVAE, request: dict[str, Any], folder: Path) -> None:
    """Write and check everything that belongs to an export into a folder."""
    to = request["to"]
    network: MonaiNetwork | None = None
    if to == "monai":
        network = to_monai(model)
        path = folder / f"{STATE_FILE}.{request['tensors']}"
        differences = {path.name: _write_monai(model, network, path)}
    else:
        from vae3d.exchange.programs import FORMATS, write_graphs

        suffix = FORMATS[to].suffix
        parts = write_graphs(model, to, folder)
        differences = {f"{part}{suffix}": value for part, value in parts.items()}
    facts = export_facts(model, request, network, differences)
    write_json(folder / FACTS_FILE, facts)
    write_text(folder / README_FILE, readme(model, request, network))
    seal(folder, "*")


def _write_monai(model: CustomVAE, network: MonaiNetwork, path: Path) -> float | None:
    """Write the tensors, and return how much MONAI's output differs; None without MONAI.

    Raises:
        RunError: the file does not hold these tensors, or MONAI's output differs.
    """
    if path.suffix == ".pt":
        # Views of other tensors would be written with all that they are views of.
        torch.save({name: value.clone() for name, value in network.state.items()}, path)
    else:
        save_file({name: value.contiguous() for name, value in network.state.items()}, path)
    state = read_state_dict(path)
    if not _equal(state, network.state):
        raise RunError(f"{path.name}: does not hold what was written; nothing is kept")
    if find_spec("monai") is None:
        log.info(
            "MONAI is not installed: the tensors were compared, its network's output was not; "
            "to compare that too: pip install 'vae3d[monai]'"
        )
        return None
    return _monais_difference(model, network, state)


def _equal(found: State, written: State) -> bool:
    same = found.keys() == written.keys()
    return same and all(torch.equal(found[name], value) for name, value in written.items())


def _monais_difference(model: CustomVAE, network: MonaiNetwork, state: State) -> float:
    """Return the largest difference of MONAI's output, as a share of the largest value or of 1."""
    from vae3d.exchange.programs import check_outputs

    # Without memory of its own: it takes the tensors that were read.
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        module, _, name = network.name.rpartition(".")
        theirs = load(f"{module}:{name}")(**network.arguments).eval()
    theirs.load_state_dict(state, strict=True, assign=True)
    unit = model.config.unit_range

    def encode(image: Tensor) -> list[Tensor]:
        mean, sigma = theirs.encode((image + 1) / 2 if unit else image)
        return [mean, 2 * sigma.log()]

    def decode(latent: Tensor) -> list[Tensor]:
        image = theirs.decode(latent)
        return [2 * image - 1 if unit else image]

    with torch.no_grad():
        return max(
            check_outputs(model, "encoder", encode, network.name, multiples=True),
            check_outputs(model, "decoder", decode, network.name, multiples=True),
        )
