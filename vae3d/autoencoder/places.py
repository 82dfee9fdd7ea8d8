"""Where the weights of `run=` are: in a run, or alone."""

from pathlib import Path

from vae3d.autoencoder.description import CONFIG_FILE
from vae3d.errors import ConfigError
from vae3d.files.links import check_no_links
from vae3d.runtime.run_folder import RunFolder


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
