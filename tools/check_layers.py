#!/usr/bin/env python3
"""Checks who includes whom, and that registers and opcodes stay under arch/.

    check_layers.py [TOP]

The parts and the arrows between them are those of docs/index.md. Prints what is wrong; exits 1 then.
"""

import pathlib
import re
import sys

# Who may include whom: a part knows itself and those that stand before it, but arch/ only core/. Parts on one line
# do not know each other, but export/ reads what trace/ records, and graph/ and live/ may stand on probe/.
LAYERS = [["arch", "core"], ["args"], ["sites"], ["patch"], ["ops"], ["probe", "graph", "kprobe", "live"], ["trace", "export"]]
BESIDE = {("arch", "core"), ("core", "arch"), ("export", "trace"), ("graph", "probe"), ("live", "probe")}
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# What <ftrace/ftrace.hpp> must not pull in, for each costs a program more than the library itself does.
EXPENSIVE = re.compile(
    r"<(algorithm|chrono|filesystem|fmt/[^>]*|format|fstream|functional|iostream|map|ranges|regex|set|sstream|unordered_map)>"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+[>"])', re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
REGISTER = re.compile(
    r"%%?[re]?(ax|bx|cx|dx|si|di|sp|bp|ip|flags)\b|\b[re](ax|bx|cx|dx|si|di|sp|bp|ip)\b|%?\br(8|9|1[0-5])[dwb]?\b"
    r"|\b[xyz]mm\d*\b|\bmxcsr\b",
    re.IGNORECASE,
)
ARCHITECTURE = re.compile(r"__x86_64__|__aarch64__|__i386__|__riscv|\b(immintrin|x86intrin|cpuid)\.h\b|__builtin_ia32_\w+")
OPCODE = re.compile(r"\b0x(90|cc|c3|e8|e9|eb|0f)\b", re.IGNORECASE)

LONG, TOO_LONG = 300, 400


def part_of(name):
    """ftrace/core/config.hpp -> core; ftrace/ftrace.hpp -> "", which may include everything."""
    pieces = name.split("/")
    return pieces[1] if len(pieces) > 2 else ""


def check_arrows(name, includes, complain):
    part = part_of(name)
    if part and part not in RANK:
        complain(name, f"stands in {part}/, which is no part: see LAYERS in tools/check_layers.py")
        return
    for include in includes:
        if include[0] == '"':
            complain(name, f'includes {include}: write #include <ftrace/...>')
        elif include.startswith("<ftrace/") and part:
            other = part_of(include[1:-1])
            known = other == part or (part, other) in BESIDE or (part != "arch" and RANK.get(other, 99) < RANK[part])
            if not known:
                complain(name, f"includes {include}: {part}/ must not know {other or 'the umbrella'}")


def check_cycles(graph, complain):
    done, path = set(), []

    def visit(name):
        if name in path:
            complain(name, "includes itself: " + " -> ".join(path[path.index(name) :] + [name]))
        elif name not in done:
            path.append(name)
            for include in graph.get(name, []):
                visit(include)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)


def check_umbrella(graph, external, complain):
    todo, seen = ["ftrace/ftrace.hpp"], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += graph.get(name, [])
        for include in external.get(name, []):
            if EXPENSIVE.fullmatch(include):
                complain(name, f"includes {include}, and <ftrace/ftrace.hpp> includes it: too dear for every program")


def check_words(name, text, complain):
    code = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, what in [(REGISTER, "a register"), (ARCHITECTURE, "an architecture"), (OPCODE, "an opcode")]:
            if match := pattern.search(line):
                complain(f"{name}:{number}", f"names {what}, {match[0]}: only arch/ may")


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    roots = [top / "include", *sorted((top / "arch").glob("*/include"))]
    problems = []

    def complain(place, what):
        problems.append(f"{place}: {what}")

    graph, external = {}, {}
    for root in roots:
        for path in sorted(root.rglob("*.hpp")):
            name = str(path.relative_to(root))
            text = path.read_text()
            includes = INCLUDE.findall(text)
            graph[name] = [i[1:-1] for i in includes if i.startswith("<ftrace/")]
            external[name] = [i for i in includes if not i.startswith("<ftrace/")]
            check_arrows(name, includes, complain)
            if root == roots[0]:
                check_words(name, text, complain)
            lines = text.count("\n")
            if lines > TOO_LONG:
                complain(name, f"{lines} lines: one idea a header; at most {TOO_LONG}")
            elif lines > LONG:
                print(f"warning: {name}: {lines} lines; {LONG} are better")
            if "#pragma once" not in text:
                complain(name, "no #pragma once")
    for name, includes in graph.items():
        for include in includes:
            if include not in graph:
                complain(name, f"includes <{include}>, which is not there")
    check_cycles(graph, complain)
    check_umbrella(graph, external, complain)

    print(*problems, f"{len(graph)} headers, {len(problems)} problems", sep="\n")
    return 1 if problems or not graph else 0


if __name__ == "__main__":
    sys.exit(main())
