"""The library's headers under their own names, all of them the generated single ones."""

def _forwarding_headers_impl(ctx):
    forwarding = []
    for header in ctx.files.headers + ctx.files.trace_headers:
        name = header.short_path.rpartition("include/")[2]
        if name == "ftrace/ftrace.hpp":
            continue  # the single header itself
        lines = ["#include <ftrace/ftrace.hpp>"]
        if header in ctx.files.trace_headers:
            lines = ["#include <ftrace/ftrace_trace.hpp>"]
        if name == "ftrace/autostart.hpp":
            lines = ["#define FTRACE_AUTOSTART"] + lines
        output = ctx.actions.declare_file("{}/{}".format(ctx.label.name, name))
        ctx.actions.write(output, "".join([line + "\n" for line in lines]))
        forwarding.append(output)
    return [DefaultInfo(files = depset(forwarding))]

# <ftrace/x.hpp> for each header, so that programs written for the library build against the single headers unchanged.
forwarding_headers = rule(
    implementation = _forwarding_headers_impl,
    attrs = {
        "headers": attr.label_list(allow_files = True),
        "trace_headers": attr.label_list(allow_files = True),
    },
)
