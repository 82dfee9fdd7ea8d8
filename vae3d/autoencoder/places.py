"""Where the weights of `run=` and `init_from=` are: in a run, alone, or on the hub."""

import os
from dataclasses import dataclass
from pathlib import Path

from vae3d.autoencoder.description import CONFIG_FILE
from vae3d.autoencoder.hub import HubName, download, hub_name
from vae3d.errors import ConfigError, RunError
from vae3d.files.links import check_no_links
from vae3d.files.paths import user_path
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.run_list import no_run, runs_near


@dataclass(frozen=True)
class Place:
    """Where weights are: `which` of a run, or alone in `folder`; `hub` if that was downloaded."""

    folder: RunFolder
    which: str = "auto"
    hub: HubName | None = None

    @property
    def is_alone(self) -> bool:
        """Whether these are weights without a run."""
        return holds_weights(self.folder.path)

    @property
    def label(self) -> str:
        """The name of the folder, or of the repository on the hub."""
        return self.hub.repository if self.hub else self.folder.path.absolute().name

    @property
    def weights(self) -> Path:
        """The folder of the weights; `auto` is the best ones of a run, or else the latest."""
        if self.is_alone:
            return self.folder.path
        if self.which != "auto":
            return self.folder.weights(self.which)
        best = self.folder.weights("best")
        return best if best.exists() else self.folder.weights("latest")


def find_weights(name: str | Path, which: str = "auto", revision: str | None = None) -> Place:
    """Return where the weights are that a user names: a run, a folder of weights, or the hub.

    Raises:
        ConfigError: `name` is of weights, and `which` asks for others.
        DataError: there is a link inside of a run.
        RunError: there is no such folder, or the download failed.
    """
    on_hub = hub_name(name, revision)
    if on_hub is not None:
        if which != "auto":
            raise ConfigError(f"{name} names weights already; drop weights={which}")
        return Place(RunFolder(_downloaded(on_hub)), hub=on_hub)
    path = user_path(name)
    run = RunFolder(path)
    places = (run.config, path / CONFIG_FILE, run.weights("best"), run.weights("latest"))
    # os.path.lexists raises no error for a name that is too long.
    if not any(map(os.path.lexists, places)):
        if os.path.lexists(path) and path.is_file():
            raise RunError(
                f"{path}: is a file, not a folder of weights; vae3d import kind=monai "
                "input=FILE output=FOLDER makes one of MONAI's weights"
            )
        raise no_run(path)
    return Place(*locate(path, which))


def _downloaded(name: HubName) -> Path:
    """Return the folder of weights of the hub; where there are none, a run may have been meant."""
    try:
        return download(name)
    except RunError as error:
        if name.is_explicit:
            raise
        run = Path(name.repository.rpartition("/")[2])
        raise RunError(f"{error}{runs_near(run)}") from error


def holds_weights(path: Path) -> bool:
    """Return whether a folder itself holds weights."""
    return (path / CONFIG_FILE).exists()


def locate(path: Path, which: str) -> tuple[RunFolder, str]:
    """Return the folder that `run=` names, and which of its weights are meant.

    The folder of a run's weights means the run with these weights.

    Raises:
        ConfigError: `path` holds weights, and `which` asks for others.
        DataError: there is a link inside of the run. Weights that stand alone may have some: the
            hub's cache is made of them.
    """
    if not holds_weights(path):
        check_no_links(path)
        return RunFolder(path), which
    place = path if len(path.parts) > 2 else path.absolute()
    run, name = RunFolder(place.parent.parent), place.name
    if not (run.config.exists() and run.weights(name) == place):
        run, name = RunFolder(path), "auto"
    else:
        check_no_links(run.path)
    if which not in ("auto", name):
        raise ConfigError(f"run={path} names weights already; drop weights={which}")
    return run, name
