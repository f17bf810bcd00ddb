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
            same = None
            # Lossy decoders differ among themselves, so any of pydicom's may be the one that is equalled.
            for plugin in (None, "gdcm", "pylibjpeg", "pillow", "pyjpegls"):
                try:
                    _, frames = reference(file, plugin)
                except Exception:
                    continue
                if frames is None:
                    continue
                theirs = [checksum(frame) for frame in frames]
                if theirs == [frame["sha256"] for frame in got["frames"]]:
                    same = plugin or "default"
                    break
            if same:
                equal[facts["syntax"], same] += 1
            else:
                wrong.append(f"{name}: differs from pydicom ({facts})")
            note = f"equal ({same})" if same else "DIFFERENT"
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
        print(f"{count:4} equal to pydicom ({plugin}): {syntax}")
    for reason, count in reasons.most_common():
        print(f"{count:4} refused: {reason}")
    for line in wrong:
        print("WRONG", line)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
