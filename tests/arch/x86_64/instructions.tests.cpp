#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/arch/veneer.hpp>
#include <string>
#include <vector>

using namespace ftrace::arch;

namespace {

using bytes = std::vector<unsigned>;

template <class Instruction>
bytes bytes_of(const Instruction& instruction) {
    const auto* const at = reinterpret_cast<const unsigned char*>(&instruction);
    return {at, at + sizeof instruction};
}

// The assembler's own encodings of what the structs of insn.hpp stand for.
extern "C" {
extern const unsigned char as_call[], as_far_jump[], as_push[], as_jump[], as_nop[], as_veneer[],
    as_end[];
}
__asm__(
    ".pushsection .rodata\n"
    "as_call: call . + 5 + 0x12345678\n"
    "as_far_jump: jmp . + 5 + 0x12345678\n"
    "as_push: pushq 0x12345678(%rip)\n"
    "as_jump: notrack jmp *0x12345678(%rip)\n"
    "as_nop:  nopl 8(%rax, %rax)\n"
    // A code page's first entry, its data 4096 bytes behind it.
    "as_veneer: pushq as_veneer + 4096(%rip)\n"
    "notrack jmp *as_veneer + 4096 + 8(%rip)\n"
    "int3\n int3\n int3\n"
    "as_end:\n"
    ".popsection\n");

bytes assembled(const unsigned char* begin, const unsigned char* end) { return {begin, end}; }

}  // namespace

TEST_CASE("insn: instructions are as the assembler writes them", "[arch]") {
    CHECK(bytes_of(call_site_at_distance(0x12345678)) == assembled(as_call, as_call + 5));
    CHECK(bytes_of(jump_site_at_distance(0x12345678)) == assembled(as_far_jump, as_push));
    push_indirect_insn push;
    push.displacement = 0x12345678;
    CHECK(bytes_of(push) == assembled(as_push, as_jump));
    jump_indirect_insn jump;
    jump.displacement = 0x12345678;
    CHECK(bytes_of(jump) == assembled(as_jump, as_nop));
    CHECK(bytes_of(nop_site) == assembled(as_nop, as_veneer));
}

TEST_CASE("insn: a call's displacement counts from its end, in both directions", "[arch]") {
    CHECK(bytes_of(call_site(0x1000, 0x1005)) == bytes{0xe8, 0, 0, 0, 0});
    CHECK(bytes_of(call_site(0x1000, 0x1000)) == bytes{0xe8, 0xfb, 0xff, 0xff, 0xff});
    CHECK(bytes_of(call_site(0x1000, 0x2a05)) == bytes{0xe8, 0x00, 0x1a, 0, 0});
    CHECK(call_distance(call_site(0x7f0000001000, 0x7f0000000f00)) == -0x105);
    CHECK(call_distance(nop_site) == 0);
    CHECK(bytes_of(jump_site(0x1000, 0x1000)) == bytes{0xe9, 0xfb, 0xff, 0xff, 0xff});
    CHECK(jump_distance(jump_site(0x7f0000001000, 0x7f0000000f00)) == -0x105);
    CHECK(jump_distance(call_site(0x1000, 0x2000)) == 0);
    CHECK(call_distance(jump_site(0x1000, 0x2000)) == 0);
    constexpr std::uintptr_t site = 0x7f0000000000;
    CHECK(call_reaches(site, site + 5 + 0x7fffffff));
    CHECK_FALSE(call_reaches(site, site + 5 + 0x80000000));
    CHECK(call_reaches(site, site + 5 - 0x80000000));
    CHECK_FALSE(call_reaches(site, site + 5 - 0x80000001));
}

