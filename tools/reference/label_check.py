"""Acceptance: slicewise's label maps equal the arg-max of PyTorch's FP32 logits, up to near-ties.

Every model with a decoder gets a random initialisation as in `random_check.py`. `slicewise run --task labels` must give
PyTorch's label at 99.99 % of the pixels, and wherever it differs PyTorch's own logits of the two labels must be a near-tie.
The columns: pixels that differ per million, and the largest margin among them relative to the logits' range.
"""

import argparse
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import models
from checks import DEFAULT_BINARY, Failure, slicewise
from random_check import LARGE, random_model

MOST_DIFFERENT = 1e-4
MOST_MARGIN = 1e-5
CLASSES = 117
SIZES = {2: (256, 192), 3: (32, 64, 64)}


def default_models() -> list[str]:
    """Every encoder with its decoders, and the volumetric networks that fit in memory twice."""
    names = [name for row in models.encoders() for name in row.models() if "+" in name]
    return names + [name for name in models.VOLUMETRIC if name not in LARGE]


@torch.no_grad()
def check(name: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """The share of pixels that differ and the largest margin among them."""
    seed = zlib.crc32(name.encode()) ^ arguments.seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = random_model(name, CLASSES, generator)
    x = torch.randn(models.input_shape(name, SIZES[3 if models.is_volumetric(name) else 2]), generator=generator)
    logits = model(x)
    expected = logits.argmax(1)
    with tempfile.TemporaryDirectory() as folder:
        weights, input_file, output = (Path(folder) / file for file in ("w.safetensors", "x.npy", "y.npy"))
        save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, weights)
        np.save(input_file, x.numpy())
        options = ("--engine", arguments.engine, "--classes", CLASSES, "--weights", weights, "--task", "labels")
        slicewise(arguments.slicewise, "run", name, "--input", input_file, "--output", output, *options)
        labels = torch.from_numpy(np.load(output).astype(np.int64))
    if labels.shape != expected.shape:
        raise Failure(f"shape {tuple(labels.shape)}, expected {tuple(expected.shape)}")
    different = labels != expected
    score = lambda label: logits.gather(1, label.unsqueeze(1)).squeeze(1)
    margin = (score(expected) - score(labels)).max() / (logits.max() - logits.min())
    return different.double().mean().item(), margin.item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="slicewise model names with a decoder (default: all)")
    parser.add_argument("--slicewise", type=Path, default=DEFAULT_BINARY, help="the slicewise binary")
    parser.add_argument("--engine", default="native")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    names, failed = arguments.models or default_models(), 0
    print(f"{'':44}{'per million':>12}{'margin':>10}", flush=True)
    for name in names:
        try:
            share, margin = check(name, arguments)
            right = share <= MOST_DIFFERENT and margin <= MOST_MARGIN
            print(f"{name:44}{share * 1e6:12.1f}{margin:10.1e}{'' if right else '  WRONG'}", flush=True)
        except Failure as failure:
            right = False
            print(f"{name:44} FAILED {failure}", flush=True)
        failed += not right
    print(f"{len(names)} models, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
