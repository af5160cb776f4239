"""Names functions and files that are too long, as FILE:LINE: a function at its opening brace, a file at its first line
too many.

usage: check_lengths.py FUNCTION_LINES FILE_LINES FILE…      exit status 1 when there are any

A function's length is counted as clang-tidy does, from its opening brace to its closing one. Braces are matched on the
text without comments and literals: good enough for code that clang-format has laid out, and a second for the whole
tree. Only the standard library, any Python 3.
"""

import re
import sys

# Comments, literals, preprocessor lines: what may hold braces that are none.
OPAQUE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s\\]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'|^[ \t]*\#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)
MARKS = re.compile(r"[{};]")
ACCESS = re.compile(r"\b(?:public|protected|private)\s*:(?!:)")
# What holds functions. The rest with a parameter list before its brace is one.
SCOPE = re.compile(r"\s*(?:template\s*<.*>\s*)?(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b", re.DOTALL)


def without_opaque(text):
    """The same lines, with nothing but line ends where comments and literals were."""
    return OPAQUE.sub(lambda found: "\n" * found.group().count("\n"), text)


def functions(text):
    """Yields (line of the opening brace, line of the closing one)."""
    text = without_opaque(text)
    open_braces = []  # for each: "scope", "function" or "other", and its line
    since, line, counted = 0, 1, 0
    for mark in MARKS.finditer(text):
        line += text.count("\n", counted, mark.start())
        counted = mark.start()
        head = ACCESS.sub("", text[since:mark.start()])
        since = mark.end()
        if mark.group() == "{":
            outside = all(kind == "scope" for kind, _ in open_braces)
            kind = "other"
            if outside and SCOPE.match(head):
                kind = "scope"
            elif outside and ")" in head and not head.rstrip().endswith("="):
                kind = "function"
            open_braces.append((kind, line))
        elif mark.group() == "}" and open_braces:
            kind, first = open_braces.pop()
            if kind == "function":
                yield first, line


def main():
    function_lines, file_lines = int(sys.argv[1]), int(sys.argv[2])
    wrong = 0
    for path in sys.argv[3:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        lines = text.count("\n")
        if lines > file_lines:
            print(f"{path}:{file_lines + 1}: a file has at most {file_lines} lines; this one has {lines}")
            wrong += 1
        for first, last in functions(text):
            if last - first > function_lines:
                print(f"{path}:{first}: a function has at most {function_lines} lines; this one has {last - first}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
