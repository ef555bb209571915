"""A repository of one file of the machine."""

def _system_file_impl(ctx):
    file = ctx.path(ctx.attr.path)
    if not file.exists:
        fail("No {}: run ./bazelw, or install the package {}".format(file, ctx.attr.package))
    ctx.symlink(file, file.basename)
    ctx.file("BUILD.bazel", "exports_files([\"{}\"])\n".format(file.basename))

system_file = repository_rule(
    implementation = _system_file_impl,
    attrs = {
        "package": attr.string(mandatory = True),
        "path": attr.string(mandatory = True),
    },
)

def iso_codes():
    """Declares @iso_codes//:iso_639-3.json, the languages of the world."""
    system_file(
        name = "iso_codes",
        package = "iso-codes",
        path = "/usr/share/iso-codes/json/iso_639-3.json",
    )
