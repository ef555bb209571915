#!/usr/bin/env python3
"""What #include <ftrace/...> costs a file that is compiled: seconds of processor time over an empty file.

    bazel run //benchmarks:include_cost -- [-n RUNS] [COMPILER...]

The runs of the compared files take turns, so that a change of the machine's speed hits them alike; the least time of
each counts, for everything else that a busy machine adds is not the compiler's.
"""

import argparse
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import tempfile

FILES = {
    "empty file": "",
    "<string>, <vector>, <atomic>": "#include <string>\n#include <vector>\n#include <atomic>\n",
    "<ftrace/ftrace.hpp>": "#include <ftrace/ftrace.hpp>\n",
    "<ftrace/ftrace.hpp>, <fmt/format.h>": "#include <ftrace/ftrace.hpp>\n#include <fmt/format.h>\n",
    "<ftrace/autostart.hpp>": "#include <ftrace/autostart.hpp>\n",
}


def processor_time():
    """Of all commands that ran so far: a busy machine does not add to it, as it does to the time on the wall."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    top = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY") or pathlib.Path(__file__).absolute().parent.parent)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=int, default=10, help="runs of each file (10)")
    parser.add_argument("compilers", nargs="*", default=["g++", "clang++-16", "clang++-19"])
    arguments = parser.parse_args()

    print("| compiler | level | file | seconds | over an empty file |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for compiler in filter(shutil.which, arguments.compilers):
            for level in ["-O0", "-O2"]:
                command = [compiler, "-std=c++20", level, "-fpatchable-function-entry=5", "-c", "-o", "/dev/null"]
                command += ["-I", top / "include", "-I", top / "arch" / platform.machine() / "include"]
                least = dict.fromkeys(FILES, float("inf"))
                for _ in range(arguments.n):
                    for name, text in FILES.items():
                        file = pathlib.Path(directory, "file.cpp")
                        file.write_text(text)
                        start = processor_time()
                        subprocess.run([*command, file], check=True)
                        least[name] = min(least[name], processor_time() - start)
                for name, seconds in least.items():
                    over = seconds - least["empty file"]
                    print(f"| {compiler} | {level} | {name} | {seconds:.2f} | {over:.2f} |", flush=True)


if __name__ == "__main__":
    main()
