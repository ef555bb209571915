// How an unwinder gets past a veneer: from a profiler's signal, say, that came while a thread
// was there.
//
//                                  on the stack                         CFA
//      0  push context             site + 5                             rsp + 8
//      6  jmp  target              context, site + 5                    rsp + 16
//
// CFA = rsp + 8 + 8 * (ip % 16 >= 6): what linkers write for a PLT, whose entries push as well, so
// every unwinder knows the form. The return address is where it always is, below the CFA, and no
// register was changed. In a veneer of a jump nothing is pushed: CFA = rsp + 8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/arch/veneer.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// The .eh_frame section of one code page of veneers.
class veneer_unwind_section : public unwind_section {
public:
    FTRACE_NOTRACE explicit veneer_unwind_section(std::uintptr_t code_page,
                                                  veneer_kind kind = veneer_kind::call) noexcept {
        static_assert(sizeof(veneer_code) == 16 && veneer_page % sizeof(veneer_code) == 0);
        const std::size_t pushes_at =
            kind == veneer_kind::call ? offsetof(veneer_code, jump) : sizeof(veneer_code);
        const std::size_t cie = open_cie("zR");
        byte(def_cfa_expression);
        const std::size_t size = open_expression();
        byte(op_breg_sp), byte(sizeof(std::uintptr_t));
        byte(op_breg_ip), byte(0), byte(op_lit0 + sizeof(veneer_code) - 1), byte(op_and);
        byte(static_cast<std::uint8_t>(op_lit0 + pushes_at)), byte(op_ge);
        byte(op_lit0 + 3), byte(op_shl), byte(op_plus);
        close_expression(size);
        byte(offset_of + return_column), byte(1);  // times the data alignment
        close_cie(cie);
        add_fde(code_page, veneer_page);
    }
};

}  // namespace ftrace::inline v0::arch
