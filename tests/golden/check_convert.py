#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that llama.cpp takes what agrlctl writes: python3 tests/golden/check_convert.py AGRLCTL LLAMA_CPP TOKENS. Run by hand.

LLAMA_CPP: a source tree of llama.cpp (the PyPI source package llama-cpp-python holds one in vendor/); TOKENS: the folder of
make_tokens.py --full, because the converter knows tokenizers by what they make of a test text. For each family transformers saves
a random model in shards; agrlctl imports it; transformers must give it the logits of the original bit for bit, convert_hf_to_gguf.py
must accept it, and agrlctl must read the same weights and rope scaling out of the GGUF file, and transformers the same logits.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.utils import logging

LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
PLAIN = dict(rope_type="default", rope_theta=1000000.0)
FAMILIES = {
    "llama": ("smollm2", LlamaConfig, dict(tie_word_embeddings=False, num_key_value_heads=4)),
    "llama3": ("smollm2", LlamaConfig, dict(tie_word_embeddings=True, rope_parameters=LLAMA3, max_position_embeddings=131072)),
    "smollm2": ("smollm2", LlamaConfig, dict(tie_word_embeddings=True, rope_parameters={**PLAIN, "rope_theta": 100000.0})),
    "qwen2": ("qwen", Qwen2Config, dict(tie_word_embeddings=True, rope_parameters=PLAIN)),
    "qwen3": ("qwen", Qwen3Config, dict(tie_word_embeddings=True, head_dim=32, rope_parameters=PLAIN)),
}
TOKENIZERS = {"smollm2": (49152, 1, 2), "qwen": (151936, 151643, [151645, 151643])}  # rows, start, ends
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
TEXTS = ["Hello world, 3.14 people's", "面霜 without fragrance\n\n  x = 1", "🎉 مرحبا"]


def make(folder, tokens, name):
    kind, config_class, fields = FAMILIES[name]
    rows, start, ends = TOKENIZERS[kind]
    base = dict(vocab_size=rows, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                max_position_embeddings=2048, rms_norm_eps=1e-6, bos_token_id=start, eos_token_id=ends)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config_class(**{**base, **fields}), dtype=torch.float32)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn(p.shape) * 0.1 + ("norm" in key))
    model.bfloat16().save_pretrained(folder, max_shard_size="4MB")
    shutil.copy(tokens / f"{kind}.json", folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token=None, eos_token="<|im_end|>", add_bos_token=False, chat_template=TEMPLATE)))


def logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(0, 40000, (2, 60), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return model(input_ids=ids).logits, model.config, model.generation_config


def check(name, program, llama_cpp, tokens, work):
    source, out, gguf, back = work / "source", work / "out", work / "model.gguf", work / "back"
    run = lambda *a: subprocess.run([program, "model", *map(str, a)], check=True, stdout=subprocess.DEVNULL)
    make(source, tokens, name)
    run("import", source, out)
    (want, config, generation), (got, config2, generation2) = logits(source), logits(out)
    assert torch.equal(want, got), f"{name}: logits differ by {(want - got).abs().max()}"
    assert config.rope_parameters == config2.rope_parameters and generation.eos_token_id == generation2.eos_token_id
    a, b = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(out)
    assert [a(t).input_ids for t in TEXTS] == [b(t).input_ids for t in TEXTS] and b.chat_template == TEMPLATE
    convert = subprocess.run([sys.executable, llama_cpp / "convert_hf_to_gguf.py", out, "--outfile", gguf, "--outtype", "bf16"],
                             env={**os.environ, "PYTHONPATH": str(llama_cpp / "gguf-py")}, capture_output=True, text=True)
    assert convert.returncode == 0, convert.stderr[-3000:]
    run("import", gguf, back)
    x, y = load_file(out / "model.safetensors"), load_file(back / "model.safetensors")
    assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)
    again, config3, _ = logits(back)
    assert torch.equal(want, again) and config.rope_parameters == config3.rope_parameters
    print(f"{name}: equal logits from {len(list(source.glob('*.safetensors')))} files, through agrlctl, and through the converter's GGUF file")


def main():
    logging.disable_progress_bar()
    program, llama_cpp, tokens = (pathlib.Path(x).resolve() for x in sys.argv[1:4])
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            check(name, program, llama_cpp, tokens, pathlib.Path(work))


if __name__ == "__main__":
    main()
