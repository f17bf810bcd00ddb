"""Deterministic weights and inputs, the contract shared with the Rust tests.

A tensor's values depend on its state-dict key and shape alone, so that Rust and Python agree on every
weight of every network without exchanging a single weight file. The contract, in f32 arithmetic with one rounding per operation:

- seed = FNV-1a 64 of the key's UTF-8 bytes; element i of the row-major tensor takes the (i+1)-th output
  z of splitmix64 started at that seed, and u = f32(z >> 40) * 2^-23 - 1, which is exact and in [-1, 1).
- the value, by the key's last component and the shape:
    `running_mean`, `bias`, `*_bias`      0.1 * u
    `running_var`                         1 + 0.5 * u
    rank <= 1 (norm weights, scales)      1 + 0.25 * u
    rank >= 2                             f32(sqrt(6 / fan_in)) * u, fan_in = product of all dimensions but the first
  `num_batches_tracked` is left alone. A tensor with several names (nnU-Net's `all_modules` and `decoder.encoder`
  aliases) takes the values of the first in state-dict order.
- network inputs are plain u under the key `input`.
- a `gain` other than 1 multiplies the bound of rank >= 2 tensors (one more f32 rounding). Networks with many sigmoid gates
  are chaotic at gain 1: their gates see logits in the thousands, and f32 rounding alone changes the answer by a quarter.

`python fill.py` rewrites `fill_vectors.json`: literal first values for tests of other implementations.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

CHUNK = 1 << 22
INPUT_KEY = "input"


def fnv1a64(text: str) -> int:
    """The 64-bit FNV-1a hash of a text's UTF-8 bytes: the seed of the tensor of that name."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def unit_values(seed: int, start: int, count: int) -> np.ndarray:
    """Elements start..start+count of a seed's sequence u in [-1, 1), as f32."""
    z = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(seed)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32)
    u *= np.float32(2.0**-23)
    u -= np.float32(1.0)
    return u


def scale_and_offset(key: str, shape: tuple[int, ...], gain: float = 1.0) -> tuple[np.float32, np.float32]:
    """The f32 pair (scale, offset) of a weight's law `offset + scale * u`."""
    name = key.rsplit(".", 1)[-1]
    if name in ("running_mean", "bias") or name.endswith("_bias"):
        return np.float32(0.1), np.float32(0.0)
    if name == "running_var":
        return np.float32(0.5), np.float32(1.0)
    if len(shape) <= 1:
        return np.float32(0.25), np.float32(1.0)
    return np.float32(math.sqrt(6.0 / math.prod(shape[1:]))) * np.float32(gain), np.float32(0.0)


def write_values(out: np.ndarray, key: str, scale: np.float32, offset: np.float32) -> None:
    """Overwrites a flat f32 array with `offset + scale * u`, a chunk at a time."""
    seed = fnv1a64(key)
    for start in range(0, out.size, CHUNK):
        u = unit_values(seed, start, min(CHUNK, out.size - start))
        u *= scale
        if offset != 0:
            u += offset
        out[start : start + u.size] = u


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The contract's f32 tensor for one state-dict entry."""
    out = np.empty(math.prod(shape), np.float32)
    write_values(out, key, *scale_and_offset(key, tuple(shape)))
    return out.reshape(shape)


def fill_input(shape: tuple[int, ...]) -> torch.Tensor:
    """The contract's f32 network input."""
    out = np.empty(math.prod(shape), np.float32)
    write_values(out, INPUT_KEY, np.float32(1.0), np.float32(0.0))
    return torch.from_numpy(out.reshape(shape))


@torch.no_grad()
def fill_module(module: torch.nn.Module, gain: float = 1.0) -> torch.nn.Module:
    """Overwrites a module's f32 parameters and buffers in place and returns it."""
    filled = set()
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked") or tensor.data_ptr() in filled:
            continue
        filled.add(tensor.data_ptr())
        if tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(f"{name}: expected contiguous f32, got {tensor.dtype} with strides {tensor.stride()}")
        write_values(tensor.numpy().reshape(-1), name, *scale_and_offset(name, tuple(tensor.shape), gain))
    return module


VECTOR_CASES = [
    ("encoder.conv_stem.weight", (32, 3, 3, 3)),
    ("encoder.bn1.weight", (32,)),
    ("encoder.bn1.bias", (32,)),
    ("encoder.bn1.running_mean", (32,)),
    ("encoder.bn1.running_var", (32,)),
    ("decoder.lateral_convs.0.weight", (128, 32, 1, 1)),
    ("decoder.lateral_convs.0.bias", (128,)),
    ("decoder.upconvs.0.weight", (960, 256, 2, 2)),
    ("encoder.stages_0.blocks.0.gamma", (96,)),
    ("pos_embed", (1, 197, 192)),
    ("cls_token", (1, 1, 192)),
    ("head.weight", (1000, 192)),
    ("classifier.bias", (1000,)),
    ("conv_blocks_context.0.0.conv1.weight", (16, 1, 3, 3, 3)),
    ("é.some_bias", (4, 2)),
]


def bits(values: np.ndarray) -> list[str]:
    """The f32 bit patterns of values as eight hexadecimal digits each."""
    return [f"{word:08x}" for word in np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)]


def vectors() -> dict:
    """Literal samples of the contract: seeds, first four values, the last value."""

    def case(key, values):
        flat = values.reshape(-1)
        seed = f"{fnv1a64(key):016x}"
        return {"key": key, "shape": values.shape, "seed": seed, "first": bits(flat[:4]), "last": bits(flat[-1:])[0]}

    weights = [case(key, weight(key, shape)) for key, shape in VECTOR_CASES]
    return {"weights": weights, "inputs": [case(INPUT_KEY, fill_input((1, 3, 64, 96)).numpy())]}


if __name__ == "__main__":
    rows = []
    for name, cases in vectors().items():
        lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
        rows.append(f'  "{name}": [\n{lines}\n  ]')
    Path(__file__).with_name("fill_vectors.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
