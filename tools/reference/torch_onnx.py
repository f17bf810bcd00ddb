"""PyTorch's own ONNX exports of the reference networks, as an importer meets them.

Writes `<output>/<exporter>/<subject>.onnx` with the deterministic fill, and `<subject>.x.npy` and `<subject>.y.npy`, an input
and PyTorch's f64 output, beside it. A subject is a slicewise model name, or `NAME@HxW` for a size other than 64x96
(32x64x96 for volumes). Exporters: `script` (TorchScript tracing), `dynamo` (torch.export, weights inside
the file) and `dynamo_external` (the same as PyTorch saves it by default, weights in `<subject>.onnx.data`).
Prints what an exporter refuses, and why.
"""

import argparse
import contextlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import models
from fill import fill_input, fill_module
from golden import GENTLE, GENTLE_GAIN, to_double

EXPORTERS = ["script", "dynamo", "dynamo_external"]
CLASSES = 5
SIZE_2D = (64, 96)
SIZE_3D = (32, 64, 96)

# One of every family alone, the decoders on encoders of different kinds, odd sizes, and the volumetric networks.
# The script exporter refuses a ViT wherever its position embeddings are resampled, so it gets one at its own size.
SUBJECTS = """
mobileone_s0 mobilenetv4_conv_small mobilenetv4_conv_medium mobilenetv3_small_100 mobilenetv2_100 regnetx_002 regnety_002
resnet18 resnet50 efficientnet_b0 repvgg_a0 lcnet_100 tinynet_c edgenext_x_small convnext_tiny ghostnetv2_100 densenet121
vit_tiny_patch16_224 vit_tiny_patch16_224@224x224 vit_small_patch32_224 poolformer_s12
mobilenetv4_conv_small+fpn mobileone_s0+fpn regnetx_004+fpn resnet18+fpn convnext_tiny+fpn edgenext_x_small+fpn poolformer_s12+fpn
mobilenetv4_conv_small+unet resnet18+unet efficientnet_b0+unet ghostnetv2_100+unet densenet121+unet
resnet18@75x101 mobilenetv4_conv_small+fpn@75x101 ghostnetv2_100+fpn@75x101 mobilenetv4_conv_small+unet@75x101
totalsegmentator stunet_s
""".split()


def name_and_size(subject: str) -> tuple[str, tuple[int, ...]]:
    """A subject's model name and the spatial size it is exported at."""
    name, _, size = subject.partition("@")
    if size:
        return name, tuple(int(length) for length in size.split("x"))
    return name, SIZE_3D if models.is_volumetric(name) else SIZE_2D


def filled_model(name: str) -> torch.nn.Module:
    """A model with the deterministic fill, at the gain at which its output is well-conditioned."""
    gain = GENTLE_GAIN if name.partition("+")[0] in GENTLE else 1.0
    return fill_module(models.build(name, CLASSES), gain)


@contextlib.contextmanager
def silence():
    """Drops what is written to stdout and stderr, by C++ too: a refusing exporter prints its whole graph."""
    sys.stdout.flush()
    saved = {fd: os.dup(fd) for fd in (1, 2)}
    with open(os.devnull, "w") as null:
        for fd in saved:
            os.dup2(null.fileno(), fd)
        try:
            yield
        finally:
            sys.stdout.flush()
            for fd, copy in saved.items():
                os.dup2(copy, fd)
                os.close(copy)


def export(model: torch.nn.Module, x: torch.Tensor, exporters: list[str], paths: dict[str, Path]) -> dict[str, str]:
    """Exports a model to one path an exporter; returns what refused, with the reason."""
    names = {"input_names": ["input"], "output_names": ["logits"], "verbose": False}
    refused, program = {}, None
    for exporter in exporters:
        paths[exporter].parent.mkdir(parents=True, exist_ok=True)
        try:
            with warnings.catch_warnings(), silence():
                warnings.simplefilter("ignore")
                if exporter == "script":
                    torch.onnx.export(model, (x,), paths[exporter], dynamo=False, **names)
                else:
                    program = program or torch.onnx.export(model, (x,), dynamo=True, **names)
                    program.save(paths[exporter], external_data=exporter == "dynamo_external")
        except Exception as error:  # whatever an exporter raises is the finding
            refused[exporter] = f"{type(error).__name__}: {str(error).strip()[:400]}"
    return refused


def write(subject: str, exporters: list[str], output: Path) -> dict[str, str]:
    """Writes a subject's exports, input and output under `output`; returns which exporters refuse it, and why."""
    name, size = name_and_size(subject)
    model, x = filled_model(name), fill_input(models.input_shape(name, size))
    refused = export(model, x, exporters, {exporter: output / exporter / f"{subject}.onnx" for exporter in exporters})
    y = to_double(model)(x.double()).float().numpy()
    for exporter in exporters:
        if exporter not in refused:
            np.save(output / exporter / f"{subject}.x.npy", x.numpy())
            np.save(output / exporter / f"{subject}.y.npy", y)
    return refused


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=SUBJECTS, help="NAME or NAME@HxW (default: every family)")
    parser.add_argument("--exporters", type=lambda text: text.split(","), default=EXPORTERS[:2])
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    total = 0
    for subject in arguments.subjects:
        refused = write(subject, arguments.exporters, arguments.output)
        total += len(refused)
        for exporter, reason in refused.items():
            print(f"{subject}: {exporter} refused: {reason}", flush=True)
        print(f"{subject}: {', '.join(e for e in arguments.exporters if e not in refused)}", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
