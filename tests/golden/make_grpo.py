#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/grpo: python3 tests/golden/make_grpo.py [FOLDER]. Made with torch 2.13.0, transformers 5.24.0, CPU.

Ten GRPO steps on the model of tests/golden/parity/smollm2, from the published definitions (GRPO, dual clip, k3, AdamW) and
../deploy/doc; autograd makes the gradients, torch.optim.AdamW the updates. The forward pass sees the master weights rounded
to bf16, as the learner's does. Everything random about a step (tokens, rewards, the sampler's log-probs) is stored:
  steps.json            config, and of each step its groups and what must come out (losses, gradient norm, lr, gamma, rows)
  weights.safetensors   f32 master weights after the last step
--check: prints how far the final weights move when one ingredient is left out (each must show well over the test's
tolerance), and when every product rounds its operands to bf16 (must stay under it).
"""
import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

HERE = pathlib.Path(__file__).parent
CONFIG = dict(lr=4e-3, min_lr_ratio=0.1, warmup_steps=3, versions=10, weight_decay=1.0, beta1=0.9, beta2=0.95, eps=1e-8, grad_clip=0.5,
              clip_low=0.2, clip_high=0.28, dual_clip=2.0, kl_beta=0.3, advantage_clamp=1.2, guide_quantile=0.9, guide_floor=1e-4)
GROUPS, MEMBERS, VOCAB = 4, 6, 48


def bf16(x):
    return x.bfloat16().float()


class RoundedLinear(torch.autograd.Function):
    """A product whose operands are bf16, forward and backward, with float32 sums: what bf16 hardware does."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(bf16(x), w)
        return bf16(x) @ w.T

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        d = bf16(dy)
        return d @ w, d.reshape(-1, d.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def load(rounded_products):
    model = AutoModelForCausalLM.from_pretrained(HERE / "parity" / "smollm2", attn_implementation="eager", dtype=torch.float32).eval()
    if rounded_products:
        for m in model.modules():
            if isinstance(m, torch.nn.Linear):
                m.forward = lambda x, m=m: RoundedLinear.apply(x, m.weight)
    return model


def log_probs(model, prompt, tokens):
    """Of the completion's tokens, each given all before it."""
    logits = model(input_ids=torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1:]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens)[:, None])[:, 0]


def learning_rate(c, step):
    """Linear to lr in warmup_steps, then half a cosine to lr * min_lr_ratio at the last step."""
    if step < c["warmup_steps"]:
        return c["lr"] * (step + 1) / c["warmup_steps"]
    done = (step - c["warmup_steps"]) / (c["versions"] - 1 - c["warmup_steps"])
    return c["lr"] * (c["min_lr_ratio"] + (1 - c["min_lr_ratio"]) * (1 + math.cos(math.pi * done)) / 2)


def make_groups(model, g, step):
    """Rollouts of random tokens. The sampler's log-probs differ from the policy's, so that clips bite; those of guided
    rollouts are higher, for the sampler saw the guidance."""
    groups = []
    for k in range(GROUPS):
        prompt = torch.randint(3, VOCAB, (int(torch.randint(2, 6, (), generator=g)),), generator=g).tolist()
        members = []
        for i in range(MEMBERS):
            tokens = torch.randint(3, VOCAB, (int(torch.randint(3, 9, (), generator=g)),), generator=g).tolist()
            guided = k == 1 and i < 2
            with torch.no_grad():
                now = log_probs(model, prompt, tokens)
            noise = torch.randn(len(tokens), generator=g) * 0.6
            old = (now + noise + (2.0 if guided else 0.0)).clamp(max=-1e-3)
            reward = [0.0, 0.25, 1.0, 0.0, 0.0, 0.5][int(torch.randint(0, 6, (), generator=g))]
            if guided:
                reward = 1.0
            if k == 3 and step % 2 == 0:
                reward = 0.25  # no spread: nothing to learn
            members.append(dict(tokens=tokens, old=old.tolist(), reward=reward, guided=guided, missing=k == 2 and i == step % 6))
        groups.append(dict(prompt=prompt, members=members))
    return groups


def rows_of(groups, c):
    """(prompt, member, advantage) of what is trained."""
    rows = []
    for group in groups:
        there = [m for m in group["members"] if not m["missing"]]
        rewards = [m["reward"] for m in there]
        mean = sum(rewards) / len(rewards)
        std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
        if std <= 1e-6:
            continue
        for m in there:
            a = (m["reward"] - mean) / (std + 1e-6)
            if c["advantage_clamp"] > 0:
                a = max(-c["advantage_clamp"], min(c["advantage_clamp"], a))
            if not (m["guided"] and a <= 0):
                rows.append((group["prompt"], m, a))
    return rows