TEST_CASE("veneer: every entry pushes its context and jumps to its target", "[arch]") {
    auto* const page = static_cast<unsigned char*>(::mmap(nullptr, 2 * veneer_page,
                                                          PROT_READ | PROT_WRITE | PROT_EXEC,
                                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(page != MAP_FAILED);
    write_veneer_page(page);
    const bytes first = assembled(as_veneer, as_end);
    REQUIRE(first.size() == sizeof(veneer_code));
    for (std::size_t i = 0; i < veneers_per_page; ++i)
        CHECK(assembled(page + i * sizeof(veneer_code), page + (i + 1) * sizeof(veneer_code)) ==
              first);
    // As a site would call it; the target takes the context off the stack and returns it.
    auto* const data = reinterpret_cast<veneer_data*>(page + veneer_page);
    const void* pops_context;
    __asm__(
        "jmp 1f\n"
        "2: popq %%rax\n"
        "ret\n"
        "1: leaq 2b(%%rip), %0\n"
        : "=r"(pops_context));
    for (const std::size_t i : {std::size_t{0}, std::size_t{7}, veneers_per_page - 1}) {
        data[i] = {data + i, pops_context};
        const auto call = reinterpret_cast<const void* (*)()>(
            reinterpret_cast<std::uintptr_t>(page) + i * sizeof(veneer_code));
        CHECK(call() == data + i);
    }
    ::munmap(page, 2 * veneer_page);
}

TEST_CASE("text poke: the trap handler does what the instruction would", "[arch]") {
    std::uintptr_t stack[4] = {1, 2, 3, 4};
    ucontext_t context{};
    const auto& registers = context.uc_mcontext.gregs;
    const auto set = [&](int reg, std::uintptr_t value) {
        context.uc_mcontext.gregs[reg] = static_cast<greg_t>(value);
    };
    constexpr std::uintptr_t site = 0x401000;
    set(REG_RIP, site + 1);  // behind the int3
    set(REG_RSP, reinterpret_cast<std::uintptr_t>(stack + 2));
    CHECK(trap_address(context) == site);

    emulate(context, site, nop_site);
    CHECK(registers[REG_RIP] == site + 5);
    CHECK(registers[REG_RSP] == reinterpret_cast<greg_t>(stack + 2));

    set(REG_RIP, site + 1);
    emulate(context, site, call_site(site, 0x400010));
    CHECK(registers[REG_RIP] == 0x400010);
    CHECK(registers[REG_RSP] == reinterpret_cast<greg_t>(stack + 1));
    CHECK(stack[0] == 1);
    CHECK(stack[1] == site + 5);
    CHECK(stack[2] == 3);

    emulate(context, site, call_site(site, 0x7fffffff));  // forwards
    CHECK(registers[REG_RIP] == 0x7fffffff);

    set(REG_RSP, reinterpret_cast<std::uintptr_t>(stack + 2));
    stack[1] = 2;
    emulate(context, site, jump_site(site, 0x400010));
    CHECK(registers[REG_RIP] == 0x400010);
    CHECK(registers[REG_RSP] == reinterpret_cast<greg_t>(stack + 2));
    CHECK(stack[1] == 2);
}

TEST_CASE("text poke: the three steps write trap, tail and head", "[arch]") {
    unsigned char text[12];
    std::memset(text, 0x90, sizeof text);
    text[11] = 0xc3;
    text_edit edit{};
    edit.site = reinterpret_cast<std::uintptr_t>(text + 1);
    edit.before = read_site(edit.site);
    edit.after = call_site_at_distance(0x44332211);
    const auto all = [&] { return bytes(text, text + sizeof text); };
    CHECK_FALSE(is_trap(edit.site));
    poke_trap(edit);
    CHECK(is_trap(edit.site));
    CHECK(all() == bytes{0x90, 0xcc, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3});
    poke_tail(edit, edit.after);
    CHECK(all() == bytes{0x90, 0xcc, 0x11, 0x22, 0x33, 0x44, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3});
    poke_head(edit, edit.after);
    CHECK(all() == bytes{0x90, 0xe8, 0x11, 0x22, 0x33, 0x44, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3});

    // A nop that reaches three bytes beyond the five: what is left of it must be nops.
    std::memcpy(text + 1, "\x0f\x1f\x84\x00\x00\x02\x00\x00", 8);
    edit.before = read_site(edit.site);
    edit.nops = 8;
    poke_trap(edit);
    poke_tail(edit, edit.after);
    poke_head(edit, edit.after);
    CHECK(all() == bytes{0x90, 0xe8, 0x11, 0x22, 0x33, 0x44, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3});
}

namespace {

struct assembled_nops {
    const unsigned char* begin;
    unsigned length;  // of the nops up to the end of the one that covers the fifth byte
    unsigned count;
};

// What assemblers write for nops of 5 to 15 bytes (clang: one, or two and more beyond ten), and
// mixtures.
extern "C" {
extern const unsigned char nops_gcc[], nops_5[], nops_6[], nops_7[], nops_8[], nops_9[], nops_10[],
    nops_11[], nops_15[], nops_2_3[], nops_4_1[], nops_4_9[], nops_sib[], no_nops_1[], no_nops_2[],
    no_nops_3[], no_nops_4[];
}
__asm__(
    ".pushsection .rodata\n"
    "nops_gcc: .rept 5; nop; .endr\n"
    "nops_5: nopl 8(%rax, %rax)\n"
    "nops_6: nopw 8(%rax, %rax)\n"
    "nops_7: nopl 0x200(%rax)\n"
    "nops_8: nopl 0x200(%rax, %rax)\n"
    "nops_9: nopw 0x200(%rax, %rax)\n"
    "nops_10: nopw %cs:0x200(%rax, %rax)\n"
    "nops_11: .byte 0x66\n nopw %cs:0x200(%rax, %rax)\n"
    "nops_15: .byte 0x66, 0x66, 0x66, 0x66, 0x66\n nopw %cs:0x200(%rax, %rax)\n"
    "nops_2_3: xchg %ax, %ax\n nopl (%rax)\n"
    "nops_4_1: nopl 8(%rax)\n nop\n"
    "nops_4_9: nopl 8(%rax)\n nopw 0x200(%rax, %rax)\n"
    "nops_sib: .byte 0x0f, 0x1f, 0x04, 0x25, 1, 2, 3, 4\n"  // nopl 0x4030201
    "no_nops_1: push %rbp\n mov %rsp, %rbp\n sub $16, %rsp\n"
    "no_nops_2: nop; nop; nop; nop; ret\n"
    "no_nops_3: nopl 8(%rax)\n int3\n"
    "no_nops_4: .byte 0x0f, 0x1f, 0x48, 0x08, 0x90, 0x90\n"  // 0f 1f /1 is no nop that is written
    ".zero 16\n"
    ".popsection\n");

}  // namespace

TEST_CASE("text poke: nops of every form are measured", "[arch]") {
    const assembled_nops all[] = {
        {nops_gcc, 5, 5}, {nops_5, 5, 1},    {nops_6, 6, 1},   {nops_7, 7, 1},   {nops_8, 8, 1},
        {nops_9, 9, 1},   {nops_10, 10, 1},  {nops_11, 11, 1}, {nops_15, 15, 1}, {nops_2_3, 5, 2},
        {nops_4_1, 5, 2}, {nops_4_9, 13, 2}, {nops_sib, 8, 1},
    };
    for (const assembled_nops& nops : all) {
        CAPTURE(&nops - all);
        const nop_run run = nops_at(reinterpret_cast<std::uintptr_t>(nops.begin));
        CHECK(run.length == nops.length);
        CHECK(run.count == nops.count);
    }
    for (const unsigned char* other : {no_nops_1, no_nops_2, no_nops_3, no_nops_4}) {
        CAPTURE(int{other[0]});
        CHECK(nops_at(reinterpret_cast<std::uintptr_t>(other)).length == 0);
    }
}
