#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokens: python3 tests/golden/make_tokens.py SMOLLM2_DIR QWEN_TIKTOKEN [FOLDER] [--full FULL_FOLDER]

SMOLLM2_DIR: what deploy/fetch-smollm2 writes; its tokenizer.json is taken. QWEN_TIKTOKEN: dashscope/resources/qwen.tiktoken of
the PyPI package dashscope. --full: the whole tokenizers and their ids (32 bits), too. Made with tokenizers 0.23.3. Files: see README.md there.
"""
import argparse
import base64
import json
import pathlib
import random
import struct

from tokenizers import Tokenizer

EN = """the of and to in is was for that with quickly answer customer product relevance exact substitute complement irrelevant query
shipping wireless headphones stainless kitchen bottle children's shoes it's they'll we've I'm you'd DON'T CAN'T he'S Tokenization
reinforcement learning gradient policy reward distribution temperature international unbelievable organisation colour running
mother-in-law e.g. U.S.A. naïve café façade Zürich coöperate smörgåsbord McDonald iPhone YouTube README GitHub""".split()
SYLLABLES = "an ter ing lo con pre ra ti qu st oo ment ble vi zy xe phon graph th ough ism ed un re".split()
ZH = """人工智能 正在 改变 世界 今天 天气 很好 我们 去 公园 散步 机器学习 模型 需要 大量 数据 北京 上海 是 中国 的 首都 商品 搜索 相关性
价格 便宜 质量 非常 不错 你好 谢谢 再见 请问 多少钱 繁體 中文 測試 語言 龘 齉 靐 々〇 「引号」 《书名》 ，。！？；：、 ２０２６年 ㈱ ①②③""".split()
AR = """مرحبا بالعالم الذكاء الاصطناعي يغير حياتنا كيف حالك اليوم شكرا جزيلا المنتج جيد جدا والسعر مناسب مدينة القاهرة كتاب جديد
السَّلامُ عَلَيْكُمْ ١٢٣٤٥ ٪٥٠ ؟ ، ؛ لا إله ﷺ ﻻ هٰذا فارسی می‌خواهم اردو ٹیسٹ""".split()
EMOJI = "😀 😂 🤖 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 🇯🇵 ❤️ ☕ ✈️ 🧑🏿‍🚀 1️⃣ #️⃣ 🫠 🪿 ⚡ ♻ © ™ ‼️ 〰 🀄".split()
CODE = ["for (int i = 0; i < n; i++) {", "def f(x: int) -> str:", "\treturn x ** 2 != y;", "#include <stdio.h>", "if (!ok) goto fail;",
        "    self.weights[k] += lr * grad", "SELECT * FROM t WHERE id = 42;", "printf(\"%5.2f\\n\", v);", "</div><br/>", "a&&b||!c", "0x1F ^ ~mask",
        "git commit -m 'x' && ./run --fast", "https://example.org/a?b=c&d=%20#e", "// TODO: later", "/* *** */", "let mut v: Vec<u8> = vec![];",
        "$HOME/.config", "{\"key\": [1, 2.5e-3, null]}", "std::vector<std::pair<int, int>>", "@property", "x=>x+1", "\r\n\r\n", "----=====####"]
SPACES = [" ", "  ", "   ", "        ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\x0b", "\x0c", "\x85", "\u2028", "\ufeff"]
MARKS = ["e\u0301", "a\u0308", "n\u0303", "o\u0302\u0301", "q\u0307\u0323", "\u1112\u1161\u11ab", "\u0915\u093c", "\u212b", "\u2126", "\uf900", "s\u0323\u0307",
         "\u0344", "\u0958", "ﬁ", "Å", "\u0301x", "ǆ", "ß", "İ", "ı", "'\u017f", "K'\u017fT", "’s", "²", "½", "Ⅷ", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "안녕하세요", "Привет", "Ελλάδα", "שלום",
         "नमस्ते", "বাংলা", "გამარჯობა", "日本語", "カタカナ", "ｶﾞ", "\U0001d538", "\U0010ffff", "\ue000", "\u0378"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|", "<|im_end|><|im_start|>user\n"]
BAD = [b"\xff", b"\xfe\xff", b"\xc0\x80", b"\xe4\xb8", b"\xf0\x9f\x98", b"\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\xaf", b"\xc3"]


def word(r):
    w = r.choice(EN) if r.random() < 0.6 else "".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 4)))
    return r.choice([w, w, w, w.capitalize(), w.upper()])


def digits(r):
    n = "".join(r.choice("0123456789") for _ in range(r.choice([1, 2, 3, 4, 7, 12])))
    return r.choice([n, n, "-" + n, n + "." + n[:2], "$" + n + ",000", n + "%", n + "km", "v" + n, "٣" + n, n + "²"])


def any_char(r):
    while True:
        c = r.choice([r.randrange(1, 0x80), r.randrange(0x80, 0x600), r.randrange(0x600, 0x3000), r.randrange(0x3000, 0xa000),
                      r.randrange(0xa000, 0x10000), r.randrange(0x10000, 0x1fb00)])
        if not 0xd800 <= c < 0xe000:
            return chr(c)


def line(kind, r):
    many = lambda f, low, high, glue: glue.join(f() for _ in range(r.randint(low, high)))
    if kind == "english": return many(lambda: word(r) + r.choice(["", "", "", ",", ".", "!", "?!", ";", "...", ")"]), 2, 10, " ")
    if kind == "chinese": return many(lambda: r.choice(ZH), 2, 9, r.choice(["", "", " "]))
    if kind == "arabic": return many(lambda: r.choice(AR), 2, 8, " ")
    if kind == "emoji": return many(lambda: r.choice([r.choice(EMOJI), word(r)]), 2, 7, r.choice(["", " "]))
    if kind == "code": return many(lambda: r.choice(CODE), 1, 3, r.choice([" ", "\n", "\n    ", "\n\t\t"]))
    if kind == "digits": return many(lambda: digits(r), 2, 6, r.choice([" ", "", "/", ":", ", "]))
    if kind == "spaces": return many(lambda: r.choice([word(r), "", digits(r)]) + many(lambda: r.choice(SPACES), 1, 4, ""), 1, 6, "")
    if kind == "marks": return many(lambda: r.choice([r.choice(MARKS), r.choice(MARKS), word(r)]), 2, 8, r.choice(["", " "]))
    if kind == "any": return many(lambda: any_char(r), 1, 12, "")
    if kind == "specials": return many(lambda: r.choice([r.choice(SPECIALS), word(r), r.choice(ZH), " ", "\n"]), 2, 7, "")
    assert kind == "malformed"
    part = lambda: line(r.choice(["english", "chinese", "emoji", "marks", "spaces", "digits"]), r)[:12].encode()
    return b"".join(part() + r.choice(BAD) + r.choice([b"", b" ", part()]) for _ in range(r.randint(1, 3)))


def token_texts(full):
    """The texts of a vocabulary's tokens, where they are whole characters."""
    byte = {c: b for b, c in ALPHABET.items()}
    texts = [bytes(byte[c] for c in k) for k in full["model"]["vocab"] if all(c in byte for c in k)]
    return [x for x in texts if x.decode(errors="ignore").encode() == x]


