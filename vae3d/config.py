"""The settings of each command: typed, checked, saved with a run and read back as data."""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from vae3d.data.build import DATA
from vae3d.data.phantoms import SyntheticConfig
from vae3d.data.scans import pair
from vae3d.data.source import NONFINITE, ON_ERROR, DataConfig, RunData
from vae3d.data.splits import SPLITS
from vae3d.data.writers import DTYPES
from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference import MODES
from vae3d.logger import LoggersConfig
from vae3d.loss.objective import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.samplers import GridPatches, PatchSampler, RandomPatches, WholeVolume
from vae3d.runtime.files import write_text
from vae3d.runtime.memory import Memory, check_memory
from vae3d.runtime.plain import from_plain, read_yaml
from vae3d.trainer.config import TrainerConfig

T = TypeVar("T")

PATCHING: dict[str, type[PatchSampler]] = {
    "none": WholeVolume,
    "full": GridPatches,
    "random_parts": RandomPatches,
}
SPLIT_CHOICES = ("auto", "train", "val", "test", "all")
WEIGHTS = ("auto", "best", "latest")
EXISTING = ("fail", "skip", "replace")


@dataclass
class TrainConfig:
    """`vae3d train`: the run lives in `runs_dir/name`."""

    name: str = "vae3d"
    runs_dir: str = "runs"
    seed: int = 0
    data: DataConfig = field(default_factory=SyntheticConfig)
    patching: PatchSampler = field(default_factory=RandomPatches)
    model: VAEConfig = field(default_factory=VAEConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggersConfig = field(default_factory=LoggersConfig)

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise ConfigError(f"name must be a path below runs_dir, got {self.name!r}")

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return Path(self.runs_dir).expanduser() / self.name


@dataclass
class EvalConfig:
    """`vae3d eval`: scores a run's weights.

    `split` auto is the run's test cases (its validation cases where there are none), or every
    case of other data. `weights` is `best`, `latest`, or auto: the best where there are any.
    """

    run: str | None = None
    mode: str = "full"
    split: str = "auto"
    weights: str = "auto"
    output: str | None = None
    device: str = "auto"
    data: DataConfig = field(default_factory=RunData)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggersConfig = field(default_factory=LoggersConfig)

    def __post_init__(self) -> None:
        _check_choices(
            ("mode", self.mode, MODES),
            ("split", self.split, SPLIT_CHOICES),
            ("weights", self.weights, WEIGHTS),
        )


@dataclass
class CompareConfig:
    """`vae3d compare`: the reports of two or more runs against that of the first.

    A `run` is a run folder, or a folder with a scores.csv of its own.
    """

    run: list[str] = field(default_factory=list)
    mode: str = "full"
    output: str | None = None

    def __post_init__(self) -> None:
        _check_choices(("mode", self.mode, MODES))


@dataclass
class EncodeConfig:
    """`vae3d encode`: every case of the run's data, or of others, to its posterior.

    `memory` is the GiB that the network may take beside a scan and its latent: a volume that
    takes more goes through slab by slab; auto is half of the device's, null any. `nifti` also
    writes the means as NIfTI, for a viewer.
    """

    run: str | None = None
    output: str = "latents"
    weights: str = "auto"
    dtype: str = "float32"
    nifti: bool = False
    memory: Memory = "auto"
    precision: str = "fp32"
    device: str = "auto"
    data: DataConfig = field(default_factory=RunData)

    def __post_init__(self) -> None:
        _check_choices(
            ("weights", self.weights, WEIGHTS),
            ("dtype", self.dtype, ("float32", "float16")),
        )
        check_memory("memory", self.memory)


@dataclass
class ToScansConfig:
    """What `vae3d decode` and `vae3d reconstruct` share: `input` to scans in `output`.

    `output` is a folder, or for one scan a file. `sample` decodes a sample of each posterior,
    drawn from (`seed`, case), instead of its mean. `existing` says what becomes of files that are
    there: fail, skip or replace. `memory` as in `vae3d encode`.
    """

    run: str | None = None
    input: str | None = None
    output: str = "scans"
    weights: str = "auto"
    sample: bool = False
    seed: int = 0
    existing: str = "fail"
    dtype: str = "auto"
    memory: Memory = "auto"
    precision: str = "fp32"
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_choices(
            ("weights", self.weights, WEIGHTS),
            ("existing", self.existing, EXISTING),
            ("dtype", self.dtype, ("auto", *DTYPES)),
        )
        check_memory("memory", self.memory)


@dataclass
class DecodeConfig(ToScansConfig):
    """`vae3d decode`: latents to scans.

    `input` is what `vae3d encode` wrote, a folder or a file, or plain latents of a diffusion
    model: .npy, .safetensors or NIfTI. Those have their `scaling` undone: `channels` and `factor`
    as `LatentDataset` normalises, by `statistics`, a folder that encode wrote, or weights. They
    lie over the scan or the latent `like`, or have voxels of `spacing` mm; `range` is what
    [-1, 1] becomes. `any_weights` takes latents that other weights made.
    """

    output: str = "decoded"
    scaling: str = "none"
    statistics: str | None = None
    like: str | None = None
    spacing: tuple[float, ...] | None = None
    range: tuple[float, ...] | None = None
    any_weights: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choices(("scaling", self.scaling, ("none", "factor", "channels")))
        low, high = (-1.0, 1.0) if self.range is None else pair(self.range, "range")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"range must be [low, high] with low < high, got [{low}, {high}]")
        if self.spacing is not None and not all(0.001 <= s <= 1000 for s in self.spacing):
            raise ConfigError(f"spacing must lie in [0.001, 1000] mm, got {[*self.spacing]}")


