"""Small DICOM series with known contents, made with pydicom, and what a reader has to make of them.

    python dicom_phantom.py        rewrites crates/imaging/tests/dicom/

Every variant is a zip archive and an entry of expected.json: the affine that SimpleITK reads (nothing
where the variant must be refused) and a checksum of each slice's values, by pydicom. The phantom is different
along every axis, so a flip or an exchange of axes shows. No pixel comes from a patient.
"""

import hashlib
import io
import json
import pathlib
import random
import tempfile
import zipfile

import numpy as np
import pydicom
import pydicom.encaps
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/imaging/tests/dicom"
ROOT_UID = "2.25.31415926535897932384626433832"
# JPEG 2000 encoders want room for six resolutions.
COLUMNS, ROWS, SLICES = 40, 33, 5
# Oblique: two rotations.
TURN = np.array([[0.936293363584199, -0.275095847318244, 0.218350663146334],
                 [0.289629477625516, 0.956425085849232, -0.036957013524625],
                 [-0.198669330795061, 0.097843395007256, 0.975170327201816]])
TURN, _ = np.linalg.qr(TURN)
TURN *= np.sign(np.linalg.det(TURN))


def phantom(columns=COLUMNS, rows=ROWS, slices=SLICES):
    """Stored numbers [slice, row, column] of 12 bits, smooth in places and noisy in others."""
    k, j, i = np.meshgrid(np.arange(slices), np.arange(rows), np.arange(columns), indexing="ij")
    values = 40 * i + 17 * j + 300 * k
    values[:, :6, :8] = 1000 + 5 * k[:, :6, :8]
    noise = np.random.default_rng(7).integers(0, 900, values.shape)
    values = np.where((i > 14) & (j > 8), values + noise, values)
    return np.clip(values, 0, 4095).astype(np.uint16)


def uid(*parts):
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:14], 'big')}"


def common(name, sop_class, instance):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = ROOT_UID
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = sop_class, instance
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(name, "study"), uid(name, "series")
    data.FrameOfReferenceUID = uid(name, "frame")
    data.PatientName, data.PatientID = "Phantom^Asymmetric", "PHANTOM"
    data.PatientBirthDate, data.PatientSex = "19700101", "O"
    data.StudyDate = data.SeriesDate = data.ContentDate = "20260102"
    data.StudyTime = data.SeriesTime = data.ContentTime = "030405"
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "1", "", ""
    data.SeriesNumber, data.SeriesDescription = 3, f"phantom {name}"
    data.Modality = "CT"
    data.Manufacturer = "slicewise tests"
    data.PositionReferenceIndicator = ""
    return data


def image_pixels(data, pixels, stored=12, signed=False):
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored, data.HighBit = stored, stored - 1
    data.PixelRepresentation = int(signed)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"


def ct_slices(name, pixels, turn=TURN, spacing=(0.7, 0.9, 2.5), origin=(-31.25, 12.5, 101.75), step=None,
              slope=lambda k: 1.0, intercept=lambda k: -1024.0, stored=12, signed=False, prefix="slice"):
    """One data set per slice. `spacing` is along rows, columns and the normal, mm; `turn` has the axes as columns."""
    step = np.asarray(turn[:, 2] * spacing[2] if step is None else step)
    slices = []
    for k, plane in enumerate(pixels):
        data = common(name, CTImageStorage, uid(name, prefix, k))
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        # Numbers that a scanner gave say nothing of the order.
        data.InstanceNumber = (k * 3) % len(pixels) + 1
        data.AcquisitionNumber = 1
        data.ImagePositionPatient = [f"{v:.10g}" for v in np.asarray(origin) + k * step]
        data.ImageOrientationPatient = [f"{v:.12g}" for v in turn[:, :2].T.ravel()]
        data.PixelSpacing = [str(spacing[1]), str(spacing[0])]
        data.SliceThickness = str(spacing[2])
        data.RescaleSlope, data.RescaleIntercept = str(slope(k)), str(intercept(k))
        data.KVP = "120"
        image_pixels(data, plane, stored, signed)
        slices.append(data)
    return slices


