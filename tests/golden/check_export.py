#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks agrlctl model export: python3 tests/golden/check_export.py AGRLCTL [MODEL ...]. Run with torch 2.13.0, transformers 5.24.0.

Each MODEL is a Hugging Face directory or a .gguf file; without any, random models of the five configurations of tests/golden/parity. It is imported in f32 and exported
in f32 and in bf16; transformers loads all of them and computes in float32. The f32 export must have the logits of MODEL (a GGUF file:
of its import) bit for bit, the bf16 export those of MODEL with its weights rounded to bf16. Exit code 1: some logit differs.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoConfig, AutoModelForCausalLM


def load(folder, rounded=False):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v}
    assert not wrong, f"{folder}: {wrong}"
    if rounded:
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.to(torch.bfloat16).float())
    return model.eval()


def logits(model):
    ids = torch.randint(0, model.config.vocab_size, (2, 33), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model(input_ids=ids).logits


def check(ctl, source, work):
    run = lambda *a: subprocess.run([ctl, "model", *map(str, a)], check=True, stdout=subprocess.DEVNULL)
    run("import", source, work / "in", "--dtype", "f32")
    reference = source if source.is_dir() else work / "in"
    ok = True
    for dtype in ("f32", "bf16"):
        run("export", work / "in", work / dtype, "--dtype", dtype)
        want, got = logits(load(reference, rounded=dtype == "bf16")), logits(load(work / dtype))
        same = torch.equal(want, got)
        ok &= same
        print(f"{source.name} {dtype}: {'equal' if same else 'DIFFERENT'}, largest difference {(want - got).abs().max():.3g} of {want.abs().max():.3g}")
    return ok


def random_model(family, folder):
    """A model of the configuration in tests/golden/parity, with random weights and a tokenizer of the 256 bytes."""
    config = AutoConfig.from_pretrained(family)
    config.vocab_size = 256
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.2 + (1.0 if "norm" in name else 0.0))
    model.save_pretrained(folder, max_shard_size="20KB")
    t = Tokenizer(BPE(vocab={c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[]))
    t.pre_tokenizer = ByteLevel(add_prefix_space=False)
    t.save(str(folder / "tokenizer.json"))
    return folder


def main():
    ctl, given = sys.argv[1], [pathlib.Path(x) for x in sys.argv[2:]]
    ok = True
    for source in given or sorted((pathlib.Path(__file__).parent / "parity").iterdir()):
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            ok &= check(ctl, source if given else random_model(source, work / source.name), work)
    sys.exit(not ok)


main()