@dataclass
class ReconstructConfig(ToScansConfig):
    """`vae3d reconstruct`: a scan or a folder `input` of them through the model and back.

    `channel`, `on_error` and `nonfinite` as in data.
    """

    output: str = "reconstructed"
    channel: int | None = None
    on_error: str = "fail"
    nonfinite: str = "fail"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choices(
            ("on_error", self.on_error, ON_ERROR),
            ("nonfinite", self.nonfinite, NONFINITE),
        )


def _check_choices(*settings: tuple[str, str, tuple[str, ...]]) -> None:
    """Raises a ConfigError for the first (key, value, choices) whose value is none of them."""
    for key, value, choices in settings:
        if value not in choices:
            raise ConfigError(f"{key} must be one of {', '.join(choices)}, got {value!r}")


@dataclass
class PrepareConfig:
    """`vae3d prepare`: scans to a store; `shard` K/N takes one part of the cases alone."""

    data: DataConfig = field(default_factory=SyntheticConfig)
    shard: str | None = None
    workers: int = 0
    verify: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"workers must be 0 or more, got {self.workers}")


@dataclass
class InspectConfig:
    """`vae3d inspect`: the cases and `count` of their patches, as the model will see them."""

    data: DataConfig = field(default_factory=SyntheticConfig)
    patching: PatchSampler = field(default_factory=RandomPatches)
    count: int = 16
    rows: int = 30
    split: str = "train"
    seed: int = 0
    output: str = "inspect"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 400:
            raise ConfigError(f"count must lie in [1, 400], got {self.count}")
        if self.rows < 0:
            raise ConfigError(f"rows must be 0 or more, got {self.rows}")
        _check_choices(("split", self.split, SPLITS))


@dataclass
class InfoConfig:
    """`vae3d info`: the model of a `run`, or the one of `model`, on images of `size`.

    `memory` in GiB asks which way such an image goes through it.
    """

    run: str | None = None
    model: VAEConfig = field(default_factory=VAEConfig)
    size: tuple[int, ...] = (64,)
    memory: Memory = None
    measure: bool = True
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_memory("memory", self.memory)


def register_schemas() -> None:
    """Tells Hydra the type behind each option of each group."""
    store = ConfigStore.instance()
    # A field that held a default could not be given another option of its group.
    open_choice: Any = MISSING
    store.store(name="train_schema", node=TrainConfig(data=open_choice, patching=open_choice))
    store.store(name="eval_schema", node=EvalConfig(data=open_choice))
    store.store(name="encode_schema", node=EncodeConfig(data=open_choice))
    store.store(name="decode_schema", node=DecodeConfig)
    store.store(name="reconstruct_schema", node=ReconstructConfig)
    store.store(name="compare_schema", node=CompareConfig)
    store.store(name="prepare_schema", node=PrepareConfig(data=open_choice))
    store.store(name="inspect_schema", node=InspectConfig(data=open_choice, patching=open_choice))
    store.store(name="info_schema", node=InfoConfig)
    groups: dict[str, dict[str, type]] = {
        "data": {**DATA, "run": RunData},
        "patching": {**PATCHING},
        "model": {"model": VAEConfig},
        "loss": {"loss": LossConfig},
        "trainer": {"trainer": TrainerConfig},
        "evaluation": {"evaluation": EvaluationConfig},
    }
    for group, options in groups.items():
        for name, node in options.items():
            store.store(group=group, name=f"{name}_schema", node=node)