def enhanced(name, pixels, turn=TURN, spacing=(0.7, 0.9, 2.5), origin=(-31.25, 12.5, 101.75)):
    """All slices in one file, in an order that is not that of their positions."""
    order = [3, 0, 4, 1, 2]
    data = common(name, EnhancedCTImageStorage, uid(name, "enhanced"))
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.InstanceNumber = 1
    image_pixels(data, pixels[order])
    data.NumberOfFrames = len(order)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [str(spacing[1]), str(spacing[0])]
    measures.SliceThickness = str(spacing[2])
    orientation.ImageOrientationPatient = [f"{v:.12g}" for v in turn[:, :2].T.ravel()]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in order:
        frame, position, values, content = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [
            f"{v:.10g}" for v in np.asarray(origin) + k * turn[:, 2] * spacing[2]]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", str(-1024 - k), "HU"
        content.StackID, content.InStackPositionNumber = "1", k + 1
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([values])
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return data, order


def compressed(slices, syntax, **options):
    for data in slices:
        if syntax == JPEGLosslessSV1:
            gdcm_compress(data)
        elif syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
            if syntax == ExplicitVRBigEndian:
                data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
            data.file_meta.TransferSyntaxUID = syntax
        else:
            instance = data.SOPInstanceUID
            data.compress(syntax, generate_instance_uid=False, **options)
            assert data.SOPInstanceUID == instance
    return slices


def gdcm_compress(data):
    """pydicom has no encoder of lossless JPEG; GDCM has."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/a.dcm", f"{folder}/b.dcm"
        data.save_as(source, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(source)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(target)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        coded = pydicom.dcmread(target)
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = coded.PixelData
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True


def lossless_jpeg(plane, predictor):
    """A lossless JPEG (T.81, annex H) of any predictor, which no encoder at hand writes; restarts every 8 rows."""
    rows, columns = plane.shape
    restart = 8
    # One code length for all 16 categories, but for the one whose code would be all ones.
    lengths = {category: 5 for category in range(17)}
    codes = {category: n for n, category in enumerate(sorted(lengths))}
    counts = [0] * 16
    counts[4] = 17
    bits = ""
    coded = bytearray()

    def flush(marker=None):
        nonlocal bits
        bits += "1" * (-len(bits) % 8)
        for at in range(0, len(bits), 8):
            byte = int(bits[at:at + 8], 2)
            coded.append(byte)
            if byte == 0xFF:
                coded.append(0)
        bits = ""
        if marker is not None:
            coded.extend([0xFF, marker])

    x = plane.astype(int)
    for row in range(rows):
        fresh = row % restart == 0
        if fresh and row:
            flush(0xD0 + (row // restart - 1) % 8)
        for column in range(columns):
            if fresh:
                guess = x[row, column - 1] if column else 1 << 15
            elif column == 0:
                guess = x[row - 1, 0]
            else:
                left, above, corner = x[row, column - 1], x[row - 1, column], x[row - 1, column - 1]
                guess = [left, above, corner, left + above - corner, left + ((above - corner) >> 1),
                         above + ((left - corner) >> 1), (left + above) >> 1][predictor - 1]
            difference = (int(x[row, column]) - int(guess) + (1 << 15)) % (1 << 16) - (1 << 15)
            if difference == -(1 << 15):
                bits += f"{codes[16]:05b}"
                continue
            category = abs(difference).bit_length()
            bits += f"{codes[category]:05b}"
            if category:
                bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    flush()
    huffman = bytes([0] + counts + sorted(lengths))
    segments = [
        (0xC3, bytes([16]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes([1, 1, 0x11, 0])),
        (0xC4, huffman),
        (0xDD, (columns * restart).to_bytes(2, "big")),
        (0xDA, bytes([1, 1, 0, predictor, 0, 0])),
    ]
    out = b"\xff\xd8"
    for marker, segment in segments:
        out += bytes([0xFF, marker]) + (len(segment) + 2).to_bytes(2, "big") + segment
    return out + bytes(coded) + b"\xff\xd9"


def baseline_jpeg(plane):
    """A JPEG of 8 bits, by Pillow's libjpeg."""
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(plane).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def encapsulated(slices, syntax, frames):
    for data, frame in zip(slices, frames):
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = pydicom.encaps.encapsulate([frame])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
    return slices


