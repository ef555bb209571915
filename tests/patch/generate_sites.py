"""Writes an assembly file with many tiny functions, each a site: five nops, a result, a return.

As a compiler would, at a hundredth of the time; int site_I(int x) returns x + I. The table
`generated_sites` holds their addresses, `generated_site_count` their number.
"""

import sys


def main(count: int, nops: str) -> None:
    nop = {"five": "nop; nop; nop; nop; nop", "one": ".byte 0x0f, 0x1f, 0x44, 0x00, 0x08"}[nops]
    print(f"""    .macro site number
    .p2align 4
    .type site_\\number, @function
site_\\number:
    .cfi_startproc
.Lsite_\\number:
    {nop}
    leal \\number(%rdi), %eax
    ret
    .cfi_endproc
    .size site_\\number, . - site_\\number
    .pushsection __patchable_function_entries, "awo", @progbits, .text
    .quad .Lsite_\\number
    .popsection
    .pushsection .data.rel.ro.generated_sites, "aw", @progbits
    .quad site_\\number
    .popsection
    .endm

    .section .data.rel.ro.generated_sites, "aw", @progbits
    .p2align 3
    .globl generated_sites
generated_sites:
    .section .rodata
    .p2align 3
    .globl generated_site_count
generated_site_count:
    .quad {count}
    .section .note.GNU-stack, "", @progbits
    .text""")
    for number in range(count):
        print(f"    site {number}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