def make_corpus(fulls):
    r = random.Random(20)
    kinds = "english chinese arabic emoji code digits spaces marks any specials malformed".split()
    lines = [line(kind, r) for kind in kinds for _ in range(220)]
    for texts in map(token_texts, fulls):
        lines += [b"".join(r.choice(texts) for _ in range(r.randint(2, 14))) for _ in range(220)]
    return [x if isinstance(x, bytes) else x.encode() for x in lines]


def encode(t, data):
    """What common/text/bpe.h states: valid stretches are texts of their own, each byte between them a token of its own."""
    ids, at = [], 0
    while at < len(data):
        try:
            end, bad = len(data), b""
            text = data[at:].decode()
        except UnicodeDecodeError as e:
            end = at + e.start
            text, bad = data[at:end].decode(), data[end:end + 1]
        ids += t.encode(text, add_special_tokens=False).ids
        if bad:
            byte = t.token_to_id(ALPHABET[bad[0]])
            ids += [] if byte is None else [byte]
        at = end + len(bad)
    return ids


def alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, more = {b: chr(b) for b in plain}, 256
    for b in range(256):
        if b not in table:
            table[b], more = chr(more), more + 1
    return table


ALPHABET = alphabet()


def qwen(path):
    """tokenizer.json of Qwen2, 2.5 and 3 from the ranks; a token's merge is the last step by lower ranks."""
    ranks = {base64.b64decode(a): int(b) for a, b in (x.split() for x in open(path))}
    show = lambda b: "".join(ALPHABET[x] for x in b)
    merges = []
    for token in sorted(ranks, key=ranks.get):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            i = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 30))
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        if len(token) > 1:
            merges.append([show(parts[0]), show(parts[1])])
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    added = [{"id": len(ranks) + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, c in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": level, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {show(k): v for k, v in ranks.items()}, "merges": merges}}


def reduce(full, used):
    """Only the tokens whose ids are used, those they are merged from, single bytes and added tokens; numbered anew, in the same order. With {id: new id}."""
    pair = lambda m: tuple(m.split(" ")) if isinstance(m, str) else tuple(m)
    merges = [pair(m) for m in full["model"]["merges"]]
    rank = {m: i for i, m in enumerate(merges)}
    vocab, names = full["model"]["vocab"], {v: k for k, v in full["model"]["vocab"].items()}
    keep = set(ALPHABET.values()) | {a["content"] for a in full["added_tokens"]}
    kept = set()
    for name in sorted(names[i] for i in used if i in names):
        parts = list(name)
        while name not in keep and len(parts) > 1:
            i = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), 1 << 30))
            kept.add(rank[(parts[i], parts[i + 1])])
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
    keep |= {a + b for a, b in (merges[i] for i in kept)}
    old = sorted([v for k, v in vocab.items() if k in keep] + [a["id"] for a in full["added_tokens"] if a["content"] not in vocab])
    new = {v: i for i, v in enumerate(old)}
    added = [dict(a, id=new[a["id"]]) for a in full["added_tokens"]]
    model = dict(full["model"], vocab={k: new[v] for k, v in vocab.items() if k in keep}, merges=[" ".join(merges[i]) for i in sorted(kept)])
    return dict(full, added_tokens=added, model=model), new


