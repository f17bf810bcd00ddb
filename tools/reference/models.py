"""The reference networks, by slicewise name, as PyTorch modules.

    NAME                        timm's classifier (deployed networks reparameterise it; state dicts keep the trained form)
    NAME+fpn, NAME+unet         timm's features_only encoder with our Semantic FPN or UNet decoder
    totalsegmentator            nnU-Net's PlainConvUNet, from the dynamic_network_architectures package
    stunet_s|b|l|h              STU-Net (Huang et al. 2023), with the published state-dict names

Everything is built untrained, in eval mode and without gradients; nothing is ever downloaded.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

FPN_CHANNELS = 128
FPN_STRIDES = [4, 8, 16, 32]
UNET_STRIDES = [2, 4, 8, 16, 32]
UNET_WIDTH_LIMITS = [256, 128, 64, 32]
VOLUMETRIC = ["totalsegmentator", "stunet_s", "stunet_b", "stunet_l", "stunet_h"]


@dataclass
class Row:
    """One encoder's line of `params.csv`: the published parameter counts, None where a form does not exist."""

    encoder: str
    params_train: int
    params_deploy: int
    feature_channels: list[int]
    feature_strides: list[int]
    encoder_params_deploy: int | None
    fpn_params: dict[int, int] | None
    unet_params: dict[int, int] | None

    @property
    def is_vit(self) -> bool:
        """Whether the encoder is a plain vision transformer, which has a classifier only."""
        return self.encoder.startswith("vit_")

    def models(self) -> list[str]:
        """The slicewise names this encoder takes part in."""
        decoders = [("+fpn", self.fpn_params), ("+unet", self.unet_params)]
        return [self.encoder] + [self.encoder + suffix for suffix, params in decoders if params]


def encoders() -> list[Row]:
    """Every 2D encoder, in the order of `params.csv`."""

    def number(text):
        return int(text) if text else None

    def by_classes(record, decoder):
        one, many = (number(record[f"{decoder}_params_{n}class"]) for n in (1, 117))
        return {1: one, 117: many} if one else None

    with open(Path(__file__).with_name("params.csv"), newline="") as file:
        return [
            Row(
                encoder=record["encoder"],
                params_train=int(record["params_train"]),
                params_deploy=int(record["params_deploy"]),
                feature_channels=[int(n) for n in record["feature_channels"].split()],
                feature_strides=[int(n) for n in record["feature_strides"].split()],
                encoder_params_deploy=number(record["encoder_params_deploy"]),
                fpn_params=by_classes(record, "fpn"),
                unet_params=by_classes(record, "unet"),
            )
            for record in csv.DictReader(file, restval="")
        ]


def is_volumetric(name: str) -> bool:
    """Whether a model takes [N, 1, D, H, W] rather than [N, 3, H, W]."""
    return name in VOLUMETRIC


def input_shape(name: str, size: tuple[int, ...], batch: int = 1) -> tuple[int, ...]:
    """The input's shape for a model and a spatial size."""
    return (batch, 1 if is_volumetric(name) else 3, *size)


def build(name: str, classes: int | None = None) -> nn.Module:
    """A reference model in eval mode. `classes` defaults to 1000 for classifiers and 117 for segmentation."""
    encoder, _, decoder = name.partition("+")
    if name == "totalsegmentator":
        model = plain_conv_unet(classes or 117)
    elif name.startswith("stunet_"):
        model = STUNet(name, classes or 117)
    elif decoder:
        model = SegmentationModel(encoder, decoder, classes or 117)
    else:
        model = classifier(encoder, classes or 1000)
    return model.eval().requires_grad_(False)


def classifier(encoder: str, classes: int) -> nn.Module:
    """timm's classifier; a ViT resamples its position embeddings to the input's size."""
    options = {"dynamic_img_size": True} if encoder.startswith("vit_") else {}
    return timm.create_model(encoder, pretrained=False, num_classes=classes, **options)


class SegmentationModel(nn.Module):
    """A timm encoder and a decoder: [N, 3, H, W] -> class logits [N, classes, H, W]."""

    def __init__(self, encoder: str, decoder: str, classes: int):
        super().__init__()
        self.encoder = timm.create_model(encoder, pretrained=False, features_only=True)
        strides, channels = self.encoder.feature_info.reduction(), self.encoder.feature_info.channels()
        decoder_class, wanted = {"fpn": (SemanticFPN, FPN_STRIDES), "unet": (UNetDecoder, UNET_STRIDES)}[decoder]
        self.levels = [strides.index(stride) for stride in wanted]
        self.decoder = decoder_class([channels[level] for level in self.levels], classes)

    def forward(self, x):
        features = self.encoder(x)
        return self.decoder([features[level] for level in self.levels], x.shape[-2:])


