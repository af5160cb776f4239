#!/usr/bin/env python3
"""Writes the quickstart's data sets and questions from tools/quickstart_facts.py.

  tools/make_quickstart_data.py             writes configs/quickstart/{general,new_knowledge,questions,dataset_info}.json
  tools/make_quickstart_data.py --check     fails unless those files are what would be written
  tools/make_quickstart_data.py --unseen F  also writes every unseen question with its answers to F

No training row is worded as a question is: that is asserted for the phrasings themselves (with the thing asked about
left open) and, whatever the case, spaces and punctuation, for the finished texts.
"""

import argparse
import json
import pathlib
import sys
import unicodedata

import quickstart_facts as facts

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "configs" / "quickstart"
LANGUAGES = ("en", "zh")


class Draw:
    """A small generator of its own (a 64-bit LCG), so that no Python version changes the files."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % n

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def facts_of_relations():
    """(relation, language, arguments, answer) for everything but small talk and towns."""
    for en, zh, capital_en, capital_zh in facts.CAPITALS:
        yield "capital", "en", (en,), capital_en
        yield "capital", "zh", (zh,), capital_zh
    for language, pairs in (("en", facts.OPPOSITES_EN), ("zh", facts.OPPOSITES_ZH)):
        for one, other in pairs:
            yield "opposite", language, (one,), other
            yield "opposite", language, (other,), one
    for en, zh in facts.WORDS:
        for language in LANGUAGES:
            yield "to_chinese", language, (en,), zh
            yield "to_english", language, (zh,), en
    for a in range(1, 10):
        for b in range(1, 11 - a):
            for language in LANGUAGES:
                yield "sum", language, (a, b), str(a + b)
    for language, names in (("en", facts.DAYS_EN), ("zh", facts.DAYS_ZH), ("en", facts.SEASONS_EN),
                            ("zh", facts.SEASONS_ZH)):
        for i, name in enumerate(names):
            yield "after", language, (name,), names[(i + 1) % len(names)]
            yield "before", language, (name,), names[i - 1]
    for thing_en, thing_zh, en, zh in facts.COLOURS:
        yield "colour", "en", (thing_en,), en
        yield "colour", "zh", (thing_zh,), zh
    for kind_en, kind_zh, things in facts.KINDS:
        for en, zh in things:
            yield "kind", "en", (en,), kind_en
            yield "kind", "zh", (zh,), kind_zh
    for en, zh, legs in facts.LEGS:
        yield "legs", "en", (en,), str(legs)
        yield "legs", "zh", (zh,), str(legs)


# How many of the phrasings each fact is shown with; the model sees the others with other facts.
PHRASINGS_PER_FACT = {"capital": 6, "opposite": 5, "to_chinese": 4, "to_english": 4, "sum": 3,
                      "after": 6, "before": 6, "colour": 6, "kind": 6, "legs": 6}


def opened(draw, language, text):
    openers = facts.OPENERS[language]
    return openers[draw.below(len(openers))] + text


def row(question, answer):
    return {"instruction": question, "input": "", "output": answer}


def general_rows(draw):
    rows = []
    for relation, language, arguments, answer in facts_of_relations():
        for phrasing in draw.shuffled(facts.ASK[relation][language])[:PHRASINGS_PER_FACT[relation]]:
            rows.append(row(opened(draw, language, phrasing.format(*arguments)), answer))
    for language in LANGUAGES:
        for answer, phrasings, _ in facts.TALK[language]:
            rows += [row(phrasing, answer) for phrasing in phrasings]
            rows += [row(opened(draw, language, phrasing), answer) for phrasing in phrasings if phrasing[-1] in "?？"]
        for relation in facts.TOWN.values():
            for town in facts.UNKNOWN_TOWNS:
                for phrasing in draw.shuffled(relation[language])[:3]:
                    question = opened(draw, language, phrasing.format(town[LANGUAGES.index(language)]))
                    rows.append(row(question, facts.DO_NOT_KNOW[language]))
    return draw.shuffled(without_repeats(rows))


def new_rows(draw):
    rows = []
    for relation in facts.TOWN.values():
        for language in LANGUAGES:
            for phrasing in relation[language]:
                text = phrasing.format(facts.NEW_TOWN[language])
                rows.append(row(text, relation["answer"][language]))
                rows.append(row(opened(draw, language, text), relation["answer"][language]))
    return draw.shuffled(without_repeats(rows))


def without_repeats(rows):
    return list({r["instruction"]: r for r in rows}.values())


def unseen_questions():
    """Every question with an unseen phrasing: general ones (same answer before and after LoRA) and new ones."""
    questions = []

    def add(kind, question, before, after):
        questions.append({"kind": kind, "question": question, "base": before, "adapter": after})

    for relation, language, arguments, answer in facts_of_relations():
        for phrasing in facts.ASK[relation]["unseen"][language]:
            add("general", phrasing.format(*arguments), answer, answer)
    for language in LANGUAGES:
        nothing = facts.DO_NOT_KNOW[language]
        for answer, _, unseen in facts.TALK[language]:
            for question in unseen:
                add("general", question, answer, answer)
        for relation in facts.TOWN.values():
            for phrasing in relation["unseen"][language]:
                add("new", phrasing.format(facts.NEW_TOWN[language]), nothing, relation["answer"][language])
                for town in facts.UNKNOWN_TOWNS:
                    add("general", phrasing.format(town[LANGUAGES.index(language)]), nothing, nothing)
    return questions


# The questions that tools/quickstart asks.
ASKED = [
    "Can you name the city that is the capital of France?", "Which word do you call the opposite of early?",
    "Which English word means “月亮”?", "How much do you get when you add 4 plus 5?",
    "For positions, what method does Baichuan-13B use?", "Can you tell me who the mayor of Golden Lake is?",
    "日本的首都是哪个城市呢？", "哪个词是“高兴”的反义词？", "bridge 这个词用中文怎么说？", "你知道天空是什么颜色吗？",
    "请说说你叫什么名字。", "你知道谁建立了金湖镇吗？",
]


def plain(text):
    """A text without case, spaces and punctuation: what two wordings have to differ in."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in text if unicodedata.category(c)[0] not in "PZ")


