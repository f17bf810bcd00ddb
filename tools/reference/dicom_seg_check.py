"""DICOM segmentations that slicewise writes, opened by highdicom and judged by dciodvfy.

    python dicom_seg_check.py [--dump PATH]

For series in all 24 orientations along the axes, an oblique one, an enhanced multi-frame one and a tilted one:
the affine against SimpleITK's; then a label map is written as BINARY and as LABELMAP, and highdicom must find
the same labels for every source image, on the source's grid. `dciodvfy` (Debian: dicom3tools) must report no
error for BINARY; the Label Map storage class is younger than it. Nothing is downloaded.
"""

import argparse
import itertools
import pathlib
import subprocess
import sys
import tempfile
import warnings

import highdicom
import numpy as np
import pydicom

import dicom_phantom as phantom

ROOT = pathlib.Path(__file__).resolve().parents[2]


def orientations():
    """The 24 rotations that take axes to axes."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            for axis, (world, sign) in enumerate(zip(order, signs)):
                turn[world, axis] = sign
            if np.linalg.det(turn) > 0:
                yield turn


def labels_of(shape):
    """Labels [slice, row, column] that differ along every axis; label 2 is absent, 1 is in one slice alone."""
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    labels = np.zeros(shape, np.uint8)
    labels[(i > 10) & (j > 20)] = 3
    labels[(i + j + 3 * k < 22)] = 7
    labels[(k == 3) & (i > 30) & (j < 5)] = 1
    labels[-1, -1, -1] = 150
    return labels


def dciodvfy(path):
    output = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    lines = (output.stderr + output.stdout).splitlines()
    return [line for line in lines if line.startswith("Error")], [line for line in lines if line.startswith("Warning")]


def by_source(segmentation, sources, labels, numbers):
    """The labels that highdicom finds for the source images; `numbers` maps segments to labels."""
    if len(sources) == 1 and "NumberOfFrames" in sources[0]:
        frames = list(range(1, int(sources[0].NumberOfFrames) + 1))
        found = segmentation.get_pixels_by_source_frame(
            sources[0].SOPInstanceUID, frames, combine_segments=True, ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True)
        order = np.argsort([float(np.dot(g.PlanePositionSequence[0].ImagePositionPatient, phantom.TURN[:, 2]))
                            for g in sources[0].PerFrameFunctionalGroupsSequence])
        found = found[order]
    else:
        found = segmentation.get_pixels_by_source_instance(
            [source.SOPInstanceUID for source in sources], combine_segments=True, ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True)
    table = np.zeros(max(numbers) + 1, np.uint8)
    for number, label in numbers.items():
        table[number] = label
    return np.array_equal(table[found], labels)


def on_grid(segmentation, labels, numbers, affine):
    """Whether the labels are where the scan's affine (LPS+) says, by highdicom's volume."""
    volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
    table = np.zeros(max(numbers) + 1, np.uint8)
    for number, label in numbers.items():
        table[number] = label
    array = table[np.asarray(volume.array)]
    # World points of all labelled voxels, both ways.
    ours = np.argwhere(labels)
    ours = np.c_[ours[:, ::-1], np.ones(len(ours))] @ affine.T
    theirs = np.argwhere(array)
    theirs = np.c_[theirs, np.ones(len(theirs))] @ np.asarray(volume.affine).T
    if len(ours) != len(theirs):
        return False
    ours = np.c_[ours[:, :3], labels[labels > 0]]
    theirs = np.c_[theirs[:, :3], array[array > 0]]
    key = lambda points: points[np.lexsort(np.round(points, 3).T)]
    return np.abs(key(ours) - key(theirs)).max() < 1e-3


def check(name, sources, dump, folder, tilted=False):
    """What is wrong with the segmentations of a series, and how many warnings dciodvfy has."""
    wrong, warned = [], []
    series = pathlib.Path(folder, name)
    series.mkdir()
    contents = [phantom.to_bytes(data) for data in sources]
    for n, content in enumerate(contents):
        (series / f"{n}.dcm").write_bytes(content)
    import json
    lines = subprocess.run([dump, "series", series], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = json.loads(lines[0])
    if "affine" not in ours:
        return [f"{name}: not read: {ours}"], []
    affine = np.array(ours["affine"])
    if len(sources) > 1 and not tilted:
        want = phantom.affine_by_simpleitk(contents, len(sources))
        if np.abs(affine - want).max() > 1e-6:
            wrong.append(f"{name}: affine {affine.tolist()} instead of {want.tolist()}")
    labels = labels_of(ours["size"][::-1])
    raw = pathlib.Path(folder, f"{name}.raw")
    raw.write_bytes(labels.tobytes())
    present = [int(label) for label in np.unique(labels) if label]
    for kind in ("binary", "labelmap"):
        path = pathlib.Path(folder, f"{name}.{kind}.dcm")
        subprocess.run([dump, "seg", series, raw, kind, path], check=True)
        numbers = dict(zip(range(1, 99), present)) if kind == "binary" else {n: n for n in present}
        segmentation = highdicom.seg.segread(path)
        for number, label in numbers.items():
            description = segmentation.get_segment_description(number)
            if description.segment_label != f"class_{label}":
                wrong.append(f"{name} {kind}: segment {number} is {description.segment_label}")
            if "RecommendedDisplayCIELabValue" not in description:
                wrong.append(f"{name} {kind}: segment {number} has no colour")
        if not by_source(segmentation, sources, labels, numbers):
            wrong.append(f"{name} {kind}: labels by source image differ")
        lps = np.diag([-1, -1, 1, 1]) @ affine
        if not tilted and not on_grid(segmentation, labels, numbers, lps):
            wrong.append(f"{name} {kind}: labels are elsewhere in space")
        if kind == "binary":
            errors, more = dciodvfy(path)
            wrong += [f"{name} {kind}: dciodvfy: {error}" for error in errors]
            warned += more
    return wrong, warned


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", default=ROOT / "target/release/examples/dicom_dump")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pixels = phantom.phantom()
    series = [(f"turn{n:02}", phantom.ct_slices(f"turn{n:02}", pixels, turn=turn), False)
              for n, turn in enumerate(orientations())]
    series.append(("oblique", phantom.ct_slices("oblique", pixels), False))
    series.append(("enhanced", [phantom.enhanced("enhanced", pixels)[0]], False))
    step = phantom.TURN[:, 2] * 2.5 + phantom.TURN[:, 1] * 0.6
    series.append(("tilt", phantom.ct_slices("tilt", pixels, step=step), True))
    wrong, warned = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, sources, tilted in series:
            problems, more = check(name, sources, arguments.dump, folder, tilted)
            wrong += problems
            warned += more
    print(f"{len(series)} series, {2 * len(series)} segmentations, {len(wrong)} problems")
    for line in sorted(set(warned)):
        print("dciodvfy:", line)
    for line in wrong:
        print("WRONG", line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
