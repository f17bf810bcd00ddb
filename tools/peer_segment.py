"""The straightforward way in Python, to compare with: nibabel, ONNX Runtime in f32, NumPy's arg-max.

    pip install nibabel onnxruntime
    python tools/peer_segment.py ct.nii.gz labels.nii.gz --model organs.onnx --threads 2

Takes a bundle of slicewise and does with it what its card says: orientation, window, neighbouring slices.
Prints where the time goes as JSON. No slice is resized, so the scan's slices must be of the network's size.
"""

import argparse
import json
import resource
import time

import nibabel as nib
import numpy as np
import onnxruntime as ort


def prepare(data, intensity, channels):
    """Values as the card's intensity makes them, for each channel."""
    data = data.astype(np.float32)
    if clip := intensity.get("clip"):
        data = np.clip(data, *clip)
        if intensity.get("unit"):
            data = (data - clip[0]) / (clip[1] - clip[0])
    scope = intensity.get("z_score")
    if scope:
        axes = (0, 1) if scope == "slice" else None
        data = (data - data.mean(axis=axes, keepdims=True)) / np.maximum(data.std(axis=axes, keepdims=True), 1e-8)
    mean = np.resize(intensity.get("mean") or [0.0], channels).astype(np.float32)
    std = np.resize(intensity.get("std") or [1.0], channels).astype(np.float32)
    return data, mean[:, None, None], std[:, None, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    begin = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["slicewise.card"])
    loaded = time.perf_counter()

    image = nib.load(args.input)
    axes = tuple(card["input"]["orientation"])
    there = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    # [columns, rows, slices].
    data = nib.apply_orientation(np.asanyarray(image.dataobj), there)
    read = time.perf_counter()

    entry = session.get_inputs()[0]
    channels = entry.shape[1]
    values, mean, std = prepare(data, card["input"]["intensity"], channels)
    half = card["input"].get("slices", 1) // 2
    last = data.shape[2] - 1
    network = 0.0
    labels = np.zeros(data.shape, np.uint8 if len(card["classes"]) < 256 else np.uint16)
    for n in range(data.shape[2]):
        if half:
            planes = [values[:, :, min(max(n + c, 0), last)].T for c in range(-half, half + 1)]
        else:
            planes = [values[:, :, n].T] * channels
        x = ((np.stack(planes) - mean) / std)[None].astype(np.float32)
        start = time.perf_counter()
        scores = session.run(None, {entry.name: x})[0]
        network += time.perf_counter() - start
        labels[:, :, n] = scores[0].argmax(axis=0).T + card.get("first_label", 0)
    predicted = time.perf_counter()

    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(axes), nib.io_orientation(image.affine))
    labels = nib.apply_orientation(labels, back)
    result = nib.Nifti1Image(labels, image.affine, image.header)
    result.set_data_dtype(labels.dtype)
    nib.save(result, args.output)
    end = time.perf_counter()
    print(json.dumps({
        "load_ms": 1e3 * (loaded - begin), "read_ms": 1e3 * (read - loaded), "network_ms": 1e3 * network,
        "slices_ms": 1e3 * (predicted - read), "write_ms": 1e3 * (end - predicted), "wall_ms": 1e3 * (end - begin),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
