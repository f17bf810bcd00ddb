"""Times a model in PyTorch eager mode (f32, logits) and in slicewise (label map), taking turns.

    python eager.py totalsegmentator --size 128 128 64

The networks are those that the exactness checks compare with: timm, nnU-Net's and STU-Net's. Weights are random; they do
not change the time. slicewise is timed inside its own process, the first of its runs in each round left out.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import models
from checks import DEFAULT_BINARY


@torch.no_grad()
def eager_ms(model: torch.nn.Module, x: torch.Tensor) -> float:
    """One run in milliseconds."""
    started = time.perf_counter()
    model(x)
    return (time.perf_counter() - started) * 1e3


def slicewise_ms(arguments: argparse.Namespace, x: Path) -> list[float]:
    """Warm runs of the native engine in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--output", Path(folder) / "y.npy", "--task", "labels", "--threads", arguments.threads, "--repeat", 4)
        command = [arguments.slicewise, "run", arguments.model, "--input", x, *options]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(result.stdout)["ms"][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, nargs="+", help="default: 512 512, or 128 128 64 for volumes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slicewise", type=Path, default=DEFAULT_BINARY, help="the slicewise binary")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    default = (128, 128, 64) if models.is_volumetric(arguments.model) else (512, 512)
    torch.manual_seed(0)
    model = models.build(arguments.model, 117).eval()
    x = torch.randn(models.input_shape(arguments.model, tuple(arguments.size or default)))
    times = {"PyTorch eager": [], "slicewise": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npy"
        np.save(file, x.numpy())
        eager_ms(model, x)
        for _ in range(arguments.rounds):
            times["PyTorch eager"].append(eager_ms(model, x))
            times["slicewise"].extend(slicewise_ms(arguments, file))
    for name, ms in times.items():
        print(f"{name:14} median {statistics.median(ms):8.1f} ms of {len(ms)} runs, {min(ms):.1f} to {max(ms):.1f}")
    eager, own = (statistics.median(ms) for ms in times.values())
    print(f"{arguments.model}: {eager / own:.2f}x")


if __name__ == "__main__":
    main()
