"""Trains a small segmentation network on made-up CT slices, so that questions of accuracy can be asked of real weights.

    python train.py MODEL --output FOLDER [--steps 600] [--size 128] [--seed 1]

Writes FOLDER/MODEL.safetensors (the state dict with timm's and slicewise's names, batch norms and branches as trained)
and FOLDER/MODEL.json (what was done, and Dice per class on held-out cases). Stochastic gradient descent with Nesterov
momentum and a polynomial rate, cross-entropy plus soft Dice, as nnU-Net; weight decay on every parameter, as RepVGG.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
import models  # noqa: E402
import phantom  # noqa: E402

# Seeds of the three sets; each case's own seed is made from its set's.
TRAIN, CALIBRATION, TEST = 1, 2, 3


def soft_dice_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One minus the mean Dice of the classes over the whole batch."""
    probability = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).float()
    both = (probability * truth).sum((0, 2, 3))
    either = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (either + 1))[1:].mean()


def dice_per_class(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, classes: int) -> list[float]:
    """Dice of every class, counted over all cases together."""
    both, either = np.zeros(classes), np.zeros(classes)
    with torch.no_grad():
        for i in range(0, len(images), 8):
            predicted = model(images[i : i + 8]).argmax(1)
            for c in range(classes):
                mine, true = predicted == c, labels[i : i + 8] == c
                both[c] += (mine & true).sum().item()
                either[c] += mine.sum().item() + true.sum().item()
    return (2 * both / np.maximum(either, 1)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cases", type=int, default=512)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)

    classes = len(phantom.CLASSES)
    cache = args.output / f"cases-{TRAIN}-{args.cases}-{args.size}.npz"
    if cache.exists():
        with np.load(cache) as stored:
            images, labels = stored["images"], stored["labels"]
    else:
        images, labels = phantom.cases(TRAIN, args.cases, args.size)
        np.savez(cache, images=images, labels=labels)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels).long()
    model = models.build(args.model, classes).requires_grad_(True).train()
    optimizer = torch.optim.SGD(model.parameters(), args.rate, momentum=0.9, nesterov=True, weight_decay=args.decay)
    warmup = 30
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / warmup) * (1 - step / args.steps) ** 0.9
    )
    order, started = [], time.time()
    for step in range(args.steps):
        if len(order) < args.batch:
            order = torch.randperm(len(images)).tolist()
        batch, order = order[: args.batch], order[args.batch :]
        # A shift of all Hounsfield units and more noise, so that no case is seen twice.
        x = images[batch] + 0.02 * torch.randn(len(batch), 1, 1, 1) + 0.01 * torch.randn(len(batch), *images.shape[1:])
        logits = model(x)
        loss = F.cross_entropy(logits, labels[batch]) + soft_dice_loss(logits, labels[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            print(f"{args.model} step {step}/{args.steps} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)

    model.eval()
    test_images, test_labels = phantom.cases(TEST, 48, args.size)
    dice = dice_per_class(model, torch.from_numpy(test_images), torch.from_numpy(test_labels).long(), classes)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, args.output / f"{args.model}.safetensors")
    record = {
        "model": args.model,
        "classes": phantom.CLASSES,
        "seed": args.seed,
        "data_seeds": {"train": TRAIN, "calibration": CALIBRATION, "test": TEST},
        "cases": args.cases,
        "size": args.size,
        "steps": args.steps,
        "batch": args.batch,
        "rate": args.rate,
        "decay": args.decay,
        "torch": torch.__version__,
        "last_loss": loss.item(),
        "test_dice": dict(zip(phantom.CLASSES, dice)),
        "test_mean_dice": float(np.mean(dice[1:])),
    }
    (args.output / f"{args.model}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["test_dice"]), record["test_mean_dice"])


if __name__ == "__main__":
    main()
