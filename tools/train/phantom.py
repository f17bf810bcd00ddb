"""CT-like slices of a made-up abdomen with their label maps, for training small networks where no patient data may go.

Organs are superellipsoids with jittered place, size, tilt and a smooth random deformation; left and right differ, so a
mirrored result is wrong. Every slice is sampled finer than its pixels and averaged, within the plane and through its
thickness, so borders are mixtures (partial volume). Tissues have their own Hounsfield units, a slow texture, and the
correlated noise of a reconstructed scan. The three channels are three neighbouring slices; the labels are the middle one's.

    python phantom.py --output FOLDER --seed 3 --count 64 [--size 128]    # writes 000.npy … and labels/000.npy …
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CLASSES = [
    "background",
    "lung_right",
    "lung_left",
    "liver",
    "stomach",
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "aorta",
    "vertebra",
]

# class, centre (x to the patient's left, y to the back, z to the feet), radii, exponent, HU, spread of HU between patients
ORGANS = [
    ("lung_right", (-0.42, -0.05, -1.00), (0.30, 0.40, 0.78), 2.4, -820, 40),
    ("lung_left", (0.43, 0.00, -1.00), (0.26, 0.38, 0.70), 2.4, -820, 40),
    ("liver", (-0.34, -0.06, 0.05), (0.40, 0.38, 0.75), 2.6, 65, 20),
    ("stomach", (0.26, -0.20, -0.05), (0.24, 0.19, 0.55), 2.0, 20, 15),
    ("spleen", (0.57, 0.14, -0.10), (0.13, 0.22, 0.48), 2.2, 55, 20),
    ("kidney_right", (-0.35, 0.28, 0.55), (0.13, 0.14, 0.50), 2.2, 90, 60),
    ("kidney_left", (0.36, 0.27, 0.42), (0.13, 0.14, 0.50), 2.2, 90, 60),
    ("gallbladder", (-0.17, -0.25, 0.40), (0.09, 0.10, 0.28), 2.0, 8, 6),
    ("aorta", (0.05, 0.17, 0.00), (0.07, 0.07, 99.0), 2.0, 150, 90),
    ("vertebra", (0.00, 0.36, 0.00), (0.15, 0.12, 99.0), 2.8, 260, 80),
]

FAT, MUSCLE, AIR, GAS, CORTEX = -100.0, 50.0, -1000.0, -950.0, 300.0
SUPERSAMPLING, SUBSLICES, SLICE_STEP = 2, 2, 0.06


def smooth_field(generator: torch.Generator, size: int, coarse: int) -> torch.Tensor:
    """A random [size, size] field of unit scale that varies over 1/`coarse` of the image."""
    noise = torch.randn(1, 1, coarse, coarse, generator=generator)
    return F.interpolate(noise, size=(size, size), mode="bicubic", align_corners=True)[0, 0]


def phantom(seed: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """One case: input f32 [3, size, size] (HU clipped to ±1000, divided by 1000) and labels u8 [size, size]."""
    generator = torch.Generator().manual_seed(seed)

    def normal(spread: float) -> float:
        return spread * float(torch.randn((), generator=generator).clamp(-2.5, 2.5))

    fine = size * SUPERSAMPLING
    axis = (torch.arange(fine) + 0.5) / fine * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    scale, tilt = 1 + normal(0.06), normal(0.06)
    x, y = (x - normal(0.04)) / scale, (y - normal(0.04)) / scale
    x, y = x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)
    x = x + 0.025 * smooth_field(generator, fine, 5)
    y = y + 0.025 * smooth_field(generator, fine, 5)
    z = float(torch.rand((), generator=generator)) * 1.6 - 0.8

    organs = []
    for name, centre, radii, exponent, hu, spread in ORGANS:
        jitter = 0.5 if radii[0] < 0.1 else 1.0
        middle = [c + normal(0.035 * jitter) for c in centre]
        radii = [r * (1 + normal(0.08)) for r in radii]
        organs.append((CLASSES.index(name), middle, radii, exponent, hu + normal(spread), normal(0.25)))
    body = (0.86 + normal(0.03), 0.62 + normal(0.03))
    wall = 0.90 + normal(0.02)
    gas_level = -0.30 + normal(0.05)
    texture = 6 * smooth_field(generator, fine, 40) + 6 * smooth_field(generator, fine, 14)

    def section(depth: float) -> tuple[torch.Tensor, torch.Tensor]:
        """HU and labels of an infinitely thin section."""
        radius = ((x / body[0]).abs() ** 2.4 + (y / body[1]).abs() ** 2.4) ** (1 / 2.4)
        hu = torch.where(radius < 1, torch.where(radius < wall, FAT + 25.0, FAT), AIR)
        hu = torch.where((radius > wall - 0.07) & (radius < wall), MUSCLE, hu)
        labels = torch.zeros_like(hu, dtype=torch.uint8)
        for label, (cx, cy, cz), (rx, ry, rz), exponent, value, turn in organs:
            dx, dy = x - cx, y - cy
            if CLASSES[label] in ("aorta", "vertebra"):
                turn = 0.0
            u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
            along = abs((depth - cz) / rz) ** exponent
            form = (u / rx).abs() ** exponent + (v / ry).abs() ** exponent + along
            inside = (form < 1) & (radius < wall - 0.07)
            shade = torch.full_like(hu, value)
            if CLASSES[label] == "stomach":
                shade = torch.where(y < gas_level, GAS, shade)
            if CLASSES[label] == "vertebra":
                shade = torch.where(form > 0.6, value + CORTEX, shade)
            hu = torch.where(inside, shade, hu)
            labels = torch.where(inside, torch.tensor(label, dtype=torch.uint8), labels)
        return hu + torch.where(radius < 1, texture, 0.0), labels

    noise_level = 12 + 14 * float(torch.rand((), generator=generator))
    kernel = torch.tensor([0.25, 0.5, 0.25])
    kernel = (kernel[:, None] * kernel[None, :])[None, None]
    channels = []
    for step in (-1, 0, 1):
        depths = [z + SLICE_STEP * (step + (s + 0.5) / SUBSLICES - 0.5) for s in range(SUBSLICES)]
        hu = sum(section(depth)[0] for depth in depths) / SUBSLICES
        hu = F.avg_pool2d(hu[None, None], SUPERSAMPLING)
        noise = F.conv2d(torch.randn(1, 1, size + 2, size + 2, generator=generator), kernel) / 0.375
        channels.append((hu + noise_level * noise)[0, 0])
    _, labels = section(z)
    # The label of a pixel is that of most of its area.
    counts = torch.stack([F.avg_pool2d((labels == c).float()[None, None], SUPERSAMPLING)[0, 0] for c in range(len(CLASSES))])
    image = torch.stack(channels).clamp(-1000, 1000) / 1000
    return image.numpy().astype(np.float32), counts.argmax(0).numpy().astype(np.uint8)


def cases(seed: int, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` cases of a seed of their own: inputs [count, 3, size, size] and labels [count, size, size]."""
    pairs = [phantom(seed * 1_000_003 + i, size) for i in range(count)]
    return np.stack([image for image, _ in pairs]), np.stack([labels for _, labels in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (args.output / "labels").mkdir(parents=True, exist_ok=True)
    for i in range(args.count):
        image, labels = phantom(args.seed * 1_000_003 + i, args.size)
        np.save(args.output / f"{i:03}.npy", image[None])
        np.save(args.output / "labels" / f"{i:03}.npy", labels[None])


if __name__ == "__main__":
    main()
