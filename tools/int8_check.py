"""Our INT8 files beside those of onnxruntime.quantization.quantize_static, made of the same model and the same images.

    python int8_check.py [--slicewise PATH] [--models NAME …] [--trained FOLDER] [--size 256] [--rounds 30] [--output F.json]

For each model (default: the eleven encoders of the quantization suite with FPN): export it, quantize it twice, check ours with
onnx.checker, run everything in ONNX Runtime and ours in OpenVINO, and compare with f32 on images that were not
calibrated on: both files as they are written, which does not depend on the CPU and is what counts, and as the integer
kernels here compute them, which saturate on CPUs without VNNI. The two quantized sessions are timed in turns, one run
each, so that both meet the same disturbances; the ratio is theirs to ours (above 1: ours is faster). Models with weights in FOLDER/NAME.safetensors get those, the others a
deterministic fill, whose labels mean little: look at the signal-to-noise ratio of the scores there.
Exits non-zero if a file fails, ours is slower than 0.97 of theirs, or less accurate.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

sys.path.insert(0, str(Path(__file__).parent / "train"))
import phantom  # noqa: E402
from train import CALIBRATION, TEST  # noqa: E402

ENCODERS = (
    "resnet18 resnet34 resnet50 regnetx_004 regnetx_008 regnety_004 regnety_008 repvgg_a0 repvgg_a1 "
    "mobilenetv4_conv_small mobilenetv4_conv_medium"
).split()


class Reader(CalibrationDataReader):
    """Hands over images one by one."""

    def __init__(self, name: str, images: np.ndarray):
        self.feeds = iter([{name: image[None]} for image in images])

    def get_next(self):
        return next(self.feeds, None)


def session(path: Path, threads: int, integers: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    if not integers:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_onnxruntime(path: Path, threads: int, integers: bool = True):
    """A function of one image [C, H, W] that returns the scores."""
    made = session(path, threads, integers)
    name = made.get_inputs()[0].name
    return lambda image: made.run(None, {name: image[None]})[0]


def in_openvino(path: Path, threads: int):
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})
    compiled = core.compile_model(str(path), "CPU")
    return lambda image: compiled(image[None])[0]


def accuracy(reference: list[np.ndarray], run, images: np.ndarray) -> dict:
    """Agreement with f32 over all images."""
    signal = noise = same = pixels = foreground = foreground_same = 0
    for image, wanted in zip(images, reference):
        got = run(image)
        signal += float((wanted.astype(np.float64) ** 2).sum())
        noise += float(((got.astype(np.float64) - wanted) ** 2).sum())
        a, b = wanted.argmax(1), got.argmax(1)
        shown = (a != 0) | (b != 0)
        same, pixels = same + int((a == b).sum()), pixels + a.size
        foreground, foreground_same = foreground + int(shown.sum()), foreground_same + int((shown & (a == b)).sum())
    return {
        "labels": same / pixels,
        "foreground": foreground_same / max(foreground, 1),
        "sqnr_db": 10 * float(np.log10(signal / max(noise, 1e-30))),
    }


def interleaved(runs: dict, image: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, one run of each a round."""
    for run in runs.values():
        for _ in range(3):
            run(image)
    times = {name: [] for name in runs}
    for turn in range(rounds):
        order = list(runs) if turn % 2 == 0 else list(runs)[::-1]
        for name in order:
            begin = time.perf_counter()
            runs[name](image)
            times[name].append((time.perf_counter() - begin) * 1e3)
    return times


