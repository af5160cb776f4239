#!/usr/bin/env bash
# Trains the small vocabulary of the tests, tests/data/dataset/tokenizer.model: Baichuan's layout (role pieces at ids
# 195 and 196, byte pieces from 393), a few hundred learnt pieces, a handful of normalisation rules instead of
# nmt_nfkc's 237 KB. Needs spm_train (Debian: apt install sentencepiece).
set -euo pipefail
cd "$(dirname "$0")/.."
out=tests/data/dataset
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/text" <<'TEXT'
The river runs past the old mill and the miller counts the sacks of flour.
A small boat carries apples, pears and plums across the lake every morning.
Write a short letter to a friend who has moved to another town.
Name three animals that live in the forest and say what they eat.
The teacher asks the children to describe the colour of the sky in the evening.
Explain how bread is made from flour, water, salt and yeast.
What is the name of the tallest mountain that you can see from here?
Please help me to plan a walk through the garden and along the river.
The answer is short: read the question again, then think before you write.
An assistant gives helpful answers to the questions of a curious user.
Translate the sentence and explain the words that are hard to understand.
The house has four rooms, a kitchen with a large window, and a green door.
你好，请问有什么可以帮助你的吗？
今天的天气很好，我们去公园散步吧。
请写一封短信给住在远方的朋友。
小船每天早上把苹果运到湖的对面。
请说出三种住在森林里的动物，并说明它们吃什么。
老师让孩子们描述傍晚天空的颜色。
面包是用面粉、水、盐和酵母做成的。
这座山的名字叫什么？它有多高？
助手会认真回答用户提出的问题。
房子有四个房间，厨房里有一扇大窗户。
请把这句话翻译成英文，并解释难懂的词语。
我喜欢在安静的晚上读书和写字。
TEXT
# Learn from every sentence alike, long ones included.
for _ in 1 2 3 4; do cat "$work/text"; done > "$work/corpus"

# From code points to code points, as SentencePiece's rule files have them.
{
  printf 'FF08\t28\nFF09\t29\nFF1B\t3B\n2026\t2E 2E 2E\n3000\t20\nA0\t20\n200B\t20\nFEFF\t20\nD\t20\n1\t\n'
  printf 'BD\t31 2044 32\n2460\t31\nFB01\t66 69\n65 301\tE9\n41 30A\tC5\nFF1C\t3C\nFF1E\t3E\n'
  for ((i = 0; i < 26; ++i)); do printf '%X\t%X\n' $((0xFF21 + i)) $((0x41 + i)); done
  for ((i = 0; i < 26; ++i)); do printf '%X\t%X\n' $((0xFF41 + i)) $((0x61 + i)); done
} > "$work/rules.tsv"

symbols=$'<SEP>,<CLS>,\n,\t'
for tag in h1 h2 h3 h4 h5 br strong p table li tr tbody img b td; do symbols+=",<$tag>,<$tag/>,</$tag>"; done
for digit in 0 1 2 3 4 5 6 7 8 9 ０ １ ２ ３ ４ ５ ６ ７ ８ ９; do symbols+=",$digit"; done
symbols+=',，,。,！,？,、,：,￥,.,!,?,《,》,【,】,『,』,```,<!--,-->,---,<!DOCTYPE>'
# The comma that separates symbols cannot be one of them; Baichuan's is the full-width one.
for ((i = 0; i < 300; ++i)); do symbols+=",<reserved_$i>"; done

spm_train --input="$work/corpus" --model_prefix="$work/tokenizer" --model_type=bpe --vocab_size=1150 \
  --character_coverage=1.0 --byte_fallback=true --split_digits=true --add_dummy_prefix=true \
  --remove_extra_whitespaces=false --normalization_rule_tsv="$work/rules.tsv" --hard_vocab_limit=false \
  --user_defined_symbols="$symbols" --num_threads=1 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
mkdir -p "$out"
cp "$work/tokenizer.model" "$out/tokenizer.model"
ls -l "$out/tokenizer.model"
