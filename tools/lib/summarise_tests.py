"""Prints what ran, what was skipped and why, from the reports of ctest and GoogleTest.

usage: summarise_tests.py CTEST_REPORT.xml GTEST_FOLDER [--strict] [--left-out "LABEL N" ...]

With --strict (CI) a test may be skipped only for a missing GPU, a missing peer, missing ../shared/data or network
namespaces that cannot be made; any other reason makes the exit status 1. Only the standard library, any Python 3.
"""

import argparse
import collections
import pathlib
import re
import sys
import xml.etree.ElementTree

# What a skip may be about when --strict is given. Tests say it in these words (CONTRIBUTING.md).
ALLOWED_REASONS = {
    "no GPU": re.compile(r"\bGPU\b|CUDA device|CUDA build", re.IGNORECASE),
    "no peer": re.compile(r"\bpeers?\b", re.IGNORECASE),
    "no ../shared/data": re.compile(r"shared/data"),
    "no network namespaces": re.compile(r"\bnetwork namespaces\b"),
    "no pseudo-terminal": re.compile(r"\bno pseudo-terminal\b"),
}


def category(reason):
    for name, pattern in ALLOWED_REASONS.items():
        if pattern.search(reason):
            return name
    return None


def last_line(text):
    """GoogleTest writes "file.cpp:12\nreason"; the reason alone is of interest."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) > 1 and re.search(r"\.(cpp|cu|h):\d+$", lines[0]):
        lines = lines[1:]
    return " ".join(lines) or "no reason given"


def read_gtest(path):
    """Yields (name, seconds, skip reason or None) for each test of one program."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        if case.get("status") == "notrun":
            continue
        reason = None
        if case.get("result") == "skipped":
            found = case.find("skipped")
            reason = last_line((found.get("message") or found.text or "") if found is not None else "")
        name = f'{case.get("classname")}.{case.get("name")}'
        yield name, float(case.get("time", 0)), reason


def read_ctest(path):
    """Yields (name, status, seconds, output) for each entry that ctest ran."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        output = case.findtext("system-out") or ""
        yield case.get("name"), case.get("status"), float(case.get("time", 0)), output


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ctest_report", type=pathlib.Path)
    parser.add_argument("gtest_folder", type=pathlib.Path)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--left-out", nargs="*", default=[])
    arguments = parser.parse_args()

    skipped = collections.defaultdict(list)
    rows = []
    for name, status, seconds, output in read_ctest(arguments.ctest_report):
        report = arguments.gtest_folder / f"{name}.xml"
        newer = report.exists() and report.stat().st_mtime >= arguments.gtest_folder.stat().st_ctime - 1e9
        cases = list(read_gtest(report)) if newer else []
        if cases:
            for case, _, reason in cases:
                if reason is not None:
                    skipped[reason].append(f"{name}: {case}")
        elif status == "notrun":
            words = [line for line in output.splitlines() if "skip" in line.lower()]
            skipped[last_line(words[-1] if words else output[-200:])].append(name)
        left = sum(reason is not None for _, _, reason in cases)
        rows.append((name, len(cases) or 1, left or int(status == "notrun"), status, seconds))

    print("\nWhat ran:")
    print(f'  {"program":<34}{"tests":>6}{"skipped":>9}{"seconds":>9}')
    for name, count, left, status, seconds in rows:
        mark = "" if status in ("run", "notrun") else f"  {status}"
        print(f"  {name:<34}{count:>6}{left:>9}{seconds:>9.1f}{mark}")
    for label in arguments.left_out:
        name, count = label.split()
        print(f"  left out: label {name} ({count} programs)")

    unexpected = []
    if skipped:
        print("\nSkipped:")
    for reason, names in sorted(skipped.items()):
        kind = category(reason)
        if kind is None:
            unexpected += names
        print(f'  {len(names):>4} tests: {reason} [{kind or "not an accepted reason"}]')
        for name in names[:3] if kind else names:
            print(f"         {name}")
        if kind and len(names) > 3:
            print(f"         and {len(names) - 3} more")
    sys.stdout.flush()
    if arguments.strict and unexpected:
        print(
            "error: expected tests to be skipped only for a missing GPU, peer, ../shared/data, network namespaces or pseudo-terminals; "
            f"found {len(unexpected)} skipped for other reasons ({unexpected[0]}); make them run or say why",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
