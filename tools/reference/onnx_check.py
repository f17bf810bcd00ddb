"""Acceptance of ONNX in both directions, against PyTorch, to 1e-4 of the output's range.

in:  PyTorch exports a model by each of its exporters (see `torch_onnx.py`) and `slicewise run FILE.onnx` must agree.
     A model that an exporter itself refuses is reported and is not slicewise's failure.
out: `slicewise models export MODEL` must pass ONNX's full check, and ONNX Runtime and OpenVINO (f32) must agree,
     both at a fixed batch and size and with a dynamic batch run at two images.
"""

import argparse
import functools
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from safetensors.torch import save_file

import models
from checks import DEFAULT_BINARY, Table, relative_error, slicewise, slicewise_run
from fill import fill_input
from golden import to_double
from torch_onnx import CLASSES, EXPORTERS, SUBJECTS, filled_model, name_and_size, write

BATCHES = {"fixed": 1, "dynamic": 2}
RUNTIMES = ["onnxruntime", "openvino"]


def run_onnxruntime(path: Path, x: np.ndarray, threads: int) -> np.ndarray:
    """The first output of an ONNX file under ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def run_openvino(path: Path, x: np.ndarray, threads: int) -> np.ndarray:
    """The first output of an ONNX file under OpenVINO, in f32."""
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return openvino.Core().compile_model(path, "CPU", config)(x)[0]


def imported(subject: str, folder: Path, table: Table, arguments: argparse.Namespace) -> None:
    """Adds a subject's row to the table of PyTorch's files run by slicewise."""
    if arguments.exports:
        folder = arguments.exports
    else:
        for exporter, reason in write(subject, arguments.exporters, folder).items():
            print(f"{subject}: PyTorch's {exporter} exporter refuses: {reason}")

    def error(file):
        output = slicewise_run(arguments.slicewise, file, file.with_suffix(".x.npy"), arguments.engine)
        return relative_error(output, np.load(file.with_suffix(".y.npy")))

    files = {exporter: folder / exporter / f"{subject}.onnx" for exporter in arguments.exporters}
    written = {exporter: file for exporter, file in files.items() if file.with_suffix(".y.npy").exists()}
    table.row(subject, {exporter: functools.partial(error, file) for exporter, file in written.items()})


def exported(subject: str, folder: Path, table: Table, arguments: argparse.Namespace) -> None:
    """Adds a subject's rows to the table of slicewise's files run by others."""
    name, size = name_and_size(subject)
    model = filled_model(name)
    weights = folder / "weights.safetensors"
    save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, weights)
    to_double(model)
    for kind, batch in BATCHES.items():
        path = folder / f"{kind}.onnx"
        x = fill_input(models.input_shape(name, size, batch))
        expected = model(x.double()).numpy()

        def check(path=path, kind=kind):
            options = ("--weights", weights, "--classes", CLASSES, "--size", "x".join(map(str, size)))
            batch = "dynamic" if kind == "dynamic" else 1
            slicewise(arguments.slicewise, "models", "export", name, "-o", path, *options, "--batch", batch)
            onnx.checker.check_model(path, full_check=True)
            return 0.0

        def compare(run, path=path, x=x, expected=expected):
            return relative_error(run(path, x.numpy(), arguments.threads), expected)

        runs = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}
        comparisons = {runtime: functools.partial(compare, run) for runtime, run in runs.items()}
        table.row(f"{subject} {kind}", {"checker": check} | comparisons)


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=SUBJECTS, help="NAME or NAME@HxW (default: every family)")
    parser.add_argument("--direction", choices=["in", "out", "both"], default="both")
    parser.add_argument("--exporters", type=lambda text: text.split(","), default=EXPORTERS)
    parser.add_argument("--exports", type=Path, help="what torch_onnx.py wrote, instead of exporting anew")
    parser.add_argument("--engine", default="native", help="slicewise's engine for PyTorch's files")
    parser.add_argument("--slicewise", type=Path, default=DEFAULT_BINARY, help="the slicewise binary")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    directions = {"in": (imported, arguments.exporters), "out": (exported, ["checker", *RUNTIMES])}
    code = 0
    for direction, (check, columns) in directions.items():
        if arguments.direction not in (direction, "both"):
            continue
        table = Table(44, columns)
        for subject in arguments.subjects:
            with tempfile.TemporaryDirectory() as folder:
                check(subject, Path(folder), table, arguments)
        code |= table.finish()
    return code


if __name__ == "__main__":
    sys.exit(main())
