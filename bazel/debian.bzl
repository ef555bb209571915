"""The repositories of a build with Debian's Bazel 4; none is downloaded."""

load("//bazel:system.bzl", "iso_codes")

def _native_rules_impl(ctx):
    package = ctx.attr.package
    lines = ["{0} = native.{0}\n".format(rule) for rule in ctx.attr.rules]
    ctx.file(package + "/BUILD.bazel")
    ctx.file(package + "/defs.bzl", "".join(lines))
    for rule, line in zip(ctx.attr.rules, lines):
        ctx.file("{}/{}.bzl".format(package, rule), line)

# Stands in for rules_cc, rules_java and rules_shell: Bazel 4 has their rules built in, but
# would download the first two. (Debian's bazel-rules-cc does not load in Debian's Bazel.)
_native_rules = repository_rule(
    implementation = _native_rules_impl,
    attrs = {
        "package": attr.string(mandatory = True),
        "rules": attr.string_list(mandatory = True),
    },
)

_LIBRARY = """
cc_library(
    name = "{name}",
    hdrs = glob(["{directory}/**"]),
    includes = ["."],
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
)
"""

def _system_library_impl(ctx):
    header = ctx.path("/usr/include/" + ctx.attr.header)
    if not header.exists:
        fail("No {}: run ./bazelw, or install the package {}".format(header, ctx.attr.package))
    directory = header.dirname.basename
    ctx.symlink(header.dirname, directory)
    ctx.file("BUILD.bazel", "".join([
        _LIBRARY.format(name = name, directory = directory, linkopts = linkopts)
        for name, linkopts in ctx.attr.targets.items()
    ]))

# The libraries of one Debian package: `targets` gives each one's linker options. The symlinked directory makes
# the headers inputs that Bazel watches, and -isystem names a directory that holds nothing else.
_system_library = repository_rule(
    implementation = _system_library_impl,
    attrs = {
        "header": attr.string(mandatory = True),
        "package": attr.string(mandatory = True),
        "targets": attr.string_list_dict(mandatory = True),
    },
)

def _no_coverage_tools_impl(ctx):
    ctx.file("BUILD.bazel", """
filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
""")

# Every cc_test depends on these Java tools, though only `bazel coverage` runs them.
_no_coverage_tools = repository_rule(implementation = _no_coverage_tools_impl)

def _maybe(rule, name, **kwargs):
    if not native.existing_rule(name):
        rule(name = name, **kwargs)

def debian_dependencies():
    """Declares what the library, its tests and Bazel 4 itself need; a repository that exists already stays."""
    _maybe(
        _native_rules,
        name = "rules_cc",
        package = "cc",
        rules = ["cc_binary", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"],
    )
    _maybe(
        _native_rules,
        name = "rules_java",
        package = "java",
        rules = ["java_binary", "java_import", "java_library", "java_runtime", "java_toolchain"],
    )
    _maybe(
        _native_rules,
        name = "rules_shell",
        package = "shell",
        rules = ["sh_binary", "sh_library", "sh_test"],
    )
    _maybe(_no_coverage_tools, name = "remote_coverage_tools")
    _maybe(
        _system_library,
        name = "fmt",
        header = "fmt/format.h",
        package = "libfmt-dev",
        targets = {"fmt": ["-lfmt"]},
    )
    _maybe(
        _system_library,
        name = "catch2",
        header = "catch2/catch_all.hpp",
        package = "libcatch2-dev",
        targets = {
            "catch2": ["-lCatch2"],
            "catch2_main": ["-lCatch2Main", "-lCatch2"],
        },
    )
    _maybe(
        _system_library,
        name = "google_benchmark",
        header = "benchmark/benchmark.h",
        package = "libbenchmark-dev",
        targets = {
            "benchmark": ["-lbenchmark"],
            "benchmark_main": ["-lbenchmark_main", "-lbenchmark"],
        },
    )
    _maybe(
        _system_library,
        name = "nlohmann_json",
        header = "nlohmann/json.hpp",
        package = "nlohmann-json3-dev",
        targets = {"json": []},
    )
    if not native.existing_rule("iso_codes"):
        iso_codes()
