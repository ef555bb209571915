#!/usr/bin/env python3
"""Checks that no function of the library is a site: traced, it would trace itself.

    check_notrace.py FILE...

FILE is an object, a shared library or a program, compiled with -fpatchable-function-entry and not stripped.
Prints the library's functions that stand in __patchable_function_entries; exits 1 if there is one, 2 if no file has
any entry at all.
"""

import re
import shutil
import struct
import subprocess
import sys

# An entity of namespace ftrace::v0, or what a compiler adds to one: local entities (Z), guards and thread wrappers.
OWN = re.compile(r"_Z(T[WHCV]|G[VR])?Z*N[rVK]*[RO]?6ftrace2v0|_*ftrace_")

# Structs that people initialise by naming members. A constructor that is declared, as the attribute demands, would
# forbid that; so what the compiler writes for them is let pass here, and left out by name at run time (library_names.hpp).
AGGREGATES = "|".join(f"{len(name)}{name}" for name in ["location", "name_options", "text_options", "top_options"])
IMPLICIT = re.compile(rf"_ZN6ftrace2v0(?:4arch)?(?:{AGGREGATES})(?:C[1-3]E|aSE)")

SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 2, 4, 8
STT_FUNC, STT_GNU_IFUNC = 2, 10
ET_REL = 1
R_X86_64_64, R_X86_64_RELATIVE = 1, 8


class Elf:
    """As much of a 64-bit little-endian ELF file as this check needs."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("no 64-bit little-endian ELF file")
        self.type = struct.unpack_from("<H", self.data, 16)[0]
        offset, count, names = *struct.unpack_from("<Q", self.data, 40), *struct.unpack_from("<HH", self.data, 60)
        fields = ["name", "type", "flags", "addr", "offset", "size", "link", "info", "align", "entsize"]
        self.sections = [
            dict(zip(fields, struct.unpack_from("<IIQQQQIIQQ", self.data, offset + 64 * n))) for n in range(count)
        ]
        for section in self.sections:
            section["name"] = self.string(self.sections[names], section["name"])

    def string(self, table, at):
        start = table["offset"] + at
        return self.data[start : self.data.index(b"\0", start)].decode()

    def rows(self, section, form):
        if section["type"] == SHT_NOBITS:
            return []
        end = section["offset"] + section["size"]
        return struct.iter_unpack(form, self.data[section["offset"] : end])

    def symbols(self):
        """(name, type, section, value, size) of each symbol, in the file's order."""
        for table in self.sections:
            if table["type"] == SHT_SYMTAB:
                names = self.sections[table["link"]]
                for name, info, _, section, value, size in self.rows(table, "<IBBHQQ"):
                    yield self.string(names, name), info & 15, section, value, size

    def entries(self):
        """(section, address) of each entry; the section is None in a linked file, where addresses are absolute."""
        symbols = list(self.symbols())
        tables = [s for s in self.sections if s["name"] == "__patchable_function_entries"]
        for section in self.sections:
            if section["type"] != SHT_RELA:
                continue
            for offset, info, addend in self.rows(section, "<QQq"):
                if self.type == ET_REL:
                    if self.sections[section["info"]] in tables and info & 0xFFFFFFFF == R_X86_64_64:
                        _, _, home, value, _ = symbols[info >> 32]
                        yield home, value + addend
                elif info & 0xFFFFFFFF == R_X86_64_RELATIVE:
                    if any(t["addr"] <= offset < t["addr"] + t["size"] for t in tables):
                        yield None, addend
        if self.type != ET_REL:
            for table in tables:
                yield from ((None, address) for (address,) in self.rows(table, "<Q") if address)


def functions_with_sites(elf):
    """The names of all functions that an entry points into; aliases count each."""
    starts = {}
    for name, kind, section, value, size in elf.symbols():
        if kind in (STT_FUNC, STT_GNU_IFUNC) and size:
            home = section if elf.type == ET_REL else None
            # At the entry, or up to 16 bytes on: behind endbr64.
            for address in range(value, value + min(size, 16)):
                starts.setdefault((home, address), []).append(name)
    for entry in set(elf.entries()):
        yield from starts.get(entry, [])


def demangled(names):
    """The names as people write them, where c++filt is there to tell."""
    if not names or not shutil.which("c++filt"):
        return names
    return subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True).stdout.splitlines()


def main():
    bad, seen = {}, 0
    for path in sys.argv[1:]:
        names = list(functions_with_sites(Elf(path)))
        seen += len(names)
        for name in names:
            if OWN.match(name) and not IMPLICIT.match(name):
                bad.setdefault(name, path)
    # A constructor has two or three symbols and one name.
    for name, path in sorted(dict(zip(demangled(list(bad)), bad.values())).items()):
        print(f"{path}: a site in the library's own {name}: it lacks FTRACE_NOTRACE")
    print(f"{len(sys.argv) - 1} files, {seen} functions with a site, {len(bad)} of the library")
    return 1 if bad else 0 if seen else 2


if __name__ == "__main__":
    sys.exit(main())
