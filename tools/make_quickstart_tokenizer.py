#!/usr/bin/env python3
"""Makes configs/quickstart/tokenizer.model with spm_train (SentencePiece 0.1.97: Debian's package `sentencepiece`).

A small vocabulary laid out as Baichuan's is: 0 <unk>, 1 <s>, 2 </s>, 3 <SEP>, 4 <CLS>, 5 newline, 6 tab, HTML, digits
and punctuation where Baichuan has them, <reserved_k> at 93 + k, so that 195 and 196 are the roles of a chat, then the
256 bytes, then what byte-pair merging finds in the quickstart's texts. The flags are Baichuan's too, but for the
normaliser: nmt_nfkc alone takes 237,561 bytes, so a part of NFKC stands in its place (full-width forms, spaces,
compatibility punctuation).

Merging sees each English word and each Chinese word of a fact by itself: no piece spans the words of a phrasing, so
that a question worded in a new way falls into pieces that the model knows.
"""

import collections
import json
import pathlib
import re
import subprocess
import tempfile
import unicodedata

import quickstart_facts as facts

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "configs" / "quickstart"
VOCAB_SIZE = 2048
FIRST_RESERVED, ASSISTANT_ID = 93, 196
HTML = ["h1", "h2", "h3", "h4", "h5", "br", "strong", "p", "table", "li", "tr", "tbody", "img", "b", "td"]
DIGITS, WIDE_DIGITS = "0123456789", "０１２３４５６７８９"
SIGNS = [*"，。！？、：￥.!?《》【】『』", "```", "<!--", "-->", "---", "<!DOCTYPE>"]


def user_symbols():
    """The pieces from id 3 on that no merging makes."""
    tags = [form.format(tag) for tag in HTML for form in ("<{}>", "<{}/>", "</{}>")]
    pieces = ["<SEP>", "<CLS>", "\n", "\t", *tags, *DIGITS, *WIDE_DIGITS, *SIGNS]
    assert 3 + len(pieces) == FIRST_RESERVED
    return pieces + [f"<reserved_{k}>" for k in range(ASSISTANT_ID - FIRST_RESERVED + 1)]


def words_of_facts():
    """The Chinese words of two and more characters that the facts are made of."""
    words = [zh for _, zh in facts.WORDS] + [c for row in facts.CAPITALS for c in (row[1], row[3])]
    words += [w for pair in facts.OPPOSITES_ZH for w in pair] + facts.DAYS_ZH + facts.SEASONS_ZH
    words += [w for _, thing, _, colour in facts.COLOURS for w in (thing, colour)]
    words += [w for _, kind, things in facts.KINDS for w in (kind, *(zh for _, zh in things))]
    words += [zh for _, zh, _ in facts.LEGS] + ["首都", "颜色", "什么", "多少", "反义词", "中文", "英语", "等于", "知道"]
    return sorted({w for w in words if len(w) > 1})


def corpus():
    """word → how often it counts."""
    texts = []
    for name in ("general.json", "new_knowledge.json"):
        for row in json.loads((FOLDER / name).read_text(encoding="utf-8")):
            texts += [row["instruction"], row["output"]]
    counts = collections.Counter()
    for text in texts:
        counts.update(re.findall(r"[A-Za-z_]+", text))
        # Single characters behind a sign: known to the vocabulary, never merged with a space or a neighbour.
        counts.update("，" + c for c in text if unicodedata.category(c) == "Lo" or c in "“”+-=")
    counts.update("，" + chr(code) for code in range(0x21, 0x7F))
    counts.update({"，" + word: 40 for word in words_of_facts()})
    return counts


def normaliser_rules():
    """Lines `source<tab>target` of code points: NFKC for the characters that Chinese and English typing brings."""
    ranges = [(0xA0, 0xFF), (0x2000, 0x206F), (0x20A8, 0x20A9), (0x2100, 0x214F), (0x2460, 0x249B), (0x3000, 0x3000),
              (0xFF01, 0xFFE6)]
    protected = set(user_symbols())
    rules = {0x0D: " ", 0xFEFF: " ", 0x200B: " "}
    for low, high in ranges:
        for code in range(low, high + 1):
            folded = unicodedata.normalize("NFKC", chr(code))
            if folded != chr(code) and chr(code) not in protected:
                rules.setdefault(code, folded)
    return [f"{code:X}\t{' '.join(f'{ord(c):X}' for c in text)}" for code, text in sorted(rules.items())]


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        words = sorted(corpus().items(), key=lambda item: (-item[1], item[0]))
        (folder / "words.tsv").write_text("".join(f"{w}\t{n}\n" for w, n in words), encoding="utf-8")
        (folder / "rules.tsv").write_text("\n".join(normaliser_rules()) + "\n", encoding="utf-8")
        flags = {
            "input": folder / "words.tsv", "input_format": "tsv", "model_prefix": folder / "tokenizer",
            "model_type": "bpe", "vocab_size": VOCAB_SIZE, "byte_fallback": "true", "split_digits": "true",
            "character_coverage": 1.0, "max_sentencepiece_length": 14, "normalization_rule_tsv": folder / "rules.tsv",
            "add_dummy_prefix": "true", "remove_extra_whitespaces": "false", "pad_id": -1, "num_threads": 1,
            "minloglevel": 1, "user_defined_symbols": ",".join(user_symbols()),
        }
        subprocess.run(["spm_train", *(f"--{k}={v}" for k, v in flags.items())], check=True)
        (FOLDER / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())


if __name__ == "__main__":
    main()
