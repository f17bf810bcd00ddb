"""Acceptance: slicewise equals PyTorch on randomly initialised models at sizes and class counts no test uses.

Each model gets timm's or PyTorch's own initialisation from a seed; batch norm statistics, norm weights, layer scales and
biases, which initialisation leaves at 0, 1 or 1e-6, are randomised too so that an error in them shows. The state dict and
the input go to files, `slicewise run` computes the logits with every engine, and the largest error relative to the
output's range, against PyTorch in f64, must not exceed 1e-4.
"""

import argparse
import functools
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import models
from checks import DEFAULT_BINARY, Table, relative_error, slicewise_run
from golden import to_double

ENGINES = ["native", "onnxruntime", "openvino"]
LARGE = ["stunet_l", "stunet_h"]


def default_models(everything: bool) -> list[str]:
    """Every 2D encoder alone and with its decoders, then the volumetric networks."""
    names = [name for row in models.encoders() for name in row.models()]
    return names + [name for name in models.VOLUMETRIC if everything or name not in LARGE]


def classes_and_sizes(name: str) -> tuple[int, list[tuple[int, ...]]]:
    """The class count and the spatial sizes a model is checked at."""
    if models.is_volumetric(name):
        return 3, [(32, 64, 128)]
    return 7, [(96, 160)] if name.startswith("vit_") else [(96, 160), (70, 90)]


def random_model(name: str, classes: int, generator: torch.Generator) -> torch.nn.Module:
    """A model with its own initialisation, and every vector and running statistic randomised around its usual value."""
    model = models.build(name, classes)
    for key, tensor in model.state_dict().items():
        if tensor.dim() > 1 or not tensor.is_floating_point():
            continue
        noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
        if key.endswith(("bias", "running_mean")):
            tensor.copy_(0.2 * noise)
        else:
            tensor.copy_(1 + 0.4 * noise)
    return model


@torch.no_grad()
def check(name: str, table: Table, arguments: argparse.Namespace) -> None:
    """Adds one model's rows to the table."""
    classes, sizes = classes_and_sizes(name)
    seed = zlib.crc32(name.encode()) ^ arguments.seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = random_model(name, classes, generator)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        weights, input_file = folder / "weights.safetensors", folder / "x.npy"
        save_file({key: tensor.clone() for key, tensor in model.state_dict().items()}, weights)
        to_double(model)
        for size in sizes:
            x = torch.randn(models.input_shape(name, size), generator=generator)
            np.save(input_file, x.numpy())
            expected = model(x.double()).numpy()
            options = ("--weights", weights, "--classes", classes)

            def error(engine, expected=expected, options=options):
                return relative_error(slicewise_run(arguments.slicewise, name, input_file, engine, *options), expected)

            comparisons = {engine: functools.partial(error, engine) for engine in arguments.engines}
            table.row(f"{name} {'x'.join(map(str, size))}", comparisons)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="slicewise model names (default: all)")
    parser.add_argument("--all", action="store_true", help=f"include {' and '.join(LARGE)} in the default list")
    parser.add_argument("--slicewise", type=Path, default=DEFAULT_BINARY, help="the slicewise binary")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=ENGINES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(default_models(everything=True))
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; `slicewise models list` names them all")
    torch.set_num_threads(arguments.threads)

    table = Table(44, arguments.engines)
    for name in arguments.models or default_models(arguments.all):
        check(name, table, arguments)
    return table.finish()


if __name__ == "__main__":
    sys.exit(main())
