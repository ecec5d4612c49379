"""Weights of a guided-diffusion U-Net in the published layout, and what they compute."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wsinuc.models.networks.unet import UNetConfig

State = dict[str, Tensor]


class Published:
    """Weights in the published layout, and what they compute."""

    def __init__(self, config: UNetConfig, *, new_order: bool = False, seed: int = 0) -> None:
        self.config, self.new_order = config, new_order
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}
        self.inputs: list[list[tuple[str, str]]] = [[("conv", "input_blocks.0.0")]]
        self.outputs: list[list[tuple[str, str]]] = []
        self._build()

    def _draw(self, name: str, *shape: int, gain: float = 1.0) -> None:
        fan = math.prod(shape[1:])
        self.state[f"{name}.weight"] = gain * torch.randn(*shape, generator=self.generator) / math.sqrt(fan)
        self.state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=self.generator)

    def _norm(self, name: str, width: int) -> None:
        self.state[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=self.generator)
        self.state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=self.generator)

    def _res(self, name: str, inputs: int, outputs: int) -> None:
        self._norm(f"{name}.in_layers.0", inputs)
        self._draw(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        self._draw(f"{name}.emb_layers.1", 2 * outputs, 4 * self.config.base)
        self._norm(f"{name}.out_layers.0", outputs)
        self._draw(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            self._draw(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def _attention(self, name: str, width: int) -> None:
        self._norm(f"{name}.norm", width)
        self._draw(f"{name}.qkv", 3 * width, width, 1, gain=2.0)
        self._draw(f"{name}.proj_out", width, width, 1)

    def _build(self) -> None:
        c = self.config
        widths = [c.base * m for m in c.multipliers]
        self._draw("time_embed.0", 4 * c.base, c.base)
        self._draw("time_embed.2", 4 * c.base, 4 * c.base)
        self._draw("input_blocks.0.0", widths[0], 3, 3, 3)
        channels, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(c.res_blocks):
                self.inputs.append(self._stage(f"input_blocks.{len(self.inputs)}", level, channels, width))
                channels = width
                skips.append(width)
            if level < len(widths) - 1:
                self.inputs.append([self._resampler(f"input_blocks.{len(self.inputs)}.0", "down", width)])
                skips.append(width)
        self._res("middle_block.0", channels, channels)
        self._attention("middle_block.1", channels)
        self._res("middle_block.2", channels, channels)
        for level, width in reversed(list(enumerate(widths))):
            for i in range(c.res_blocks + 1):
                name = f"output_blocks.{len(self.outputs)}"
                stage = self._stage(name, level, channels + skips.pop(), width)
                if level and i == c.res_blocks:
                    stage.append(self._resampler(f"{name}.{len(stage)}", "up", width))
                self.outputs.append(stage)
                channels = width
        self._norm("out.0", channels)
        self._draw("out.2", c.out_channels, channels, 3, 3)

    def _stage(self, name: str, level: int, inputs: int, outputs: int) -> list[tuple[str, str]]:
        self._res(f"{name}.0", inputs, outputs)
        if 2**level not in self.config.attention_factors:
            return [("res", f"{name}.0")]
        self._attention(f"{name}.1", outputs)
        return [("res", f"{name}.0"), ("attention", f"{name}.1")]

    def _resampler(self, name: str, direction: str, width: int) -> tuple[str, str]:
        if self.config.resblock_updown:
            self._res(name, width, width)
            return f"res {direction}", name
        self._draw(f"{name}.{'op' if direction == 'down' else 'conv'}", width, width, 3, 3)
        return direction, name

    def _linear(self, name: str, x: Tensor, **how: int) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        if weight.ndim == 2:
            return F.linear(x, weight, bias)
        return (F.conv1d if weight.ndim == 3 else F.conv2d)(x, weight, bias, **how)

    def _group_norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _run(self, kind: str, name: str, x: Tensor, emb: Tensor) -> Tensor:
        if kind == "conv":
            return self._linear(name, x, padding=1)
        if kind == "down":
            return self._linear(f"{name}.op", x, padding=1, stride=2)
        if kind == "up":
            return self._linear(f"{name}.conv", F.interpolate(x, scale_factor=2), padding=1)
        if kind == "attention":
            return self._run_attention(name, x)
        change = {"up": lambda v: F.interpolate(v, scale_factor=2), "down": lambda v: F.avg_pool2d(v, 2)}.get(
            kind.partition(" ")[2], lambda v: v
        )
        h = self._linear(f"{name}.in_layers.2", change(F.silu(self._group_norm(f"{name}.in_layers.0", x))), padding=1)
        scale, shift = self._linear(f"{name}.emb_layers.1", F.silu(emb))[..., None, None].chunk(2, 1)
        h = F.silu(self._group_norm(f"{name}.out_layers.0", h) * (1 + scale) + shift)
        skip = change(x)
        if f"{name}.skip_connection.weight" in self.state:
            skip = self._linear(f"{name}.skip_connection", skip)
        return skip + self._linear(f"{name}.out_layers.3", h, padding=1)

    def _run_attention(self, name: str, x: Tensor) -> Tensor:
        n, c, length = len(x), x.shape[1], x.shape[2] * x.shape[3]
        heads = self.config.heads or c // self.config.head_channels
        qkv = self._linear(f"{name}.qkv", self._group_norm(f"{name}.norm", x.reshape(n, c, length)))
        if self.new_order:
            q, k, v = (part.reshape(n * heads, -1, length) for part in qkv.chunk(3, dim=1))
        else:
            q, k, v = qkv.reshape(n * heads, -1, length).chunk(3, dim=1)
        weights = torch.einsum("bct,bcs->bts", q, k).div(math.sqrt(c // heads)).softmax(-1)
        mixed = torch.einsum("bts,bcs->bct", weights, v).reshape(n, c, length)
        return x + self._linear(f"{name}.proj_out", mixed).reshape(x.shape)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.config.base // 2
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(half) / half)
        emb = torch.cat([angles.cos(), angles.sin()], 1)
        emb = self._linear("time_embed.2", F.silu(self._linear("time_embed.0", emb)))
        skips = []
        for stage in self.inputs:
            for kind, name in stage:
                x = self._run(kind, name, x, emb)
            skips.append(x)
        for i, kind in enumerate(("res", "attention", "res")):
            x = self._run(kind, f"middle_block.{i}", x, emb)
        for stage in self.outputs:
            x = torch.cat([x, skips.pop()], 1)
            for kind, name in stage:
                x = self._run(kind, name, x, emb)
        return self._linear("out.2", F.silu(self._group_norm("out.0", x)), padding=1)
