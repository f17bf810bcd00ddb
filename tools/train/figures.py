"""What INT8 and each remedy do to trained networks: results/quantization/remedies.json, and the tables of docs/quantization.md.

    python figures.py --trained FOLDER [--slicewise PATH] [--models NAME …]    # measures, writes the record and the tables
    python figures.py --tables                                                # the tables from the record alone

FOLDER holds what train.py wrote. Every variant is made by `slicewise quantize` of the same calibration cases and run by
ONNX Runtime on held-out cases, as the graph is written, so that the figures do not depend on the CPU; it is compared with
the same network in f32, and both with the truth. Then once more with ONNX Runtime's integer kernels for this CPU, which
saturate without VNNI, and with the native engine's, which do not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

import phantom
from train import CALIBRATION, TEST

ROOT = Path(__file__).parents[2]
RECORD, DOCUMENT = ROOT / "results/quantization/remedies.json", ROOT / "docs/quantization.md"
MODELS = ["repvgg_a0+fpn", "mobilenetv4_conv_small+fpn", "resnet18+fpn"]
TENSOR = ["--weight-scales", "tensor"]
MINMAX, PERCENTILE, ENTROPY, MSE = (["--method", method] for method in ("minmax", "percentile:99.99", "entropy", "mse"))
BASE = ["--reduce-range", "never"]
PLAIN, EQUALIZED, CORRECTED = ["--no-equalize", "--no-bias-correction"], ["--no-bias-correction"], ["--no-equalize"]

# What is measured, by the name it has in the tables.
VARIANTS = {
    "per tensor, min-max": TENSOR + MINMAX + PLAIN,
    "per tensor, min-max, equalized": TENSOR + MINMAX + EQUALIZED,
    "per tensor, min-max, bias correction": TENSOR + MINMAX + CORRECTED,
    "per tensor, min-max, equalized, bias correction": TENSOR + MINMAX,
    "per tensor, min-max, 99 % kept": TENSOR + MINMAX + PLAIN + ["--keep-accuracy", "0.99"],
    "per channel, min-max": MINMAX + PLAIN,
    "per channel, percentile 99.99": PERCENTILE + PLAIN,
    "per channel, entropy": ENTROPY + PLAIN,
    "per channel, MSE": MSE + PLAIN,
    "per channel, MSE, equalized": MSE + EQUALIZED,
    "per channel, MSE, bias correction": MSE + CORRECTED,
    "per channel, percentile 99.99, equalized, bias correction": PERCENTILE,
    "per channel, MSE, equalized, bias correction (defaults)": [],
    "per channel, MSE, f32 head": MSE + PLAIN + ["--head", "f32"],
    "per channel, MSE, 7-bit weights": MSE + PLAIN + ["--reduce-range", "always"],
    "per channel, MSE, i8 activations": MSE + PLAIN + ["--activations", "i8"],
}


class Overlaps:
    """Pixels that agree, and overlaps per class, over all cases."""

    def __init__(self, classes: int):
        self.same = self.pixels = self.foreground = self.foreground_same = 0
        self.both, self.either = np.zeros(classes), np.zeros(classes)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        equal, shown = a == b, (a != 0) | (b != 0)
        self.same, self.pixels = self.same + int(equal.sum()), self.pixels + a.size
        self.foreground, self.foreground_same = self.foreground + int(shown.sum()), self.foreground_same + int((shown & equal).sum())
        for c in range(len(self.both)):
            self.both[c] += ((a == c) & (b == c)).sum()
            self.either[c] += (a == c).sum() + (b == c).sum()

    def result(self) -> dict:
        dice = 2 * self.both[1:] / np.maximum(self.either[1:], 1)
        worst = int(dice.argmin())
        return {
            "labels": self.same / self.pixels,
            "foreground": self.foreground_same / max(self.foreground, 1),
            "mean_dice": float(dice.mean()),
            "worst_dice": float(dice[worst]),
            "worst_class": phantom.CLASSES[worst + 1],
        }


def scores(path: Path, images: np.ndarray, integers: bool) -> list[np.ndarray]:
    options = ort.SessionOptions()
    if not integers:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: image[None]})[0] for image in images]


def native_scores(slicewise: str, path: Path, images: np.ndarray) -> list[np.ndarray]:
    """What the native engine's integer kernels make of a file."""
    x, y = path.with_name("x.npy"), path.with_name("y.npy")
    made = []
    for image in images:
        np.save(x, image[None])
        run = [slicewise, "run", path, "--precision", "int8", "--input", x, "--output", y]
        subprocess.run(run, check=True, capture_output=True)
        made.append(np.load(y))
    return made


