#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/parity: python3 tests/golden/make_parity.py [FOLDER]. Made with torch 2.13.0, transformers 5.24.0, CPU.

Each folder NAME is a directory as save_pretrained writes it (config.json, generation_config.json, model.safetensors or shards
with an index): a tiny model of one family with random float32 weights, and beside it what transformers says, in float32 with
eager attention:
  input.json          sequences; target[s][t], the token whose log-prob is asked for after t (-1: none); dlogp[s][t], the
                      derivative of the loss by that log-prob (sixty-fourths: exact in every format)
  expect.safetensors  logits (T, V) and logp (T; 0 where no target) of the sequences one after the other, grad.TENSOR of
                      every parameter; bf16.*: the same with all weights rounded to bf16 first
--check: writes nothing; prints how far torch itself is from bf16.* when the operands of every linear layer are rounded to bf16, forward
and backward: the measure of what tests/unit/ckpt_parity_test.c allows the kernels.
"""
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.utils import logging

sys.dont_write_bytecode = True  # of the next line: no __pycache__ here
from make_grpo import RoundedLinear

BASE = dict(vocab_size=48, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=128)  # of the frequencies of 8 dimensions: kept, mixed, divided, divided
FAMILIES = {
    "llama": (LlamaConfig, dict(rms_norm_eps=1e-5, tie_word_embeddings=False, head_dim=8), None),
    "llama3": (LlamaConfig, dict(rms_norm_eps=1e-5, tie_word_embeddings=True, head_dim=8, rope_parameters=LLAMA3, max_position_embeddings=256,
                                 eos_token_id=[2, 5, 7]), "20KB"),
    "smollm2": (LlamaConfig, dict(rms_norm_eps=1e-5, tie_word_embeddings=True, num_attention_heads=3, num_key_value_heads=1,
                                  rope_parameters=dict(rope_type="default", rope_theta=100000.0), rope_interleaved=False), None),
    "qwen2": (Qwen2Config, dict(rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
                                rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), "16KB"),
    "qwen3": (Qwen3Config, dict(rms_norm_eps=1e-6, tie_word_embeddings=False, head_dim=16,
                                rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), None),
}
LENGTHS = [2, 9, 47]


def make_model(name, seed):
    config_class, fields, _ = FAMILIES[name]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_class(**{**BASE, **fields}), attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.2 + (1.0 if "norm" in key else 0.0))
    return model.eval()


def make_input(seed):
    g = torch.Generator().manual_seed(seed)
    sequences, targets, dlogp = [], [], []
    for n in LENGTHS:
        ids = torch.randint(0, BASE["vocab_size"], (n,), generator=g).tolist()
        ask = (torch.rand(n, generator=g) < 0.7).tolist()
        weight = torch.randint(-32, 33, (n,), generator=g).tolist()
        target = [ids[t + 1] if t + 1 < n and (ask[t] or t == 0) else -1 for t in range(n)]
        sequences.append(ids)
        targets.append(target)
        dlogp.append([(w / 64 if t >= 0 else 0) for w, t in zip(weight, target)])
    return dict(sequences=sequences, target=targets, dlogp=dlogp)


def run(model, data):
    """logits, log-probs and gradients of sum(dlogp * logp)."""
    model.zero_grad()
    logits, logp, loss = [], [], 0.0
    for ids, target, weight in zip(data["sequences"], data["target"], data["dlogp"]):
        out = model(input_ids=torch.tensor([ids])).logits[0]
        t = torch.tensor(target)
        p = torch.log_softmax(out, -1).gather(1, t.clamp(min=0)[:, None])[:, 0] * (t >= 0)
        loss = loss + (p * torch.tensor(weight, dtype=p.dtype)).sum()
        logits.append(out.detach())
        logp.append(p.detach())
    loss.backward()
    grads = {"grad." + k: p.grad.detach().clone() for k, p in model.named_parameters()}
    return {"logits": torch.cat(logits), "logp": torch.cat(logp), **grads}


def round_weights(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16().float())


def own_error(model, data, got):
    """What float32 itself costs: the largest relative distance to the same in float64."""
    want = run(model.double(), data)
    model.float()
    return max(((want[k].double() - got[k].double()).abs().max() / want[k].abs().max()).item() for k in want if k != "logp")


def round_products(model):
    for m in model.modules():
        if isinstance(m, torch.nn.Linear):
            m.forward = lambda x, m=m: RoundedLinear.apply(x, m.weight) + (0 if m.bias is None else m.bias)


def check(root):
    """As the test compares: of each tensor the largest error by the largest value; logits as log-probs of the whole vocabulary, too."""
    off = lambda got, want: ((got - want).abs().max() / want.abs().max()).item()
    worst = [0.0, 0.0, 0.0]
    for name in FAMILIES:
        model = AutoModelForCausalLM.from_pretrained(root / name, attn_implementation="eager", dtype=torch.float32).eval()
        round_weights(model)
        round_products(model)
        want = {k[5:]: v for k, v in load_file(root / name / "expect.safetensors").items() if k.startswith("bf16.")}
        got = run(model, json.loads((root / name / "input.json").read_text()))
        logits = [x["logits"] for x in (got, want)]
        here = [off(got["logp"], want["logp"]), max(off(*logits), off(*[x.log_softmax(-1) for x in logits])),
                max(off(got[k], want[k]) for k in want if k.startswith("grad."))]
        print(f"{name}: " + "log-probs {:.1e}, all logits {:.1e}, gradients {:.1e}".format(*here))
        worst = [max(x) for x in zip(worst, here)]
    print("all: log-probs {:.1e}, all logits {:.1e}, gradients {:.1e}".format(*worst))


def main():
    root = pathlib.Path(next((a for a in sys.argv[1:] if not a.startswith("-")), pathlib.Path(__file__).parent / "parity"))
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    if "--check" in sys.argv:
        check(root)
        return
    for i, (name, (_, _, shard)) in enumerate(FAMILIES.items()):
        folder = root / name
        shutil.rmtree(folder, ignore_errors=True)
        model, data = make_model(name, 10 + i), make_input(20 + i)
        model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        expect = run(model, data)
        error = own_error(model, data, expect)
        round_weights(model)
        expect.update({"bf16." + k: v for k, v in run(model, data).items()})
        (folder / "input.json").write_text(json.dumps(data) + "\n")
        save_file({k: v.contiguous() for k, v in expect.items()}, folder / "expect.safetensors")
        print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, float32 is within {error:.1e} of float64")


if __name__ == "__main__":
    main()
