#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that PEFT reads the adapters agrlctl writes: python3 tests/golden/check_peft.py BASE EXPORT ADAPTER. Run by hand.

BASE: the directory that model.init named; EXPORT and ADAPTER: what `agrlctl model export RUN/checkpoints/latest OUT` writes without and
with --adapter. EXPORT is the merged model in bf16, of adapters in bf16, as the actors serve it; PEFT merges BASE and the float32
adapters. So the logits may differ by the rounding, not by more, and both must differ from BASE. Needs torch, transformers, peft.
"""
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["The capital of France is", "Query: wireless mouse\nProduct: Lautsen wired mouse, black\n", "1 2 3 4 5 6", "¿Dónde está la biblioteca?",
         "def add(a, b):\n    return", "Query: glue that withstands heat\nProduct: epoxy, 200 C\nBrand: Fenn\n"]
MAX_SHARE = 0.03  # of the largest logit: what bf16 weights and adapters may move one


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits[0].double()


def main():
    base, export, adapter = sys.argv[1:4]
    tokenizer = AutoTokenizer.from_pretrained(export)
    merged = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    worst, same, total, moved = 0.0, 0, 0, 0.0
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        ours, theirs = logits(merged, ids), logits(peft, ids)
        with peft.disable_adapter():
            without = logits(peft, ids)
        scale = ours.abs().max().item()
        worst = max(worst, (ours - theirs).abs().max().item() / scale)
        moved = max(moved, (ours - without).abs().max().item() / scale)
        same += (ours.argmax(-1) == theirs.argmax(-1)).sum().item()
        total += ids.shape[1]
    print(f"largest difference of a logit {worst:.4f} of the largest, {moved:.4f} without the adapters; likeliest token equal at {same} of {total}")
    if not (worst <= MAX_SHARE < moved and same >= 0.9 * total):
        sys.exit("check_peft: PEFT's model is another one")


if __name__ == "__main__":
    main()
