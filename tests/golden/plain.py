"""The published networks once more, as plain formulas over published names and axes.

Slow and literal, to check the networks and the importer on shapes that no golden value covers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def uniformer(weights: Weights, image: Tensor, head_width: int) -> tuple[list[Tensor], Tensor]:
    """Stages and reconstruction."""
    stages = _stages(weights, "encoder.uniformer", image, head_width)
    rebuilt = stages[-1]
    for step in (5, 4, 3, 2):
        kernel = weights[f"decoder.decoder{step}.transp_conv.conv.weight"]
        rebuilt = functional.conv_transpose3d(rebuilt, kernel, stride=2)
    return stages, _conv(weights, "decoder.out_1.conv.conv", rebuilt)


def uniunet(weights: Weights, image: Tensor, head_width: int) -> list[Tensor]:
    """Logits, then what is answered from 1/4 and 1/2 resolution."""
    turned = image.permute(0, 1, 4, 2, 3)
    projected = _embed(weights, "decoder.proj1", turned, padding=1).permute(0, 1, 3, 4, 2)
    *finer, level = [projected, *_stages(weights, "encoder", image, head_width)]
    merged = []
    for step in (5, 4, 3, 2):
        level = _merge(weights, f"decoder.decoder{step}", level, finer.pop())
        merged.append(level)
    deep = [
        functional.interpolate(
            _conv(weights, f"ms_out.{number}", merged[number + 1]),
            image.shape[2:],
            mode="trilinear",
            align_corners=True,
        )
        for number in (0, 1)
    ]
    return [_conv(weights, "decoder.out.conv.conv", level), *deep]


def unet3d(weights: Weights, image: Tensor) -> tuple[list[Tensor], Tensor]:
    """Last block of each level, and reconstruction."""
    x = _conv(weights, "conv1a", image, padding=1)
    levels = [_residual(weights, "conv1b", x)]
    for level, blocks in ((2, "ab"), (3, "ab"), (4, "abcd")):
        x = _conv(weights, f"ds{level - 1}", levels[-1], stride=2, padding=1)
        for block in blocks:
            x = _residual(weights, f"conv{level}{block}", x)
        levels.append(x)
    for level in (4, 3, 2):
        x = functional.interpolate(_conv(weights, f"up{level}conva", x), scale_factor=2)
        x = _residual(weights, f"up{level}convb", x)
    return levels, _conv(weights, "up1conv", x)


def _stages(weights: Weights, prefix: str, image: Tensor, head_width: int) -> list[Tensor]:
    """Computed on ``b c z x y`` as the release does."""
    x = image.permute(0, 1, 4, 2, 3)
    stages = []
    for stage in range(1, 5):
        x = _embed(weights, f"{prefix}.patch_embed{stage}", x, stride=2)
        block = 0
        while f"{prefix}.blocks{stage}.{block}.pos_embed.weight" in weights:
            name = f"{prefix}.blocks{stage}.{block}"
            x = _local(weights, name, x) if stage < 3 else _global(weights, name, x, head_width)
            block += 1
        stages.append(x)
    stages[-1] = _batch_norm(weights, f"{prefix}.norm", x)
    return [level.permute(0, 1, 3, 4, 2) for level in stages]


def _merge(weights: Weights, name: str, coarse: Tensor, fine: Tensor) -> Tensor:
    kernel = weights[f"{name}.transp_conv.conv.weight"]
    x = torch.cat([functional.conv_transpose3d(coarse, kernel, stride=2), fine], dim=1)
    block = f"{name}.conv_block"
    branch = _standardised(_conv(weights, f"{block}.conv1.conv", x, padding=1))
    branch = _conv(weights, f"{block}.conv2.conv", _leaky(branch), padding=1)
    straight = _conv(weights, f"{block}.conv3.conv", x)
    return _leaky(_standardised(branch) + _standardised(straight))


def _standardised(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(2, 3, 4), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def _embed(weights: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    x = _conv(weights, f"{name}.proj", x, **options)
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    return _scaled(weights, f"{name}.norm", (x - mean) / (variance + 1e-5).sqrt())


def _local(weights: Weights, name: str, x: Tensor) -> Tensor:
    width = x.shape[1]
    x = x + _conv(weights, f"{name}.pos_embed", x, padding=1, groups=width)
    mixed = _conv(weights, f"{name}.conv1", _batch_norm(weights, f"{name}.norm1", x))
    mixed = _conv(weights, f"{name}.attn", mixed, padding=2, groups=width)
    x = x + _conv(weights, f"{name}.conv2", mixed)
    hidden = _conv(weights, f"{name}.mlp.fc1", _batch_norm(weights, f"{name}.norm2", x))
    return x + _conv(weights, f"{name}.mlp.fc2", functional.gelu(hidden))


def _global(weights: Weights, name: str, x: Tensor, head_width: int) -> Tensor:
    width = x.shape[1]
    x = x + _conv(weights, f"{name}.pos_embed", x, padding=1, groups=width)
    tokens = x.flatten(2).transpose(1, 2)
    query, key, value = _linear(
        weights, f"{name}.attn.qkv", _norm(weights, f"{name}.norm1", tokens)
    ).chunk(3, dim=2)
    heads = []
    for start in range(0, width, head_width):
        own = slice(start, start + head_width)
        scores = query[..., own] @ key[..., own].transpose(1, 2) / head_width**0.5
        heads.append(scores.softmax(dim=2) @ value[..., own])
    tokens = tokens + _linear(weights, f"{name}.attn.proj", torch.cat(heads, dim=2))
    hidden = _linear(weights, f"{name}.mlp.fc1", _norm(weights, f"{name}.norm2", tokens))
    tokens = tokens + _linear(weights, f"{name}.mlp.fc2", functional.gelu(hidden))
    return tokens.transpose(1, 2).reshape(x.shape)


def _residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    branch = x
    for half in ("1", "2"):
        scale, shift = weights[f"{name}.gn{half}.weight"], weights[f"{name}.gn{half}.bias"]
        branch = functional.group_norm(branch, 8, scale, shift).relu()
        branch = _conv(weights, f"{name}.conv{half}", branch, padding=1)
    return x + branch


def _conv(weights: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv3d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def _linear(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    return tokens @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return functional.layer_norm(tokens, tokens.shape[2:], scale, shift, eps=1e-6)


def _batch_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = (
        weights[f"{name}.running_{part}"].view(-1, 1, 1, 1) for part in ("mean", "var")
    )
    return _scaled(weights, name, (x - mean) / (variance + 1e-5).sqrt())


def _scaled(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x * weights[f"{name}.weight"].view(-1, 1, 1, 1) + weights[f"{name}.bias"].view(
        -1, 1, 1, 1
    )