def to_object(composed: Any, expected: type[T]) -> T:
    """The dataclass of a composed config; its checks run here.

    Raises:
        ConfigError: a value out of its range, or a key that `+` added where none belongs.
    """
    value = OmegaConf.to_object(composed)
    refuse_added_keys(value)
    return cast(T, with_tuples(value))


def refuse_added_keys(value: Any, path: str = "") -> None:
    """Raises a ConfigError for an attribute that no dataclass knows."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            refuse_added_keys(item, f"{path}{index}.")
    if not dataclasses.is_dataclass(value):
        return
    known = {entry.name for entry in dataclasses.fields(value)}
    for name, item in vars(value).items():
        if name not in known:
            raise ConfigError(f"unknown key '{path}{name}': + adds no key that vae3d would read")
        refuse_added_keys(item, f"{path}{name}.")


def with_tuples(value: Any) -> Any:
    """Lists where a dataclass says tuple become tuples: OmegaConf knows lists alone."""
    if isinstance(value, list):
        return [with_tuples(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    hints = typing.get_type_hints(type(value))
    for entry in dataclasses.fields(value):
        item = with_tuples(getattr(value, entry.name))
        is_tuple = isinstance(item, list) and _says_tuple(hints[entry.name])
        setattr(value, entry.name, tuple(item) if is_tuple else item)
    return value


def _says_tuple(hint: Any) -> bool:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_says_tuple(part) for part in typing.get_args(hint))
    return typing.get_origin(hint) is tuple


def describe(config: TrainConfig) -> dict[str, Any]:
    """A training's settings as plain values; `kind` says which option of a group was chosen."""
    values = cast("dict[str, Any]", _plain(dataclasses.asdict(config)))
    for group, options in (("data", DATA), ("patching", PATCHING)):
        chosen = type(getattr(config, group))
        kind = next((name for name, node in options.items() if node is chosen), "library")
        values[group] = {"kind": kind, **values[group]}
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def save_config(config: TrainConfig, path: Path) -> None:
    """Writes a run's `config.yaml`."""
    write_text(path, yaml.safe_dump(describe(config), sort_keys=False))


def load_config(path: Path) -> TrainConfig:
    """Reads a run's `config.yaml` as data: keys and types are checked, nothing is imported.

    Raises:
        RunError: missing, or not the settings of a training.
    """
    try:
        values = from_plain(dict[str, Any], read_yaml(path))
        chosen = {group: _typed(values, group, options) for group, options in _KINDS.items()}
        config: TrainConfig = from_plain(TrainConfig, {**values, **chosen})
        return config
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no run here ({path.name} is missing)") from None
    except ConfigError as error:
        raise RunError(f"{path}: not the settings of a training: {error}") from error


_KINDS: dict[str, dict[str, Any]] = {"data": DATA, "patching": PATCHING}


def _typed(values: dict[str, Any], group: str, options: dict[str, Any]) -> Any:
    given = from_plain(dict[str, Any], values.get(group), group)
    kind = from_plain(str, given.pop("kind", None), f"{group}.kind")
    if kind not in options:
        raise RunError(
            f"{group} of this run came from Python ({kind:.60}), not from the command line; "
            "evaluate it with vae3d.eval_3d"
        )
    return from_plain(options[kind], given, group)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two plain trees differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path}: {old} -> {new}"]


CONFIGS: dict[str, type] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "compare": CompareConfig,
    "encode": EncodeConfig,
    "decode": DecodeConfig,
    "reconstruct": ReconstructConfig,
    "prepare": PrepareConfig,
    "inspect": InspectConfig,
    "info": InfoConfig,
}
"""The settings of each command."""


def known_keys(command: str) -> list[str]:
    """Every key that some choice of options of a command has, for finding the nearest one."""
    root = CONFIGS[command]
    nodes = [("", root), *(("data", node) for node in (*DATA.values(), RunData))]
    nodes += [("patching", node) for node in PATCHING.values()]
    return sorted({key for prefix, node in nodes for key in _keys(node, prefix)})


def _keys(node: Any, prefix: str) -> list[str]:
    keys = []
    hints = typing.get_type_hints(node)
    for entry in dataclasses.fields(node):
        path = f"{prefix}.{entry.name}".lstrip(".")
        inner = [
            h
            for h in (hints[entry.name], *typing.get_args(hints[entry.name]))
            if dataclasses.is_dataclass(h) and h is not node
        ]
        keys += [path, *(key for part in inner for key in _keys(part, path))]
    return keys