def to_bytes(data):
    buffer = io.BytesIO()
    if data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        # The pixels are swapped already, which pydicom leaves to whoever forces it.
        data.file_meta.FileMetaInformationGroupLength = 0
        data.file_meta.FileMetaInformationVersion = b"\0\1"
        pydicom.dcmwrite(buffer, data, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def values_of(files):
    """Slices of values, by pydicom, with their positions."""
    found = []
    for content in files:
        data = pydicom.dcmread(io.BytesIO(content))
        pixels = data.pixel_array
        if "PerFrameFunctionalGroupsSequence" in data:
            for plane, group in zip(pixels, data.PerFrameFunctionalGroupsSequence):
                scale = group.PixelValueTransformationSequence[0]
                value = plane.astype(float) * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
                found.append((group.PlanePositionSequence[0].ImagePositionPatient, value))
        else:
            found.append((data.ImagePositionPatient, apply_rescale(pixels, data).astype(float)))
    return found


def affine_by_simpleitk(files, count):
    """RAS+ affine of files in the order of their slices."""
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        for n, content in enumerate(files):
            pathlib.Path(folder, f"{n}.dcm").write_bytes(content)
        reader = SimpleITK.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(folder)
        reader.SetFileNames(names)
        image = reader.Execute()
    assert image.GetSize()[2] == count, image.GetSize()
    direction = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction, image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def checksum(values):
    return hashlib.sha256(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes()).hexdigest()


def sorted_slices(files, turn=TURN):
    found = values_of(files)
    found.sort(key=lambda f: float(np.dot(np.array(f[0], float), turn[:, 2])))
    return [checksum(value) for _, value in found]


def variants():
    """Names, files (name, bytes), and the expected stacks or a part of the refusal."""
    pixels = phantom()

    def plain(name, **options):
        return ct_slices(name, pixels, **options)

    def entry(name, slices, affine="simpleitk", refused=None, warned=None, values=None):
        files = [(f"{name}/{n:02}.dcm", to_bytes(data)) for n, data in enumerate(slices)]
        random.Random(name).shuffle(files)
        # File names are not in the order of slices either.
        files = [(f"{name}/{n:02}.dcm", content) for n, (_, content) in enumerate(files)]
        contents = [content for _, content in files]
        expected = {"refused": refused, "warned": warned}
        if refused is None:
            if isinstance(affine, str):
                affine = affine_by_simpleitk(contents, len(slices))
            expected["affine"] = np.asarray(affine).tolist()
            expected["slices"] = values or sorted_slices(contents)
        return name, files, expected

    yield entry("explicit", plain("explicit"))
    yield entry("implicit", compressed(plain("implicit"), ImplicitVRLittleEndian))
    yield entry("big_endian", compressed(plain("big_endian"), ExplicitVRBigEndian))
    yield entry("deflated", compressed(plain("deflated"), DeflatedExplicitVRLittleEndian))
    yield entry("rle", compressed(plain("rle"), RLELossless))
    yield entry("jpeg_lossless", compressed(plain("jpeg_lossless"), JPEGLosslessSV1))
    yield entry("jpeg_2000", compressed(plain("jpeg_2000"), JPEG2000Lossless))
    yield entry("jpeg_ls", compressed(plain("jpeg_ls"), JPEGLSLossless))
    yield entry("jpeg_ls_near", compressed(plain("jpeg_ls_near"), JPEGLSNearLossless, jls_error=3))

    full = (pixels.astype(np.uint32) * 16 + pixels % 16).astype(np.uint16)
    frames = [lossless_jpeg(plane, predictor) for plane, predictor in zip(full, (2, 4, 5, 6, 7))]
    slices = ct_slices("jpeg_predictors", full, stored=16)
    yield entry("jpeg_predictors", encapsulated(slices, JPEGLossless, frames),
                values=[checksum(plane.astype(float) - 1024) for plane in full])
    small = (pixels // 16).astype(np.uint8)
    slices = ct_slices("jpeg_baseline", small, stored=8)
    yield entry("jpeg_baseline", encapsulated(slices, JPEGBaseline8Bit, map(baseline_jpeg, small)))

    signed = (pixels.astype(np.int32) - 1024).astype(np.int16)
    yield entry("signed", ct_slices("signed", signed, signed=True, stored=16, intercept=lambda k: 0.0))
    scales = {"slope": lambda k: [0.5, 1.25, 2.0, 0.037, 1.0][k], "intercept": lambda k: -10.0 * k}
    yield entry("rescale_per_slice", plain("rescale_per_slice", **scales))
    mixed_sign = ct_slices("mixed_sign", signed[:3], signed=True, stored=16, intercept=lambda k: 0.0)
    step = TURN[:, 2] * 2.5
    mixed_sign += ct_slices("mixed_sign", pixels[3:], origin=np.array([-31.25, 12.5, 101.75]) + 3 * step, prefix="b")
    yield entry("mixed_sign", mixed_sign)

    padded = signed.copy()
    padded[:, :3, :3] = -2000
    slices = ct_slices("padding", padded, signed=True, stored=16, intercept=lambda k: 0.0)
    for data in slices:
        data.add_new(0x00280120, "SS", -2000)
    want = padded.copy()
    want[padded == -2000] = -1024
    yield entry("padding", slices, values=[checksum(plane.astype(float)) for plane in want])

    whole, order = enhanced("enhanced", pixels)
    contents = [to_bytes(whole)]
    affine = affine_by_simpleitk([to_bytes(data) for data in plain("enhanced_as_classic")], SLICES)
    yield "enhanced", [("enhanced/all.dcm", contents[0])], {
        "refused": None, "warned": None, "affine": affine.tolist(), "slices": sorted_slices(contents)}
    whole.compress(RLELossless, generate_instance_uid=False)
    yield "enhanced_rle", [("enhanced_rle/all.dcm", to_bytes(whole))], {
        "refused": None, "warned": None, "affine": affine.tolist(), "slices": sorted_slices(contents)}

    slices = plain("missing")
    del slices[2]
    yield entry("missing", slices, refused="1 slice is missing: neighbours are 2.5000 mm apart, but 5.0000 mm between")
    uneven = plain("uneven")
    uneven[4].ImagePositionPatient = [f"{v:.10g}" for v in np.array([-31.25, 12.5, 101.75]) + 3.6 * step]
    yield entry("uneven", uneven, refused="unevenly spaced")
    double = plain("duplicate")
    other = ct_slices("duplicate", pixels[1:2] + 1, origin=np.array([-31.25, 12.5, 101.75]) + step, prefix="other")
    yield entry("duplicate", double + other, refused="1 position(s) occur more than once")
    copied = plain("copied")
    yield entry("copied", copied + copied[2:3], affine=affine,
                warned="once more and is left out", values=sorted_slices([to_bytes(d) for d in copied]))
    tilt = step + TURN[:, 1] * 0.6
    tilted = plain("tilt", step=tilt)
    want = np.eye(4)
    want[:3, :3] = np.stack([TURN[:, 0] * 0.7, TURN[:, 1] * 0.9, tilt], axis=1)
    want[:3, 3] = [-31.25, 12.5, 101.75]
    yield entry("tilt", tilted, affine=np.diag([-1, -1, 1, 1]) @ want, warned="gantry tilt of 13.5 degrees")
    bent = plain("bent")
    bent[2].ImagePositionPatient = [
        f"{v:.10g}" for v in np.array([-31.25, 12.5, 101.75]) + 2 * step + TURN[:, 0] * 3]
    yield entry("bent", bent, refused="do not lie on a line")
    rounded = plain("rounded", spacing=(0.7, 0.9, 0.65), turn=np.eye(3))
    for k, data in enumerate(rounded):
        data.ImagePositionPatient = ["-31.25", "12.5", f"{100 + 0.65 * k:.1f}"]
    yield entry("rounded", rounded, affine=[[-0.7, 0, 0, 31.25], [0, -0.9, 0, -12.5], [0, 0, 0.65, 100], [0, 0, 0, 1]],
                warned="not quite evenly spaced", values=[checksum(p.astype(float) - 1024) for p in pixels])

    # A localizer across, and a second time point at the same places: three stacks of one series.
    mixed = plain("mixed")
    across = TURN[:, [1, 2, 0]]
    localizer = ct_slices("mixed", pixels[:1], turn=across, prefix="localizer")
    later = ct_slices("mixed", pixels[::-1], prefix="later")
    for data in later:
        data.AcquisitionNumber = 2
    files = mixed + localizer + later
    yield entry("mixed", files, affine=affine, values=sorted_slices([to_bytes(d) for d in mixed]))
    short = plain("truncated")
    name, files, expected = entry("truncated", short, refused="it ends inside of its pixels")
    yield name, [(n, content[:-100] if n.endswith("03.dcm") else content) for n, content in files], expected


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.zip"):
        old.unlink()
    everything = {}
    for name, files, expected in variants():
        with zipfile.ZipFile(OUT / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files:
                # A fixed date, so that the same phantom gives the same archive.
                archive.writestr(zipfile.ZipInfo(file, (2026, 1, 2, 3, 4, 6)), content, zipfile.ZIP_DEFLATED)
        everything[name] = expected
    (OUT / "expected.json").write_text(json.dumps(everything, indent=1) + "\n")
    size = sum(file.stat().st_size for file in OUT.iterdir())
    print(f"{len(everything)} variants, {size} bytes")


if __name__ == "__main__":
    main()
