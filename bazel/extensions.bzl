"""For MODULE.bazel: what the registry does not have."""

load("//bazel:system.bzl", "iso_codes")

def _system_files_impl(_ctx):
    iso_codes()

system_files = module_extension(implementation = _system_files_impl)
