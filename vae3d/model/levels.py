"""`LevelSpec`: the shape of the network as data."""

from dataclasses import dataclass

from vae3d.errors import ConfigError
from vae3d.model.attention import ATTENTIONS

MAX_STRIDE = 8


@dataclass
class LevelSpec:
    """One resolution of the network, the same for encoder and decoder.

    `stride` is the step down from the level above, per axis or one number for all; the first
    level's stride acts on the image. `decoder_blocks` differs from `blocks` only when given.
    `attention` (none, global, windowed) follows each residual block of the level.
    """

    channels: int = 32
    blocks: int = 1
    stride: tuple[int, ...] = (1,)
    decoder_blocks: int | None = None
    attention: str = "none"

    def check(self, key: str, spatial_dims: int) -> None:
        """Raises a ConfigError naming the value of this level that cannot be built."""
        if not 1 <= self.channels <= 4096:
            raise ConfigError(f"{key}.channels must lie in [1, 4096], got {self.channels}")
        for name, blocks in (("blocks", self.blocks), ("decoder_blocks", self.decoder_blocks)):
            if blocks is not None and not 0 <= blocks <= 64:
                raise ConfigError(f"{key}.{name} must lie in [0, 64], got {blocks}")
        if self.attention not in ATTENTIONS:
            raise ConfigError(
                f"{key}.attention must be one of {', '.join(ATTENTIONS)}, got {self.attention!r}"
            )
        if len(self.stride) not in (1, spatial_dims):
            raise ConfigError(
                f"{key}.stride needs 1 or {spatial_dims} numbers, got {list(self.stride)}"
            )
        if any(not 1 <= s <= MAX_STRIDE for s in self.stride):
            raise ConfigError(
                f"{key}.stride must lie in [1, {MAX_STRIDE}] along each axis, "
                f"got {list(self.stride)}"
            )

    def strides(self, spatial_dims: int) -> tuple[int, ...]:
        """The stride of each axis."""
        stride = tuple(self.stride)
        return stride * spatial_dims if len(stride) == 1 else stride
