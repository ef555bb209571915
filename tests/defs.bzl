"""The tests of this project."""

load("@rules_cc//cc:cc_test.bzl", "cc_test")
load("//:defs.bzl", "TRACE_COPTS")
load("//bazel:copts.bzl", "WARNINGS")

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
