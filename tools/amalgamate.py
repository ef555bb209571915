#!/usr/bin/env python3
"""Writes the library as single headers.

    amalgamate.py [--include DIR ...] [--output DIR]

DIR/ftrace/ftrace.hpp        all headers but those that need fmt.
DIR/ftrace/ftrace_trace.hpp  the same, and those: <ftrace/trace/...> and <ftrace/export/...>;
                             <ftrace/autostart.hpp> too, in a file that defines FTRACE_AUTOSTART first.

A program may include both, in any order and any number of times. The output depends on the headers alone.
"""

import argparse
import pathlib
import platform
import re
import sys

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|endif)\b")

PART = """#if {condition}
#define {guard}
{text}#endif  // {guard}
"""


class Amalgam:
    """The headers of a library, each written once, behind those that it includes."""

    def __init__(self, roots):
        self.roots = roots
        self.seen = set()

    def find(self, name):
        for root in self.roots:
            if (root / name).is_file():
                return root / name
        sys.exit(f"amalgamate: no {name} in {', '.join(map(str, self.roots))}")

    def expand(self, name):
        """The lines of a header and of all it includes that were not written before."""
        if name in self.seen:
            return []
        self.seen.add(name)
        lines = [f"// {name}"]
        depth = 0
        for number, line in enumerate(self.find(name).read_text().splitlines(), 1):
            if match := CONDITION.match(line):
                depth += -1 if match[1] == "endif" else 1
            match = INCLUDE.match(line)
            if match and (match[1] == '"' or match[2].startswith("ftrace/")):
                # Inside #if, a later include of the same header would find it written, but maybe not compiled.
                if match[1] == '"' or depth:
                    sys.exit(f"amalgamate: {name}:{number}: write #include <ftrace/...>, outside of any #if")
                lines += self.expand(match[2])
            elif line.strip() != "#pragma once":
                lines.append(line)
        return lines

    def part(self, names, guard, condition=""):
        """The headers of these names, and what they include, behind an include guard of their own."""
        lines = [line for name in names for line in self.expand(name)]
        return PART.format(
            condition=f"!defined({guard}){condition}",
            guard=guard,
            text="".join(f"{line}\n" for line in lines),
        )

    def names(self):
        """All headers, as programs spell them: the one that most programs include first, then by name."""
        names = (path.relative_to(root) for root in self.roots for path in root.rglob("*.hpp"))
        return sorted(map(str, names), key=lambda name: (name != "ftrace/ftrace.hpp", name))


def main():
    top = pathlib.Path(__file__).parent.parent
    folders = [top / "include", top / "arch" / platform.machine() / "include"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--include", type=pathlib.Path, action="append", help=f"default: {folders}")
    parser.add_argument("--output", type=pathlib.Path, default=top / "single_include")
    arguments = parser.parse_args()

    library = Amalgam(arguments.include or folders)
    names = library.names()
    autostart = [name for name in names if name == "ftrace/autostart.hpp"]
    text = [name for name in names if name.startswith(("ftrace/trace/", "ftrace/export/"))]
    core = library.part([name for name in names if name not in text + autostart], "FTRACE_SINGLE_HEADER")
    trace = library.part(text, "FTRACE_SINGLE_HEADER_TRACE")
    trace += library.part(autostart, "FTRACE_SINGLE_HEADER_AUTOSTART", " && defined(FTRACE_AUTOSTART)")

    directory = arguments.output / "ftrace"
    directory.mkdir(parents=True, exist_ok=True)
    for name, parts in [("ftrace.hpp", core), ("ftrace_trace.hpp", core + trace)]:
        (directory / name).write_text(f"// ftrace++, made one file by tools/amalgamate.py.\n{parts}")


if __name__ == "__main__":
    main()
