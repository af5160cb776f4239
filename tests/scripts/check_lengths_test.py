#!/usr/bin/env python3
"""tools/lib/check_lengths.py on made-up sources: what counts as a function, what as a brace."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "lib" / "check_lengths.py"
BODY = "  work();\n" * 7  # with the line of the closing brace 8: one too many for these tests


def complaints(text, file_lines=1000):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.cpp"
        path.write_text(text)
        done = subprocess.run([sys.executable, SCRIPT, "7", str(file_lines), path], capture_output=True, text=True)
        lines = [line.replace(str(path), "a.cpp") for line in done.stdout.splitlines()]
        assert done.returncode == (1 if lines else 0), done
        return lines


class CheckLengths(unittest.TestCase):
    def test_names_the_line_of_the_opening_brace(self):
        found = complaints("namespace a {\n\nint f(int x,\n      int y) {\n" + BODY + "}\n}  // namespace a\n")
        self.assertEqual(found, ["a.cpp:4: a function has at most 7 lines; this one has 8"])

    def test_a_function_at_the_limit_is_well(self):
        self.assertEqual(complaints("void f() {\n" + "  work();\n" * 6 + "}\n"), [])

    def test_blocks_and_lambdas_count_to_their_function(self):
        found = complaints("void f() {\n  if (a) {\n" + "  b([] {\n  });\n" * 4 + "  }\n}\n")
        self.assertEqual(len(found), 1)

    def test_members_count_and_classes_do_not(self):
        member = " public:\n  void g() const override {\n" + BODY + "  }\n"
        self.assertEqual(complaints("template <class T>\nclass A : public B<T> {\n" + member + "};\n")[0][:8], "a.cpp:4:")
        self.assertEqual(complaints("struct A {\n" + "  int x = f();\n" * 20 + "};\n"), [])

    def test_tables_are_no_functions(self):
        self.assertEqual(complaints("const int kTable[] = {\n" + "  f(1),\n" * 20 + "};\n"), [])
        self.assertEqual(complaints("enum class A {\n" + "  kB,\n" * 20 + "};\n"), [])

    def test_initialiser_lists_do_not_hide_a_body(self):
        self.assertEqual(len(complaints("A::A(int x)\n    : x_{x}, y_(x) {\n" + BODY + "}\n")), 1)

    def test_braces_in_comments_and_literals_are_none(self):
        odd = "  // }\n  /* } */\n  a(\"}\\\"}\");\n  b('}');\n  c(R\"x(}\")}))x\");\n#define D }\n  e(1'000);\n"
        self.assertEqual(complaints("void f() {\n" + odd + "}\nvoid g() {\n}\n")[0][:8], "a.cpp:1:")

    def test_names_the_first_line_too_many_of_a_file(self):
        found = complaints("int a;\n" * 12, file_lines=10)
        self.assertEqual(found, ["a.cpp:11: a file has at most 10 lines; this one has 12"])


if __name__ == "__main__":
    unittest.main()
