#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/gguf/NAME.bin: python3 tests/golden/make_gguf.py [FOLDER]. Needs numpy and the PyPI package gguf.

Each file holds blocks of one GGUF tensor type, and after them, as little-endian float32, what gguf.quants.dequantize makes of
them. The blocks are random bytes, so that every bit of every field is used; only the half-precision scales are drawn as
numbers (subnormal, negative and large ones among them), because random ones would be infinite or NaN.
"""
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# byte offsets of half-precision scales within a block
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "F16": [0], "BF16": [], "F32": []}


def blocks(name, rng):
    per_block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n = 4 if per_block == 256 else 8 if per_block == 32 else 64
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in SCALES[name]:
        scale = (rng.standard_normal(n) * 10.0 ** rng.uniform(-7, 2, n)).astype("<f2")
        raw[:, at:at + 2] = scale.view(np.uint8).reshape(n, 2)
    if name in ("F32", "BF16"):
        raw = rng.standard_normal(n).astype("<f4").view(np.uint8).reshape(n, 4)[:, 4 - size:].copy()
    return raw


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent) / "gguf"
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20251125)
    for name in SCALES:
        raw = blocks(name, rng)
        kind = GGMLQuantizationType[name]
        values = raw.view({"F32": "<f4", "F16": "<f2"}[name]) if name in ("F32", "F16") else quants.dequantize(raw, kind)
        (root / f"{name}.bin").write_bytes(raw.tobytes() + values.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
