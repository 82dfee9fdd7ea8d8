"""`perceptual_of`: the perceptual term of a run, with the features that the run began with."""

import logging
from pathlib import Path
from typing import Any

from vae3d.errors import RunError, UserError
from vae3d.loss.config import LossConfig
from vae3d.loss.perceptual import PerceptualLoss, build_perceptual
from vae3d.trainer.session import Session

log = logging.getLogger(__name__)

FEATURES = "features"
"""The key under which checkpoints record the SHA-256 of the features."""


def perceptual_of(
    session: Session, loss: LossConfig, opened: PerceptualLoss | None
) -> PerceptualLoss | None:
    """Return the perceptual term of a run, None if it has none; its checkpoints record which.

    `opened` is the term if it was opened before. All ranks call this.

    Raises:
        UserError: the features are missing or damaged, are not those of the checkpoint, or ranks
            have different ones.
    """
    distributed, checkpoint = session.distributed, session.checkpoint
    about = checkpoint.about if checkpoint else {}
    try:
        perceptual = opened or build_perceptual(loss, distributed.device)
    except UserError as error:
        if known := about.get(FEATURES):
            raise type(error)(
                f"{error} (this run was trained with features of SHA-256 {known:.12})"
            ) from error
        raise
    digest = perceptual.extractor.name.digest if perceptual else None
    if checkpoint:
        refuse_other_features(session.folder.path, about, digest)
    if len({*distributed.gather(digest)}) > 1:
        raise RunError(
            "loss.perceptual.features: ranks have different tensors there; name a folder that all "
            "of them share"
        )
    if perceptual:
        session.about[FEATURES] = digest
        log.info(f"perceptual loss: {perceptual}")
    return perceptual


def refuse_other_features(folder: Path, about: dict[str, Any], digest: str | None) -> None:
    """Compare the features of a perceptual term with those of the checkpoint that `about` is of.

    `digest` is the SHA-256 of the tensors, None without such a term.

    Raises:
        RunError: they differ.
    """
    recorded = about.get(FEATURES)
    if recorded == digest:
        return
    if digest is None:
        way = "add loss.perceptual.features=FOLDER with them"
    elif recorded is None:
        way = "drop loss.perceptual.features"
    else:
        way = f"loss.perceptual.features holds {digest[:12]}: name the folder of the others"
    was = "without a perceptual term"
    if recorded is not None:
        was = f"with features of SHA-256 {recorded:.12}"
    raise RunError(f"{folder}: was trained {was}; {way}, or choose another name=")
