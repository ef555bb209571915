"""For BUILD files of programs to trace."""

load("@rules_cc//cc:cc_binary.bzl", "cc_binary")
load("@rules_cc//cc:cc_library.bzl", "cc_library")

_GCC12 = Label("//tools/gcc12")

# Leaves five bytes of nop at the entry of every function. The second flag is for gcc 12: see tools/gcc12/as, which comes
# with the dependency on the library.
TRACE_COPTS = [
    "-fpatchable-function-entry=5",
    "-B{}/".format("/".join([part for part in [_GCC12.workspace_root, _GCC12.package] if part])),
]

def traced_cc_binary(name, copts = [], deps = [], **kwargs):
    """A cc_binary whose own functions can be traced; its dependencies stay as they are."""
    cc_binary(name = name, copts = TRACE_COPTS + copts, deps = deps + [_GCC12], **kwargs)

def traced_cc_library(name, copts = [], deps = [], **kwargs):
    """A cc_library whose own functions can be traced; its dependencies stay as they are."""
    cc_library(name = name, copts = TRACE_COPTS + copts, deps = deps + [_GCC12], **kwargs)

def _trace_transition_impl(settings, _attr):
    return {"//command_line_option:copt": settings["//command_line_option:copt"] + TRACE_COPTS}

_trace_transition = transition(
    implementation = _trace_transition_impl,
    inputs = ["//command_line_option:copt"],
    outputs = ["//command_line_option:copt"],
)

def _traced_binary_impl(ctx):
    actual = ctx.attr.actual[0][DefaultInfo]
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = executable, target_file = actual.files_to_run.executable, is_executable = True)
    return [DefaultInfo(executable = executable, runfiles = actual.default_runfiles)]

# A cc_binary compiled again with everything it links, all of it traceable.
traced_binary = rule(
    implementation = _traced_binary_impl,
    attrs = {
        "actual": attr.label(mandatory = True, cfg = _trace_transition, executable = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)
