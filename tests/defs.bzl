"""The tests of this project."""

load("@rules_cc//cc:cc_test.bzl", "cc_test")
load("@rules_shell//shell:sh_test.bzl", "sh_test")
load("//:defs.bzl", "TRACE_COPTS")
load("//bazel:copts.bzl", "WARNINGS")

_COMPILERS = [
    "clang++-16",
    "clang++-19",
    "g++",
]

# Where the older clang does as the newer one: in what it refuses, says to debuggers, and gives a site.
NEWEST_COMPILERS = [
    "clang++-19",
    "g++",
]

def compiler_tests(name, script, args = [], data = [], size = "medium", compilers = _COMPILERS):
    """Runs a script, which builds programs itself, with each compiler that is supported.

    Args:
      name: <name>_<compiler> are the tests.
      script: begins as tests/with_compiler.sh says; called with a compiler, the top of the tree, and `args`.
      args: beyond these two.
      data: what it reads, beyond the headers of the library.
      size: as in sh_test.
      compilers: which.
    """
    for compiler in compilers:
        sh_test(
            name = name + "_" + compiler.replace("+", "p"),
            size = size,
            srcs = [script],
            args = [compiler, "."] + args,
            data = data + [
                "//arch:headers",
                "//include:headers",
                "//tests:with_compiler.sh",
            ],
            tags = ["once"],
        )

def ftrace_test(name, srcs, deps = [], copts = [], traced = True, size = "small", cases = 1, **kwargs):
    """A Catch2 program: its main comes from Catch2, its own functions are sites.

    Args:
      name: the target.
      srcs: its files, <name>.tests.cpp by custom.
      deps: beyond //:ftrace and Catch2; //:ftrace_trace for what makes text.
      copts: beyond the warnings, which are errors.
      traced: whether every function of srcs is a site.
      size: as in cc_test.
      cases: how many test cases there are, if each is to run in a process of its own: Catch2 takes its share of them
        from the variables by which Bazel numbers the shards. A case that cannot be tested here says so by WARN and
        returns: a process whose only case calls SKIP fails.
      **kwargs: as in cc_test.
    """
    if cases > 1:
        kwargs["shard_count"] = cases
        kwargs["args"] = ["--order", "decl"]  # in all shards the same
    tags = kwargs.pop("tags", [])
    if "-O2" in copts:
        tags = tags + ["optimised"]  # the sanitizers' configurations leave these out, see .bazelrc
    cc_test(
        name = name,
        size = size,
        srcs = srcs,
        tags = tags,
        copts = WARNINGS + (TRACE_COPTS if traced else []) + copts,
        linkstatic = True,  # else each cc_library is a shared object of its own
        deps = depset([
            "//:ftrace",
            "//tests:sanitizers",
            "@catch2//:catch2_main",
        ] + deps).to_list(),
        **kwargs
    )

def ftrace_tests(names, srcs = [], copts = [], cases = {}, **kwargs):
    """Each test twice: with the optimisation of the build, and as <name>_O2 with -O2 and without frame pointers.

    Args:
      names: of the tests; the file of each is <name>.tests.cpp.
      srcs: files of all of them.
      copts: as in ftrace_test.
      cases: of each name, as in ftrace_test.
      **kwargs: as in ftrace_test.
    """
    for name in names:
        for suffix, level in [("", []), ("_O2", ["-O2", "-fomit-frame-pointer"])]:
            ftrace_test(
                name = name + suffix,
                srcs = [name + ".tests.cpp"] + srcs,
                copts = copts + level,
                cases = cases.get(name, 1),
                **kwargs
            )
