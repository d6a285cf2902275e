#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden models of this folder: python3 tests/golden/make_golden.py [FOLDER]. Needs numpy and nothing else.

Each folder NAME is a Hugging Face directory (config.json, model.safetensors; llama also tokenizer.json) with random weights,
and beside them what the model must say:
  input.json   text, the ids it is encoded to (the start token first), and the shape of logits.f64
  logits.f64   little-endian doubles, one row of the vocabulary for each id
The forward pass below is written down from the published definition of the architectures (RMSNorm, rotary positions in the
rotate-half form, grouped-query attention, SwiGLU; Qwen2: biases of q, k and v; Qwen3: RMSNorm of each query and key head),
in float64, with whole matrices. It shares nothing with the C sources. The output is the same for every run.
"""
import json
import pathlib
import struct
import sys

import numpy as np

SPECIALS = ["<|start|>", "<|end|>"]
MERGES = [("h", "e"), ("Ġ", "s"), ("r", "e"), ("o", "e"), ("Ġ", "re"), ("Ġs", "h")]
TEXT = "red shoe\n4 café"
PIECES = ["<|start|>", "re", "d", "Ġsh", "oe", "Ċ", "4", "Ġ", "c", "a", "f", "Ã", "©"]  # TEXT, merged by hand
VOCAB = len(SPECIALS) + 256 + len(MERGES)
MODELS = {
    "llama": dict(tied=False, dtype="F32", theta=10000.0, eps=1e-5, seed=1),
    "qwen2": dict(tied=True, dtype="BF16", theta=1000000.0, eps=1e-6, seed=2),
    "qwen3": dict(tied=True, dtype="BF16", theta=1000000.0, eps=1e-6, seed=3),
}
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 16, 24, 2, 4, 2, 6


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, free = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in names:
            names[b] = chr(free)
            free += 1
    return [names[b] for b in range(256)]


def tokenizer():
    tokens = SPECIALS + byte_alphabet() + [a + b for a, b in MERGES]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    return tokens, {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(id=i, content=s, **flags) for i, s in enumerate(SPECIALS)],
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [f"{a} {b}" for a, b in MERGES]},
    }


def config(name, m):
    out = {"architectures": [name.capitalize() + "ForCausalLM"], "model_type": name, "hidden_size": HIDDEN,
           "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
           "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB, "max_position_embeddings": 64,
           "rope_theta": m["theta"], "rms_norm_eps": m["eps"], "hidden_act": "silu", "attention_bias": False,
           "tie_word_embeddings": m["tied"], "bos_token_id": 0, "eos_token_id": 1,
           "torch_dtype": "float32" if m["dtype"] == "F32" else "bfloat16"}
    if name == "llama":
        out["mlp_bias"] = False
    else:
        out["use_sliding_window"] = False
    return out


def to_bf16(x):
    """Float32 to the upper 16 bits, rounded to nearest even."""
    bits = x.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def weights(name, m):
    """Tensors as stored, and their exact values as float64."""
    rng, shapes = np.random.RandomState(m["seed"]), {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        shapes.update({p + "input_layernorm.weight": (HIDDEN,), p + "self_attn.q_proj.weight": (q, HIDDEN),
                       p + "self_attn.k_proj.weight": (kv, HIDDEN), p + "self_attn.v_proj.weight": (kv, HIDDEN),
                       p + "self_attn.o_proj.weight": (HIDDEN, q), p + "post_attention_layernorm.weight": (HIDDEN,),
                       p + "mlp.gate_proj.weight": (FFN, HIDDEN), p + "mlp.up_proj.weight": (FFN, HIDDEN),
                       p + "mlp.down_proj.weight": (HIDDEN, FFN)})
        if name == "qwen2":
            shapes.update({p + f"self_attn.{x}_proj.bias": (n,) for x, n in (("q", q), ("k", kv), ("v", kv))})
        if name == "qwen3":
            shapes.update({p + f"self_attn.{x}_norm.weight": (HEAD_DIM,) for x in "qk"})
    shapes["model.norm.weight"] = (HIDDEN,)
    if not m["tied"]:
        shapes["lm_head.weight"] = (VOCAB, HIDDEN)
    stored, exact = {}, {}
    for key, shape in shapes.items():
        x = (0.25 * rng.standard_normal(shape) + ("norm" in key)).astype("<f4")
        if m["dtype"] == "BF16":
            stored[key] = to_bf16(x)
            x = (stored[key].astype("<u4") << 16).view("<f4")
        else:
            stored[key] = x
        exact[key] = x.astype(np.float64)
    return stored, exact


def safetensors(stored, dtype):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for key, x in stored.items():
        header[key] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(x.tobytes() for x in stored.values())


def rms_norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x, theta):
    """Rotary positions of x (heads, positions, HEAD_DIM): x cos + rotate_half(x) sin."""
    inverse = theta ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angle = np.outer(np.arange(x.shape[1]), inverse)
    angle = np.concatenate([angle, angle], axis=1)
    half = np.concatenate([-x[..., HEAD_DIM // 2:], x[..., :HEAD_DIM // 2]], axis=-1)
    return x * np.cos(angle) + half * np.sin(angle)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(x, w, p, m):
    def project(kind, heads):
        y = x @ w[f"{p}{kind}_proj.weight"].T + w.get(f"{p}{kind}_proj.bias", 0.0)
        return y.reshape(len(x), heads, HEAD_DIM).transpose(1, 0, 2)

    q, k, v = project("q", HEADS), project("k", KV_HEADS), project("v", KV_HEADS)
    if p + "q_norm.weight" in w:
        q, k = rms_norm(q, w[p + "q_norm.weight"], m["eps"]), rms_norm(k, w[p + "k_norm.weight"], m["eps"])
    q, k = rotate(q, m["theta"]), rotate(k, m["theta"])
    k, v = (np.repeat(a, HEADS // KV_HEADS, axis=0) for a in (k, v))
    score = q @ k.transpose(0, 2, 1) / np.sqrt(HEAD_DIM)
    score[:, np.triu(np.ones((len(x), len(x)), bool), 1)] = -np.inf
    y = (softmax(score) @ v).transpose(1, 0, 2).reshape(len(x), HEADS * HEAD_DIM)
    return y @ w[p + "o_proj.weight"].T


def forward(ids, w, m):
    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        x = x + attention(rms_norm(x, w[p + "input_layernorm.weight"], m["eps"]), w, p + "self_attn.", m)
        y = rms_norm(x, w[p + "post_attention_layernorm.weight"], m["eps"])
        gate = y @ w[p + "mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
    head = w["model.embed_tokens.weight"] if m["tied"] else w["lm_head.weight"]
    return rms_norm(x, w["model.norm.weight"], m["eps"]) @ head.T


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    tokens, tokenizer_json = tokenizer()
    ids = [tokens.index(piece) for piece in PIECES]
    for name, m in MODELS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        stored, exact = weights(name, m)
        logits = forward(ids, exact, m)
        (folder / "config.json").write_text(json.dumps(config(name, m)) + "\n")
        (folder / "model.safetensors").write_bytes(safetensors(stored, m["dtype"]))
        if name == "llama":
            text = json.dumps(tokenizer_json, ensure_ascii=False, separators=(",", ":")) + "\n"
            (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        (folder / "input.json").write_text(json.dumps({"text": TEXT, "ids": ids, "shape": list(logits.shape)}) + "\n")
        (folder / "logits.f64").write_bytes(logits.astype("<f8").tobytes())


if __name__ == "__main__":
    main()
