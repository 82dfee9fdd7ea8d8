"""`vae3d probe`: a linear probe of latents, next to downsampled scans and chance."""

from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.latents.joined import folders_of
from vae3d.logger.console import ProgressBar
from vae3d.probing.config import ProbeConfig
from vae3d.probing.probe import ProbeResult, run_probe
from vae3d.probing.report import check_output, show, write


def probe(config: ProbeConfig) -> ProbeResult:
    """Score the probes, print their table, and write it to `output`.

    Raises:
        UserError: scikit-learn is missing, the labels do not fit, or there are too few groups.
    """
    if config.labels is None:
        raise ConfigError("labels must name a CSV, as in labels=labels.csv")
    output = None if config.output is None else user_path(config.output)
    check_output(output)
    folders, labels = folders_of(config.latents), user_path(config.labels)
    result = run_probe(config, folders, labels, ProgressBar("probe"))
    show(result, config)
    if output is not None:
        write(output, result, config)
    return result
