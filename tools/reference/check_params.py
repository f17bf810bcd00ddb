"""Checks every reference model's parameter count against `params.csv` and the published volumetric counts.

Prints one line a mismatch and exits non-zero if there is any.
"""

import gc
import sys

import torch
from timm.utils.model import reparameterize_model

import models

# Published counts at 117 classes. TotalSegmentator's includes the four coarser heads (90,324 parameters) that nnU-Net
# keeps in the network, and never runs, when deep supervision is off.
VOLUMETRIC_PARAMS = {"totalsegmentator": 31_288_169, "stunet_s": 14_602_953}


def count(module: torch.nn.Module) -> int:
    """Trainable values of a module, each shared tensor once."""
    return sum(parameter.numel() for parameter in module.parameters())


def facts(row: models.Row):
    """(what, got, expected) for every column of an encoder's row."""
    model = models.build(row.encoder)
    yield "classifier, trained form", count(model), row.params_train
    yield "classifier, deployed form", count(reparameterize_model(model)), row.params_deploy
    if row.is_vit:
        return
    for decoder, params in (("fpn", row.fpn_params), ("unet", row.unet_params)):
        for classes, expected in (params or {}).items():
            model = models.build(f"{row.encoder}+{decoder}", classes)
            info = model.encoder.feature_info
            yield "channels", info.channels(), row.feature_channels
            yield "strides", info.reduction(), row.feature_strides
            model.encoder = reparameterize_model(model.encoder)
            yield "encoder, deployed form", count(model.encoder), row.encoder_params_deploy
            yield f"+{decoder}, {classes} classes, deployed form", count(model), expected


def volumetric_facts(name: str):
    """(what, got, expected) for a volumetric network; expected is None where no count was published."""
    with torch.device("meta"):
        model = models.build(name)
    yield "117 classes", count(model), VOLUMETRIC_PARAMS.get(name)


def main() -> int:
    checked = wrong = 0
    subjects = [(row.encoder, facts(row)) for row in models.encoders()]
    subjects += [(name, volumetric_facts(name)) for name in models.VOLUMETRIC]
    for name, comparisons in subjects:
        for what, got, expected in comparisons:
            if expected is None:
                print(f"{name}: {what}: {got} (no published count)")
                continue
            checked += 1
            if got != expected:
                wrong += 1
                print(f"{name}: {what}: got {got}, expected {expected}")
        gc.collect()
    print(f"{checked} counts checked, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
