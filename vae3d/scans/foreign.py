"""Formats of scans that vae3d does not read: how they are recognised, and converted."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vae3d.files.reading import open_regular
from vae3d.runtime.shell import command_line, quoted
from vae3d.scans.formats import scan_suffix

MAX_NAMED = 3
"""Formats that one message names."""
_DICOM_MARK, _DICOM_OFFSET = b"DICM", 128
_ITK = "import sys, SimpleITK as s; s.WriteImage(s.ReadImage(sys.argv[1]), sys.argv[2])"
_PIL = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])"


@dataclass(frozen=True)
class ForeignFormat:
    """A format by name, the words before the two paths of a conversion, and the new suffix.

    `package` is what the command needs besides the packages of vae3d.
    """

    name: str
    words: tuple[str, ...]
    suffix: str = ".nii.gz"
    package: str = ""

    def conversion(self, path: Path) -> str:
        """Return the command that converts a file, or a folder of DICOM slices."""
        if self is DICOM:
            folder = path if path.is_dir() else path.parent
            command = command_line([*self.words, str(folder)])
        else:
            stem = path.name[: len(path.name) - len(foreign_suffix(path))]
            target = path.with_name(stem + self.suffix)
            command = command_line([*self.words, str(path), str(target)])
        return f"{command} ({self.package})" if self.package else command


DICOM = ForeignFormat(
    "DICOM", ("dcm2niix", "-z", "y", "-o", "."), package="from the package dcm2niix"
)


def _nibabel(name: str) -> ForeignFormat:
    return ForeignFormat(name, ("nib-convert",))


def _itk(name: str) -> ForeignFormat:
    return ForeignFormat(name, ("python", "-c", _ITK), package="after pip install SimpleITK")


def _image(name: str) -> ForeignFormat:
    return ForeignFormat(name, ("python", "-c", _PIL), suffix=".png")


FOREIGN: dict[str, ForeignFormat] = {
    ".mgz": _nibabel("FreeSurfer MGZ"),
    ".mgh": _nibabel("FreeSurfer MGH"),
    ".img": _nibabel("Analyze or NIfTI pair (.img, .hdr)"),
    ".img.gz": _nibabel("Analyze or NIfTI pair (.img, .hdr)"),
    ".hdr": _nibabel("Analyze or NIfTI pair (.img, .hdr)"),
    ".mnc": _nibabel("MINC"),
    ".par": _nibabel("Philips PAR/REC"),
    ".mha": _itk("MetaImage"),
    ".mhd": _itk("MetaImage"),
    ".nrrd": _itk("NRRD"),
    ".nhdr": _itk("NRRD"),
    ".gipl": _itk("GIPL"),
    ".vtk": _itk("VTK"),
    ".nia": _itk("NIfTI in ASCII"),
    ".dcm": DICOM,
    ".dicom": DICOM,
    ".ima": DICOM,
    ".bmp": _image("BMP"),
    ".gif": _image("GIF"),
    ".webp": _image("WebP"),
    ".jp2": _image("JPEG 2000"),
}
"""Formats by file suffix."""


def foreign_suffix(path: Path) -> str:
    """Return the suffix of FOREIGN that a file has, as it is written; empty for all others."""
    name = path.name.lower()
    if name.startswith("."):
        return ""
    found = max((s for s in FOREIGN if name.endswith(s)), key=len, default="")
    return path.name[len(name) - len(found) :] if found else ""


def may_be_foreign(path: Path) -> bool:
    """Return whether a file may be a scan of another format, by its name."""
    return bool(foreign_suffix(path)) or _may_be_dicom(path)


def foreign_format(path: Path) -> ForeignFormat | None:
    """Return the format of a file or of a folder of DICOM slices; None if it is not known."""
    if path.is_dir():
        slices = (file for file in sorted(path.iterdir()) if _may_be_dicom(file))
        first = next(slices, None)
        return DICOM if first and foreign_format(first) is DICOM else None
    suffix = foreign_suffix(path).lower()
    if suffix:
        return FOREIGN[suffix]
    return DICOM if _may_be_dicom(path) and _has_dicom_mark(path) else None


def _may_be_dicom(path: Path) -> bool:
    """Return whether a name is usual for a slice: IM0001, 1.2.840.113, MR.0001, a.dcm."""
    suffix = path.suffix.lower()
    own = not suffix or suffix[1:].isdigit()
    return (own and not path.name.startswith(".")) or FOREIGN.get(suffix) is DICOM


def _has_dicom_mark(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            file.seek(_DICOM_OFFSET)
            return file.read(len(_DICOM_MARK)) == _DICOM_MARK
    except OSError:
        return False


def refusal(path: Path) -> str | None:
    """Return why an existing scan of another format cannot be read and how to convert it."""
    format_ = foreign_format(path)
    if format_ is None:
        return None
    what = "a folder of DICOM files" if path.is_dir() else f"a file of the format {format_.name}"
    return f"is {what}, which vae3d does not read; convert it: {format_.conversion(path)}"


def foreign_files(files: Iterable[Path]) -> str:
    """Return the scans of other formats among files, in words with a conversion; empty if none.

    A folder of DICOM slices without a suffix is recognised by its first one.
    """
    found: dict[ForeignFormat, list[Path]] = {}
    by_folder: dict[Path, bool] = {}
    names = {*files}
    for path in sorted(names):
        format_ = FOREIGN.get(foreign_suffix(path).lower())
        if format_ is None and scan_suffix(path) is None and _may_be_dicom(path):
            if path.parent not in by_folder:
                by_folder[path.parent] = _has_dicom_mark(path)
            format_ = DICOM if by_folder[path.parent] else None
        # The two files of a pair are one scan.
        if format_ and not (path.suffix.lower() == ".hdr" and path.with_suffix(".img") in names):
            found.setdefault(format_, []).append(path)
    if not found:
        return ""
    count = sum(map(len, found.values()))
    each = [f"{len(paths)} {format_.name}" for format_, paths in found.items()]
    rest = ", ..." if len(each) > MAX_NAMED else ""
    format_, (example, *_) = next(iter(found.items()))
    return (
        f"{count} {'file' if count == 1 else 'files'} of formats that vae3d does not read "
        f"({', '.join(each[:MAX_NAMED])}{rest}), such as {quoted(str(example))}; "
        f"convert them: {format_.conversion(example)}"
    )