def write(out, name, text, ids, kind):
    out.mkdir(parents=True, exist_ok=True)
    (out / (name + ".json")).write_text(text + "\n")
    (out / (name + ".ids")).write_bytes(b"".join(struct.pack(f"<H{len(x)}{kind}", len(x), *x) for x in ids))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("smollm2"), p.add_argument("qwen"), p.add_argument("folder", nargs="?", default=pathlib.Path(__file__).parent / "tokens")
    p.add_argument("--full")
    a = p.parse_args()
    out = pathlib.Path(a.folder)
    out.mkdir(parents=True, exist_ok=True)
    fulls = {"smollm2": json.loads((pathlib.Path(a.smollm2) / "tokenizer.json").read_text()), "qwen": qwen(a.qwen)}
    corpus = make_corpus(fulls.values())
    (out / "corpus.bin").write_bytes(b"".join(struct.pack("<H", len(x)) + x for x in corpus))
    for name, full in fulls.items():
        whole = Tokenizer.from_str(json.dumps(full))
        ids = [encode(whole, x) for x in corpus]
        small, new = reduce(full, {i for x in ids for i in x})
        text = json.dumps(small, ensure_ascii=False, separators=(",", ":"))
        again = Tokenizer.from_str(text)
        few = [[new[i] for i in x] for x in ids]
        assert [encode(again, x) for x in corpus] == few, name + ": the reduced tokenizer differs from the whole one"
        write(out, name, text, few, "H")
        if a.full:
            write(pathlib.Path(a.full), name, json.dumps(full), ids, "i")
        print(f"{name}: {len(corpus)} lines, {sum(map(len, ids))} tokens, {len(small['model']['vocab'])} of {len(full['model']['vocab'])} kept")


main()
