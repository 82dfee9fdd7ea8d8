"""Laws of the window of images: that of their bit depth, unless it is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import tiny_model, tiny_training
from vae3d.commands.train_run import Training
from vae3d.data.config import Images2DConfig, RunData
from vae3d.data.scan_source import ScanSource
from vae3d.errors import DataError
from vae3d.patching.config import RandomPatchesConfig
from vae3d.run.beginning import Extras
from vae3d.run.saved import load_config
from vae3d.runtime.distributed import start_distributed
from vae3d.scans.depth import number_type
from vae3d.scans.files import read_volume
from vae3d.settings.saved import write_settings

GRAY = np.random.default_rng(0).integers(0, 255, (12, 16)).astype(np.uint8)
WIDE = GRAY.astype(np.uint16) * 257


def window(folder: Path, **settings: Any) -> tuple[float, float]:
    contract = ScanSource(Images2DConfig(root=str(folder), **settings)).contract
    assert contract.kind == "window"
    return contract.low, contract.high


def test_number_types_of_files(tmp_path: Path) -> None:
    def save(name: str, pixels: np.ndarray, mode: str | None = None, **options: Any) -> str | None:
        path = tmp_path / name
        if name.endswith(".npy"):
            np.save(path, pixels)
        elif options or mode is None:
            tifffile.imwrite(path, pixels, **options)
        else:
            Image.fromarray(pixels).convert(mode).save(path)
        return number_type(path)

    assert save("a.png", GRAY, "L") == save("a.jpg", GRAY, "L") == "8 bits"
    assert save("b.png", GRAY, "RGB") == save("b.jpg", GRAY, "CMYK") == "8 bits"
    assert save("c.png", GRAY, "P") == save("d.png", GRAY, "1") == "8 bits"
    assert save("e.png", WIDE, "I;16") == save("e.tif", WIDE) == "16 bits"
    assert save("f.tif", GRAY) == save("g.tif", GRAY > 9) == "8 bits"
    assert save("h.tif", GRAY.astype(np.int16)) == "int16"
    assert save("i.tif", GRAY.astype(np.float32), compression="zlib") == "float32"
    assert save("j.npy", GRAY) == "8 bits"
    assert save("k.npy", WIDE) == "16 bits"
    assert save("l.npy", GRAY > 9) == "1 bit"
    assert save("m.npy", GRAY.astype(np.float64)) == "float64"
    assert save("n.npy", GRAY.astype(np.uint32)) == "uint32"
    assert save("o.npy", GRAY.astype(complex)) is None
    colours = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)
    assert save("p.tif", GRAY, photometric="palette", colormap=colours) == "8 bits"
    # The suffix does not matter, as for the reader.
    Image.fromarray(GRAY).save(tmp_path / "q.png", format="JPEG")
    assert number_type(tmp_path / "q.png") == "8 bits"
    for name in ("r.png", "r.tif", "r.npy", "r.jpg"):
        (tmp_path / name).write_bytes(b"no image")
        assert number_type(tmp_path / name) is None
    assert number_type(tmp_path / "missing.png") is None
    # What the header states is what the reader returns.
    for path in tmp_path.glob("[a-n].*"):
        kind = number_type(path)
        if kind and kind.endswith(" bits"):
            assert read_volume(path, channel=0).data.max() < 2 ** int(kind.split()[0])


@pytest.mark.parametrize(("pixels", "high"), [(GRAY, 255.0), (WIDE, 65535.0)])
def test_the_window_is_that_of_the_bit_depth(
    tmp_path: Path, pixels: np.ndarray, high: float, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert window(tmp_path) == (0.0, high)
    bits = "8 bits" if high == 255 else "16 bits"
    assert f"data.window=[0,{high:g}], from the {bits} of 3 images" in caplog.text
    caplog.clear()
    assert window(tmp_path, window=(3.0, 200.0)) == (3.0, 200.0)
    assert not caplog.records


def test_several_bit_depths_are_refused_with_their_counts(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(WIDE).save(tmp_path / f"w{number}.png")
    Image.fromarray(GRAY).save(tmp_path / "g.png")
    with pytest.raises(DataError, match=r"3 of 16 bits \(w0\.png\), 1 of 8 bits \(g\.png\)"):
        window(tmp_path)
    assert window(tmp_path, window=(0.0, 65535.0)) == (0.0, 65535.0)
    assert window(tmp_path, include=["w*"]) == (0.0, 65535.0)


def test_numbers_without_a_bit_depth_need_a_window(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GRAY.astype(np.float32) / 255)
    with pytest.raises(DataError, match=r"values from 0 to 0\.99.*float32 has no bit depth.*set"):
        window(tmp_path)
    assert window(tmp_path, window=(0.0, 1.0)) == (0.0, 1.0)


def test_a_run_records_its_window_and_keeps_it(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(WIDE + number).save(tmp_path / f"{number}.png")
    data = Images2DConfig(root=str(tmp_path), store=None)
    config = tiny_training(
        tmp_path, data=data, patching=RandomPatchesConfig(size=(8,)), model=tiny_model(2)
    )
    with start_distributed("cpu") as distributed:
        training = Training(config, None, distributed, Extras())
        assert isinstance(training.config.data, Images2DConfig)
        assert training.config.data.window == (0.0, 65535.0)
        write_settings(training.config, training.folder.config)
        # A resume and an evaluation do not look at the files again.
        Image.fromarray(GRAY).save(tmp_path / "4.png")
        assert Training(config, None, distributed, Extras()).cases.contract.high == 65535.0
        trained = load_config(training.folder.config).data
        assert RunData(root="b").for_run(trained, None).window == (0.0, 65535.0)  # type: ignore[attr-defined]
        # Runs of earlier versions recorded what was the default.
        text = training.folder.config.read_text()
        training.folder.config.write_text(text.replace("65535.0", "255.0"))
        assert Training(config, None, distributed, Extras()).cases.contract.high == 255.0
