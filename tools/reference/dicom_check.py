"""slicewise = pydicom on every image among pydicom's own test files.

    python dicom_check.py [--dump PATH] [--verbose]

Compares the stored numbers of every frame with `pixel_array`. Nothing is downloaded: the files are those that
the pydicom package ships. Every other file must be refused, and the reasons are counted.
The binary is `cargo build --release -p slicewise-imaging --example dicom_dump`.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import subprocess
import warnings

import numpy as np
import pydicom
from pydicom.data import get_testdata_files

LOSSY = ("Extended", "Baseline", "JPEG 2000", "Near-Lossless")

ROOT = pathlib.Path(__file__).resolve().parents[2]


def reference(file, plugin):
    """The frames that pydicom decodes, or why it does not."""
    data = pydicom.dcmread(file, force=True)
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    facts = {
        "syntax": syntax.name if syntax else "none given",
        "samples": data.get("SamplesPerPixel", 1),
        "photometric": data.get("PhotometricInterpretation"),
        "stored": data.get("BitsStored"),
        "allocated": data.get("BitsAllocated"),
        "modality": data.get("Modality"),
        "pixels": any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")),
    }
    if not facts["pixels"]:
        return facts, None
    try:
        if plugin:
            data.pixel_array_options(decoding_plugin=plugin)
        pixels = data.pixel_array
    except Exception as error:  # whatever a plugin raises is a refusal
        facts["refused"] = f"{type(error).__name__}: {error}"
        return facts, None
    return facts, pixels if int(data.get("NumberOfFrames", 1) or 1) > 1 else pixels[None]


def checksum(frame):
    return hashlib.sha256(np.ascontiguousarray(frame, dtype="<f8").tobytes()).hexdigest()


def references(file):
    """What decodes a file, by name, until all have been asked."""
    for plugin in (None, "pylibjpeg", "pyjpegls", "pillow"):
        try:
            _, frames = reference(file, plugin)
        except Exception:
            continue
        if frames is not None:
            yield f"pydicom{f' with {plugin}' if plugin else ''}", frames
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))
    except RuntimeError:
        return
    yield "SimpleITK", frames


def compare(file, got, dump, lossy):
    """Who has the same numbers. Decoders of lossy codecs differ among themselves in rounding, by 1 at most."""
    ours = [frame["sha256"] for frame in got["frames"]]
    largest = {}
    for who, frames in references(file):
        if [checksum(frame) for frame in frames] == ours:
            return f"equal to {who}"
        raw = subprocess.run([dump, "raw", file], capture_output=True, check=True).stdout
        difference = np.abs(np.frombuffer(raw).reshape(frames.shape) - frames)
        largest[who] = (difference.max(), (difference > 0).mean())
    for who, (most, share) in largest.items():
        if lossy and most <= 1:
            return f"within 1 of {who}, {share:.2%} of numbers differ"
    return f"DIFFERS {largest}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", default=ROOT / "target/release/examples/dicom_dump")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    files = sorted(f for f in set(get_testdata_files()) if pathlib.Path(f).is_file())
    output = subprocess.run([arguments.dump, "image", *files], capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in output.stdout.splitlines()]
    assert len(ours) == len(files), f"{len(ours)} answers for {len(files)} files\n{output.stderr}"

    wrong, equal, reasons = [], collections.Counter(), collections.Counter()
    for file, got in zip(files, ours):
        try:
            facts, frames = reference(file, None)
        except Exception as error:
            facts, frames = {"refused": str(error), "pixels": False, "syntax": "none given"}, None
        name = pathlib.Path(file).name
        if "frames" in got:
            lossy = any(word in facts["syntax"] for word in LOSSY) and "Lossless" not in facts["syntax"]
            note = compare(file, got, arguments.dump, lossy)
            if note.startswith("DIFFERS"):
                wrong.append(f"{name}: {note} ({facts})")
            else:
                equal[facts["syntax"], note] += 1
        else:
            colour = facts["pixels"] and (facts["samples"] != 1 or facts["photometric"] == "PALETTE COLOR")
            if frames is not None and not colour:
                wrong.append(f"{name}: refused, but pydicom reads it: {got['error'].removeprefix(file)}")
            reasons["colour" if colour else "no pixels" if not facts["pixels"] else got["error"].removeprefix(file)] += 1
            note = got["error"].removeprefix(file)
        if arguments.verbose:
            print(f"{name:45} {facts['syntax'][:40]:40} {note}")
    print(f"{len(files)} files")
    for (syntax, plugin), count in sorted(equal.items()):
        print(f"{count:4} {syntax}: {plugin}")
    for reason, count in reasons.most_common():
        print(f"{count:4} refused: {reason}")
    for line in wrong:
        print("WRONG", line)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
