"""A line a check, and what was wrong; nothing but Python's own library."""

wrong = []


def check(what, good, found=""):
    if not good:
        wrong.append(what)
    print(f"{'ok   ' if good else 'WRONG'} {what}{f': {found}' if found != '' else ''}", flush=True)