def compared(reference: list[np.ndarray], got: list[np.ndarray], truth: np.ndarray) -> dict:
    agreement, against_truth = Overlaps(len(phantom.CLASSES)), Overlaps(len(phantom.CLASSES))
    signal = noise = 0.0
    for wanted, made, labels in zip(reference, got, truth):
        signal += float((wanted.astype(np.float64) ** 2).sum())
        noise += float(((made.astype(np.float64) - wanted) ** 2).sum())
        agreement.add(wanted.argmax(1)[0], made.argmax(1)[0])
        against_truth.add(labels, made.argmax(1)[0])
    return {
        **agreement.result(),
        "sqnr_db": 10 * float(np.log10(signal / noise)) if noise else None,
        "truth": against_truth.result(),
    }


def measure(args) -> dict:
    flags = Path("/proc/cpuinfo").read_text()
    vnni = "avx512_vnni" in flags or "avx_vnni" in flags
    record = {"onnxruntime": ort.__version__, "vnni": vnni, "size": args.size, "cases": args.cases, "models": []}
    calibration, _ = phantom.cases(CALIBRATION, args.cases, args.size)
    test, truth = phantom.cases(TEST, args.cases, args.size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, images in (("calibration", calibration),):
            (folder / name).mkdir()
            for i, image in enumerate(images):
                np.save(folder / name / f"{i:03}.npy", image)
        for model in args.models:
            floats, integers = folder / "f32.onnx", folder / "int8.onnx"
            weights = args.trained / f"{model}.safetensors"
            shape = ["--classes", str(len(phantom.CLASSES)), "--size", str(args.size)]
            subprocess.run(
                [args.slicewise, "models", "export", model, *shape, "--weights", weights, "-o", floats],
                check=True,
                capture_output=True,
            )
            reference = scores(floats, test, False)
            training = json.loads((args.trained / f"{model}.json").read_text())
            entry = {"model": model, "training": training, "f32": compared(reference, reference, truth), "variants": []}
            for name, options in VARIANTS.items():
                command = [args.slicewise, "quantize", floats, "--calibrate", folder / "calibration", "-o", integers, "--json"]
                options = options if "--reduce-range" in options else options + BASE
                done = subprocess.run(command + options, capture_output=True, text=True)
                if done.returncode:
                    entry["variants"].append({"name": name, "failed": done.stderr.strip()})
                    continue
                said = json.loads(done.stdout)
                row = compared(reference, scores(integers, test, False), truth)
                kernels = compared(reference, scores(integers, test, True), truth)
                native = compared(reference, native_scores(args.slicewise, integers, test), truth)
                for kind, found in (("integer_kernels", kernels), ("native", native)):
                    row[kind] = {"foreground": found["foreground"], "truth": found["truth"]["mean_dice"]}
                kept = [k["name"] for k in said["kept"]]
                entry["variants"].append({"name": name, "options": options, "layers": len(said["layers"]), "kept": kept, **row})
                print(f"{model} {name}: foreground {row['foreground']:.4f} Dice {row['truth']['mean_dice']:.4f}", flush=True)
            record["models"].append(entry)
    return record


def tables(record: dict) -> str:
    lines = []
    kernels = f"foreground, ONNX Runtime {'with' if record['vnni'] else 'without'} VNNI"
    for entry in record["models"]:
        f32, training = entry["f32"]["truth"], entry["training"]
        lines += [
            f"### {entry['model']}",
            "",
            f"Trained for {training['steps']} steps of {training['batch']} (seed {training['seed']}, PyTorch {training['torch']}). In f32:"
            f" mean Dice {f32['mean_dice']:.4f} against the truth, worst {f32['worst_dice']:.4f} ({f32['worst_class']}).",
            "",
            f"| variant | labels | foreground | mean Dice | worst Dice | SQNR dB | Dice, truth | layers in f32 | foreground, native | {kernels} |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for v in entry["variants"]:
            if "failed" in v:
                lines.append(f"| {v['name']} | {v['failed']} | | | | | | | | |")
                continue
            lines.append(
                f"| {v['name']} | {100 * v['labels']:.2f} % | {100 * v['foreground']:.2f} % | {v['mean_dice']:.4f} |"
                f" {v['worst_dice']:.4f} | {v['sqnr_db']:.1f} | {v['truth']['mean_dice']:.4f} | {len(v['kept'])} |"
                f" {100 * v['native']['foreground']:.2f} % | {100 * v['integer_kernels']['foreground']:.2f} % |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--slicewise", default=str(ROOT / "target/release/slicewise"))
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    if not args.tables:
        if args.trained is None:
            sys.exit("give --trained FOLDER, or --tables")
        RECORD.write_text(json.dumps(measure(args), indent=1) + "\n")
    text = DOCUMENT.read_text()
    before, rest = text.split("<!-- figures -->\n")
    _, after = rest.split("<!-- end of figures -->")
    DOCUMENT.write_text(f"{before}<!-- figures -->\n{tables(json.loads(RECORD.read_text()))}<!-- end of figures -->{after}")


if __name__ == "__main__":
    main()