def bilinear(x, size):
    """Bilinear resampling to a spatial size, half-pixel centres; nothing where the size is right already."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class SemanticFPN(nn.Module):
    """Semantic FPN (Kirillov et al. 2019) read out at stride 4 only; smooth_convs 1 to 3 never reach the output."""

    def __init__(self, channels: list[int], classes: int):
        super().__init__()
        self.lateral_convs = nn.ModuleList(nn.Conv2d(c, FPN_CHANNELS, 1) for c in channels)
        self.smooth_convs = nn.ModuleList(nn.Conv2d(FPN_CHANNELS, FPN_CHANNELS, 3, padding=1) for _ in channels)
        self.seg_head = nn.Sequential(
            nn.Conv2d(FPN_CHANNELS, FPN_CHANNELS, 3, padding=1),
            nn.BatchNorm2d(FPN_CHANNELS),
            nn.ReLU(),
            nn.Conv2d(FPN_CHANNELS, classes, 1),
        )

    def forward(self, features, size):
        laterals = [conv(feature) for conv, feature in zip(self.lateral_convs, features)]
        top_down = laterals[-1]
        for lateral in reversed(laterals[:-1]):
            top_down = lateral + F.interpolate(top_down, size=lateral.shape[-2:], mode="nearest")
        return bilinear(self.seg_head(self.smooth_convs[0](top_down)), size)


class DoubleConv(nn.Module):
    """The UNet decoder's block: twice 3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        layers = []
        for width in (inputs, outputs):
            layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.conv(x)


class UNetDecoder(nn.Module):
    """Transposed convolutions and skips from stride 32 to stride 2, then one more to the input's size."""

    def __init__(self, channels: list[int], classes: int):
        super().__init__()
        *skips, width = channels
        widths = [min(limit, max(channels) // 2**i) for i, limit in enumerate(UNET_WIDTH_LIMITS)]
        self.upconvs, self.blocks = nn.ModuleList(), nn.ModuleList()
        for skip, next_width in zip(reversed(skips), widths):
            self.upconvs.append(nn.ConvTranspose2d(width, next_width, 2, stride=2))
            self.blocks.append(DoubleConv(next_width + skip, next_width))
            width = next_width
        self.final_upconv = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.seg_head = nn.Conv2d(width, classes, 1)

    def forward(self, features, size):
        *skips, x = features
        for upconv, block, skip in zip(self.upconvs, self.blocks, reversed(skips)):
            x = block(torch.cat([bilinear(upconv(x), skip.shape[-2:]), skip], dim=1))
        return bilinear(self.seg_head(self.final_upconv(x)), size)


def plain_conv_unet(classes: int) -> nn.Module:
    """TotalSegmentator's network: nnU-Net's PlainConvUNet, which keeps its unused deep-supervision heads in the state dict."""
    return PlainConvUNet(
        input_channels=1,
        n_stages=6,
        features_per_stage=[32, 64, 128, 256, 320, 320],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2, 2, 2],
        n_conv_per_stage=2,
        num_classes=classes,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


class ResidualBlock(nn.Module):
    """STU-Net's block: LReLU(shortcut(x) + IN(conv(LReLU(IN(conv(x)))))), with a 1x1x1 shortcut where a stage begins."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, shortcut: bool = False):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv3 = nn.Conv3d(inputs, outputs, 1, stride=stride) if shortcut else nn.Identity()

    def forward(self, x):
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        return F.leaky_relu(self.norm2(self.conv2(y)) + self.conv3(x), 0.01)


class NearestUpsample(nn.Module):
    """Doubles the resolution by nearest neighbour, then mixes channels by a 1x1x1 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class STUNet(nn.Module):
    """STU-Net; every decoder level has a `seg_outputs` head, the finest gives the output."""

    SCALES = {"stunet_s": (16, 1), "stunet_b": (32, 1), "stunet_l": (64, 2), "stunet_h": (96, 3)}
    MULTIPLES = [1, 2, 4, 8, 16, 16]

    def __init__(self, name: str, classes: int):
        super().__init__()
        base, depth = self.SCALES[name]
        widths = [base * multiple for multiple in self.MULTIPLES]

        def stage(inputs, outputs, stride):
            first = ResidualBlock(inputs, outputs, stride, shortcut=True)
            return nn.Sequential(first, *(ResidualBlock(outputs, outputs) for _ in range(depth - 1)))

        self.conv_blocks_context = nn.ModuleList(
            stage(inputs, outputs, stride=1 if level == 0 else 2)
            for level, (inputs, outputs) in enumerate(zip([1] + widths, widths))
        )
        upward = list(zip(widths[:0:-1], widths[-2::-1]))
        self.upsample_layers = nn.ModuleList(NearestUpsample(coarse, fine) for coarse, fine in upward)
        self.conv_blocks_localization = nn.ModuleList(stage(2 * fine, fine, stride=1) for _, fine in upward)
        self.seg_outputs = nn.ModuleList(nn.Conv3d(fine, classes, 1) for _, fine in upward)

    def forward(self, x):
        skips = []
        for context in self.conv_blocks_context:
            x = context(x)
            skips.append(x)
        skips.pop()
        for upsample, localization in zip(self.upsample_layers, self.conv_blocks_localization):
            x = localization(torch.cat([upsample(x), skips.pop()], dim=1))
        return self.seg_outputs[-1](x)
