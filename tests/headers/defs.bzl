"""Programs made of nothing but includes."""

def _include_name(header):
    """How a program spells the header: ftrace/core/config.hpp."""
    return header.short_path.rpartition("include/")[2]

def _source(ctx, name, includes):
    """Writes a file that includes these headers, in this order."""
    source = ctx.actions.declare_file("{}/{}.cpp".format(ctx.label.name, name))
    ctx.actions.write(source, "".join(["#include <{}>\n".format(i) for i in includes]))
    return source

def _header_sources_impl(ctx):
    names = [_include_name(header) for header in ctx.files.headers]

    # Each twice: the second must change nothing.
    alone = [_source(ctx, name.replace("/", "_")[:-len(".hpp")], [name, name]) for name in names]
    together = [
        _source(ctx, "all_in_order", names),
        _source(ctx, "all_in_reverse", reversed(names)),
    ]
    return [DefaultInfo(files = depset(alone + together))]

# One file for each header, which includes nothing else, and two that include all of them.
header_sources = rule(
    implementation = _header_sources_impl,
    attrs = {"headers": attr.label_list(allow_files = True)},
)