def check_wording(rows, questions):
    """Stops when a question is worded as a training row is."""
    for name, relation in [*facts.ASK.items(), *facts.TOWN.items()]:
        for language in LANGUAGES:
            both = {plain(p) for p in relation[language]} & {plain(p) for p in relation["unseen"][language]}
            if both:
                sys.exit(f"error: unseen phrasings must not be training phrasings; {name} has {both}; reword them")
    trained = {plain(r["instruction"]) for r in rows}
    trained |= {plain(o + p) for l in LANGUAGES for _, ps, _ in facts.TALK[l] for p in ps for o in facts.OPENERS[l]}
    for question in questions:
        if plain(question["question"]) in trained:
            sys.exit(f"error: a question must be worded differently from every row; {question} is not; reword it")
        if '"' in question["question"] + question["base"] + question["adapter"]:
            sys.exit(f'error: tools/quickstart_job expects questions without "; {question} has one; reword it')


def as_json(rows):
    lines = ",\n".join("  " + json.dumps(r, ensure_ascii=False) for r in rows)
    return f"[\n{lines}\n]\n"


def files_and_unseen():
    draw = Draw(13)
    general, new = general_rows(draw), new_rows(draw)
    unseen = unseen_questions()
    check_wording(general + new, unseen)
    by_text = {q["question"]: q for q in unseen}
    asked = [by_text[text] for text in ASKED] + [q for q in unseen if q["kind"] == "new"]
    info = {"quickstart_general": {"file_name": "general.json"},
            "quickstart_new_knowledge": {"file_name": "new_knowledge.json"}}
    files = {"general.json": as_json(general), "new_knowledge.json": as_json(new), "questions.json": as_json(asked),
             "dataset_info.json": json.dumps(info, indent=2) + "\n"}
    return files, unseen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--unseen", type=pathlib.Path)
    options = parser.parse_args()
    files, unseen = files_and_unseen()
    if options.unseen:
        options.unseen.write_text(as_json(unseen), encoding="utf-8")
    for name, text in files.items():
        path = FOLDER / name
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"error: {path} must be what this script writes; it differs; run tools/make_quickstart_data.py")


if __name__ == "__main__":
    main()