def check(args, encoder: str, folder: Path, calibration: np.ndarray, test: np.ndarray) -> dict:
    model = encoder if "+" in encoder else f"{encoder}+fpn"
    weights = args.trained / f"{model}.safetensors" if args.trained else None
    trained = weights is not None and weights.exists()
    classes = len(phantom.CLASSES) if trained else args.classes
    floats, ours, theirs = (folder / f"{model}.{kind}.onnx" for kind in ("f32", "ours", "theirs"))
    export = [args.slicewise, "models", "export", model, "--classes", str(classes), "--size", str(args.size), "-o", floats]
    subprocess.run(export + (["--weights", weights] if trained else []), check=True, capture_output=True)
    quantize = [args.slicewise, "quantize", floats, "--calibrate", folder / "calibration", "-o", ours, "--json", *args.option]
    said = subprocess.run(quantize, check=True, capture_output=True, text=True)
    onnx.checker.check_model(str(ours), full_check=True)

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(floats), str(prepared), skip_symbolic_shape=True)
    name = session(floats, 1).get_inputs()[0].name
    quantize_static(
        str(prepared),
        str(theirs),
        Reader(name, calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    run = {kind: in_onnxruntime(path, args.threads) for kind, path in (("ours", ours), ("theirs", theirs))}
    exact = in_onnxruntime(floats, args.threads)
    reference = [exact(image) for image in test]
    row = {
        "model": model,
        "trained": trained,
        "layers_int8": len(json.loads(said.stdout)["layers"]),
        "ours": accuracy(reference, in_onnxruntime(ours, args.threads, False), test),
        "theirs": accuracy(reference, in_onnxruntime(theirs, args.threads, False), test),
        "ours_integers": accuracy(reference, run["ours"], test),
        "theirs_integers": accuracy(reference, run["theirs"], test),
        "ours_openvino": accuracy(reference, in_openvino(ours, args.threads), test),
    }
    if args.rounds:
        times = interleaved({"f32": exact, **run}, test[0], args.rounds)
        row["ms"] = {kind: statistics.median(t) for kind, t in times.items()}
        row["ratio"] = statistics.median(t / o for t, o in zip(times["theirs"], times["ours"]))
    for path in (floats, ours, theirs):
        path.unlink()
    return row


def passes(row: dict) -> bool:
    """Whether ours is as good as theirs: as fast (0.97), and as accurate, by labels where weights are trained, else by scores."""
    accurate = row["ours"]["sqnr_db"] >= row["theirs"]["sqnr_db"] - 0.1
    if row["trained"]:
        accurate = row["ours"]["foreground"] >= row["theirs"]["foreground"] - 1e-4
    return accurate and row.get("ratio", 1.0) >= 0.97


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slicewise", default=str(Path(__file__).parents[1] / "target/release/slicewise"))
    parser.add_argument("--models", nargs="*", default=ENCODERS)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=117)
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=30, help="0: accuracy alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="handed to slicewise quantize, as in --option=--equalize")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    calibration, _ = phantom.cases(CALIBRATION, args.calibration, args.size)
    test, _ = phantom.cases(TEST, args.test, args.size)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "calibration").mkdir()
        for i, image in enumerate(calibration):
            np.save(folder / "calibration" / f"{i:03}.npy", image)
        for encoder in args.models:
            row = check(args, encoder, folder, calibration, test)
            rows.append(row)
            ms = row.get("ms", {})
            print(
                f"{'ok  ' if passes(row) else 'FAIL'} {row['model']:28} {'trained' if row['trained'] else 'fill   '}"
                + "".join(
                    f"  {kind} {row[kind]['sqnr_db']:.2f} dB {row[kind]['foreground']:.4f}"
                    for kind in ("ours", "theirs", "ours_integers", "theirs_integers", "ours_openvino")
                )
                + f"  ms f32 {ms.get('f32', 0):.2f} ours {ms.get('ours', 0):.2f} theirs {ms.get('theirs', 0):.2f}"
                f"  ratio {row.get('ratio', 0):.3f}",
                flush=True,
            )
    if args.output:
        about = {"onnxruntime": ort.__version__, "openvino": openvino.__version__, "size": args.size, "threads": args.threads}
        args.output.write_text(json.dumps({**about, "options": args.option, "rows": rows}, indent=1) + "\n")
    return 0 if all(map(passes, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
