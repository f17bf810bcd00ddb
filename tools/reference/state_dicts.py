"""Writes crates/zoo/tests/state_dicts.csv: a fingerprint of every reference model's state dict, so that the zoo's tests
prove their keys and shapes without timm.

The fingerprint is FNV-1a 64 over the lines `key d0xd1x...\\n` in the keys' order, without `num_batches_tracked` and
without nnU-Net's second names for one tensor (`all_modules`, `decoder.encoder`).
"""

import gc
from pathlib import Path

import torch
from timm.utils.model import reparameterize_model

import models
from fill import fnv1a64

OUTPUT = Path(__file__).parents[2] / "crates/zoo/tests/state_dicts.csv"


def entries(module: torch.nn.Module) -> list[str]:
    """One line a tensor of the state dict."""
    return sorted(
        f"{key} {'x'.join(map(str, tensor.shape))}\n"
        for key, tensor in module.state_dict().items()
        if not key.endswith("num_batches_tracked") and ".all_modules." not in key and not key.startswith("decoder.encoder.")
    )


def forms(name: str):
    """(form, module) for a model as trained and, if it can be reparameterised, as deployed."""
    if models.is_volumetric(name):
        with torch.device("meta"):
            yield "train", models.build(name)
        return
    model = models.build(name)
    yield "train", model
    if name.startswith(("mobileone", "repvgg")):
        yield "deploy", reparameterize_model(model)


def main() -> None:
    lines = ["model,form,tensors,fnv1a64\n"]
    for name in [model for row in models.encoders() for model in row.models()] + models.VOLUMETRIC:
        for form, module in forms(name):
            found = entries(module)
            lines.append(f"{name},{form},{len(found)},{fnv1a64(''.join(found)):016x}\n")
        gc.collect()
    OUTPUT.write_text("".join(lines))


if __name__ == "__main__":
    main()
