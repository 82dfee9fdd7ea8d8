"""`JoinedLatent`: the latents of several folders as one list."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vae3d.errors import ConfigError, DataError
from vae3d.files.links import check_inside
from vae3d.files.paths import resolved, user_path
from vae3d.latents.file import Latent, LatentRecord, read_record
from vae3d.latents.folder import Entry, read_entry, read_manifest


@dataclass(frozen=True)
class JoinedLatent:
    """A latent of one of several folders.

    `name` is that of its case; of cases with one name in two folders, the folder's name is part
    of it.
    """

    name: str
    folder: Path
    entry: Entry

    def read(self) -> Latent:
        """Read the latent.

        Raises:
            DataError: it is missing, damaged, or that of another case.
        """
        return read_entry(self.folder, self.entry)

    @property
    def renamed(self) -> Entry:
        """The line of the manifest with the name of the case among all folders."""
        return replace(self.entry, case_id=self.name)


def folders_of(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the folders of one or several paths.

    Raises:
        ConfigError: there are none, or one is named twice.
    """
    several = [folders] if isinstance(folders, str | Path) else [*folders]
    paths = [user_path(folder) for folder in several]
    if not paths:
        raise ConfigError("latents must name a folder of vae3d encode, as in latents=latents")
    places = [resolved(path) for path in paths]
    for place, path in enumerate(paths):
        if places[place] in places[:place]:
            raise ConfigError(f"{path}: is named twice; name each folder of latents once")
    return paths


def join_latents(folders: Sequence[Path]) -> list[JoinedLatent]:
    """Return the latents of all folders, sorted by name as those of one folder are.

    Raises:
        ConfigError: the folders hold latents of different encoders.
        DataError: a manifest or the first latent of a folder is missing or damaged, or a scan
            is in two folders.
    """
    latents = [
        JoinedLatent(entry.case_id, folder, entry)
        for folder in folders
        for entry in read_manifest(folder)
    ]
    if len(folders) > 1:
        _check_encoders(latents)
        latents = _distinguished(latents)
    return sorted(latents, key=lambda latent: latent.name)


def _check_encoders(latents: Sequence[JoinedLatent]) -> None:
    """Raise a ConfigError if not all folders hold latents of one encoder.

    The first latent of each weights in a folder is asked for it; the decoder may be another one.
    """
    records: dict[Path, LatentRecord] = {}
    asked: set[tuple[Path, str]] = set()
    for latent in latents:
        folder, entry = latent.folder, latent.entry
        if (folder, entry.weights) in asked:
            continue
        asked.add((folder, entry.weights))
        record = read_record(check_inside(folder, folder / entry.file))
        if not _have_same_encoder(records.setdefault(folder, record), record):
            raise ConfigError(f"{folder}: holds latents of several encoders")
    first = next(iter(records.values()))
    if not all(_have_same_encoder(first, record) for record in records.values()):
        each = ", ".join(
            f"{folder} of {(record.encoder or record.weights)[:8]}"
            for folder, record in records.items()
        )
        raise ConfigError(
            f"latents of one encoder go together, but these are of different ones: {each}; encode "
            "the scans with one run"
        )


def _have_same_encoder(one: LatentRecord, other: LatentRecord) -> bool:
    # Earlier versions recorded the weights as a whole.
    return one.weights == other.weights or (
        one.encoder is not None and one.encoder == other.encoder
    )


def _distinguished(latents: Sequence[JoinedLatent]) -> list[JoinedLatent]:
    """Return the latents with the folder in the name where two folders have the same name."""
    namesakes = defaultdict(list)
    for latent in latents:
        namesakes[latent.name].append(latent)
    joined = []
    for name, same in namesakes.items():
        scans = [latent.entry.voxels for latent in same if latent.entry.voxels]
        labels = [resolved(latent.folder).name for latent in same]
        places = " and ".join(str(latent.folder) for latent in same)
        if len({*scans}) < len(scans):
            raise DataError(f"case {name!r} is the same scan in {places}; leave one folder out")
        if len({*labels}) < len(labels):
            raise DataError(
                f"case {name!r} is in {places}, whose last parts are equal too; rename a folder"
            )
        joined += (
            same
            if len(same) == 1
            else [
                replace(latent, name=f"{label}/{name}")
                for latent, label in zip(same, labels, strict=True)
            ]
        )
    return joined