def row_loss(logp, ref, m, a, gamma, c):
    """(policy, kl) of one row, means over its tokens."""
    r = torch.exp(logp - torch.tensor(m["old"]))
    if m["guided"]:
        return -(r / (r + gamma) * a).mean(), torch.tensor(0.0)
    surrogate = torch.minimum(r * a, r.clamp(1 - c["clip_low"], 1 + c["clip_high"]) * a)
    if a < 0 and c["dual_clip"] > 1:
        surrogate = torch.maximum(surrogate, torch.tensor(c["dual_clip"] * a))
    d = ref - logp
    return -surrogate.mean(), (torch.exp(d) - d - 1).mean()


def serve(model, master):
    with torch.no_grad():
        for k, p in model.named_parameters():
            p.copy_(bf16(master[k]))


def train_step(model, reference, master, optimizer, groups, step, c):
    serve(model, master)
    rows = rows_of(groups, c)
    logp = [log_probs(model, prompt, m["tokens"]) for prompt, m, _ in rows]
    ratios = [r for p, (_, m, _) in zip(logp, rows) if m["guided"] for r in torch.exp(p.detach() - torch.tensor(m["old"])).tolist()]
    gamma = max(torch.quantile(torch.tensor(ratios), c["guide_quantile"]).item(), c["guide_floor"]) if ratios else c["guide_floor"]
    policy = kl = 0.0
    for p, (prompt, m, a) in zip(logp, rows):
        with torch.no_grad():
            ref = log_probs(reference, prompt, m["tokens"])
        x, y = row_loss(p, ref, m, a, gamma, c)
        policy, kl = policy + x / len(rows), kl + c["kl_beta"] * y / len(rows)
    model.zero_grad()
    (policy + kl).backward()
    for k, p in model.named_parameters():
        master[k].grad = p.grad.clone()
    lr = learning_rate(c, step)
    for group in optimizer.param_groups:
        group["lr"] = lr
    norm = torch.nn.utils.clip_grad_norm_(master.values(), c["grad_clip"]).item()
    optimizer.step()
    return dict(total=(policy + kl).item(), policy=policy.item(), kl=kl.item(), grad_norm=norm, lr=lr, gamma=gamma, rows=len(rows))


def run(c, steps=None, rounded_products=False):
    """All steps; groups are made on the way where steps is None. Returns (steps, master weights)."""
    model, reference = load(rounded_products), load(rounded_products)
    master = {k: p.detach().clone().requires_grad_() for k, p in model.named_parameters()}
    serve(reference, master)
    serve(model, master)
    decay, rest = [p for p in master.values() if p.dim() == 2], [p for p in master.values() if p.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=c["weight_decay"]), dict(params=rest, weight_decay=0.0)],
                                  betas=(c["beta1"], c["beta2"]), eps=c["eps"])
    g, out = torch.Generator().manual_seed(7), []
    for i in range(c["versions"]):
        groups = steps[i]["groups"] if steps else make_groups(model, g, i)
        out.append(dict(groups=groups, want=train_step(model, reference, master, optimizer, groups, i, c)))
        serve(model, master)
    return out, {k: p.detach() for k, p in master.items()}


def distance(a, b, start):
    """Of the weights, as a share of the way from start to b."""
    far = math.sqrt(sum(((a[k] - b[k]) ** 2).sum().item() for k in b))
    return far / math.sqrt(sum(((b[k] - start[k]) ** 2).sum().item() for k in b))


def check(steps, weights):
    start = {k: p.detach() for k, p in load(False).named_parameters()}
    for name, change in {"kl_beta": 0.0, "dual_clip": 0.0, "clip_low": 9.0, "clip_high": 9.0, "advantage_clamp": 0.0, "weight_decay": 0.0,
                         "warmup_steps": 0, "min_lr_ratio": 1.0, "grad_clip": 1e9, "beta1": 0.0, "beta2": 0.5, "guide_floor": 5.0}.items():
        print(f"{name} = {change}: weights off by {distance(run({**CONFIG, name: change}, steps)[1], weights, start):.3f} of the way")
    got, off = run(CONFIG, steps, rounded_products=True)
    print(f"products of bf16 operands: weights off by {distance(off, weights, start):.3f} of the way")
    for key in ("total", "policy", "kl", "grad_norm", "gamma"):
        print(f"  {key}: off by up to {max(abs(a['want'][key] - b['want'][key]) for a, b in zip(got, steps)):.1e}")


def main():
    root = pathlib.Path(next((a for a in sys.argv[1:] if not a.startswith("-")), HERE / "grpo"))
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    steps, weights = run(CONFIG)
    if "--check" in sys.argv:
        check(steps, weights)
        return
    root.mkdir(parents=True, exist_ok=True)
    (root / "steps.json").write_text(json.dumps(dict(config=CONFIG, steps=steps)) + "\n")
    save_file({k: v.contiguous() for k, v in weights.items()}, root / "weights.safetensors")


if __name__ == "__main__":
    main()
