"""Writes the golden outputs the engines are tested against: one small safetensors file per encoder or volumetric network.

Weights and inputs come from `fill.py`, so a test needs nothing but the file. Outputs are computed in f64 from the f32
weights, in eval mode and in the trained (not reparameterised) form, then sampled at the flat indices
floor(i * numel / n), i in 0..n, n = min(numel, 1024; 1000 logits in full; 256 for features), and stored as f32.

The file's metadata holds, for every case, `<case>.shape`, `<case>.min` and `<case>.max` of the whole output, or
`<case>.f32_error`, PyTorch's own f32 error against f64 relative to the output's range. A case that PyTorch itself does
not compute to 1e-4 in f32 would test nothing: its tensor is left out and `<case>.unstable` holds the error. Likewise
`<case>.refused` holds PyTorch's reason where the reference does not accept a size. The versions used are there too.

Networks that the fill makes chaotic, or whose coarsest level drowns the others, have a second file of the same cases in
`gentle/`, filled with the gain in its `weight_gain` entry (see `fill.py`).
"""

import argparse
import gc
import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.numpy import save

import models
from fill import fill_input, fill_module

SCRIPT_VERSION = "1"
SEGMENTATION_CLASSES = 5
SIZES_2D = [(64, 96), (75, 101)]
# At 32x32x64 instance norm sees two voxels at stride 32, which is so ill-conditioned that f32 is off by up to 1.6e-2.
DEFAULT_SIZE_3D = (32, 64, 96)
SIZE_3D = {"stunet_h": (32, 64, 64)}
GENTLE_GAIN = 0.75
GENTLE = """
ghostnetv2_100 ghostnetv2_130 ghostnetv2_160 regnety_016 mobileone_s0 mobileone_s1 mobileone_s2 mobileone_s3
""".split()
NOTABLE_ERROR = 2e-5
UNSTABLE_ERROR = 1e-4
DEFAULT_OUTPUT = Path(__file__).parents[2] / "crates/engines/tests/golden"


def to_double(module: torch.nn.Module) -> torch.nn.Module:
    """Converts a module to f64 so that the largest network fits in memory: 3D convolutions only while they run."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv3d):
            layer.register_forward_pre_hook(lambda layer, _: convert(layer, torch.float64))
            layer.register_forward_hook(lambda layer, _, output: convert(layer, torch.float32))
        else:
            convert(layer, torch.float64)
    return module


def convert(layer: torch.nn.Module, dtype: torch.dtype) -> None:
    """Converts a layer's own floats, one tensor at a time."""
    for tensor in [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def sample(output: torch.Tensor, limit: int) -> torch.Tensor:
    """The contract's samples of an output, in f64."""
    flat = output.reshape(-1)
    n = min(flat.numel(), limit)
    return flat[torch.arange(n) * flat.numel() // n]


class Golden:
    """The cases of one golden file, and the f32 errors seen on the way."""

    def __init__(self, name: str, gain: float = 1.0):
        self.name = name
        self.gain = gain
        self.tensors = {}
        self.metadata = {"timm": timm.__version__, "torch": torch.__version__, "script": SCRIPT_VERSION}
        if gain != 1.0:
            self.metadata["weight_gain"] = repr(gain)

    def network(self, name: str, classes: int | None = None) -> torch.nn.Module:
        """A reference model with this file's fill."""
        return fill_module(models.build(name, classes), self.gain)

    def add_network(self, network: torch.nn.Module, label: str, sizes: list[tuple[int, ...]], limit: int) -> None:
        """Adds one case a size for a filled network, or one a level where it returns a list of features."""
        inputs = {size: fill_input(models.input_shape(self.name, size)) for size in sizes}
        approximations = {size: self.run(network, label, x) for size, x in inputs.items()}
        to_double(network)
        for size, x in inputs.items():
            if approximations[size] is None:
                continue
            exact = network(x.double())
            if isinstance(exact, torch.Tensor):
                self.add_case(case_name(label, size), exact, approximations[size], limit)
                continue
            for level, outputs in enumerate(zip(exact, approximations[size])):
                self.add_case(case_name(f"{label}.{level}", size), *outputs, limit)

    def run(self, network, label, x):
        """The f32 output, or None with the reason in the metadata where PyTorch refuses the input."""
        try:
            return network(x)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            self.metadata[f"{case_name(label, x.shape[2:])}.refused"] = reason
            print(f"{self.name} {case_name(label, x.shape[2:])}: refused: {reason}", flush=True)
            return None

    def add_case(self, case, exact, approximation, limit):
        """Records one output and prints the f32 error."""
        low, high = exact.min().item(), exact.max().item()
        error = (approximation.double() - exact).abs().max().item() / max(high - low, 1e-300)
        healthy = exact.isfinite().all() and max(abs(low), abs(high)) < 3e38 and high > low
        stable = error <= UNSTABLE_ERROR
        mark = " UNUSABLE" if not healthy else " UNSTABLE" if not stable else " NOTABLE" if error > NOTABLE_ERROR else ""
        print(f"{self.name} {case}: f32 error {error:.1e} of range [{low:.4g}, {high:.4g}]{mark}", flush=True)
        self.metadata[f"{case}.f32_error" if stable else f"{case}.unstable"] = f"{error:.2e}"
        if not stable:
            return
        self.tensors[case] = sample(exact, limit).float().numpy()
        self.metadata[f"{case}.shape"] = ",".join(map(str, exact.shape))
        self.metadata[f"{case}.min"] = repr(low)
        self.metadata[f"{case}.max"] = repr(high)

    def save(self, folder: Path) -> None:
        """Writes `<folder>/<name>.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.safetensors").write_bytes(with_sorted_header(save(self.tensors, self.metadata)))


def with_sorted_header(file: bytes) -> bytes:
    """A safetensors file with its header's entries in alphabetical order, so that equal contents are equal files."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header = {key: dict(sorted(value.items())) for key, value in sorted(header.items())}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def case_name(label: str, size: tuple[int, ...]) -> str:
    """`label@64x96`."""
    return f"{label}@{'x'.join(map(str, size))}"


def golden_2d(row: models.Row, gain: float = 1.0) -> Golden:
    """The cases of one encoder: alone, its features, and with each decoder it supports."""
    golden = Golden(row.encoder, gain)
    sizes = SIZES_2D[:1] if row.is_vit else SIZES_2D
    golden.add_network(golden.network(row.encoder), "classifier", sizes, limit=1000)
    for name in row.models()[1:]:
        decoder = name.partition("+")[2]
        network = golden.network(name, SEGMENTATION_CLASSES)
        if decoder == "fpn":
            golden.add_network(network.encoder, "features", SIZES_2D[:1], limit=256)
            fill_module(network.float(), gain)
        golden.add_network(network, decoder, sizes, limit=1024)
    return golden


def golden_3d(name: str) -> Golden:
    """The single case of a volumetric network."""
    golden = Golden(name)
    network = golden.network(name, SEGMENTATION_CLASSES)
    golden.add_network(network, "volume", [SIZE_3D.get(name, DEFAULT_SIZE_3D)], limit=1024)
    return golden


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="encoders and volumetric networks (default: all)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder of the golden files")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = {row.encoder: row for row in models.encoders()}
    for name in arguments.names or [*rows, *models.VOLUMETRIC]:
        golden = golden_2d(rows[name]) if name in rows else golden_3d(name)
        golden.save(arguments.output)
        if name in GENTLE:
            golden_2d(rows[name], GENTLE_GAIN).save(arguments.output / "gentle")
        del golden
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
