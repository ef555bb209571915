// The functions that random programs are made of. Included by one file.
#pragma once

#include <string_view>

#include "random_interpreter.hpp"

namespace random_programs {

/// Whether calls at the ends of functions are jumps: sanitizers have something to do behind them.
#if defined(__clang__)
constexpr bool calls_in_tails = !sanitized;
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define IN_TAIL [[clang::musttail]]
#endif
#elif defined(__OPTIMIZE__)
constexpr bool calls_in_tails = !sanitized;
#else
constexpr bool calls_in_tails = false;
#endif
#ifndef IN_TAIL
#define IN_TAIL  // by optimisation, or not at all
#endif

/// Where the return address of the function lies that says this.
#define RETURN_SLOT (reinterpret_cast<unsigned long>(__builtin_dwarf_cfa()) - sizeof(void*))

/// By its name.
consteval unsigned number_of(std::string_view name) {
    for (unsigned i = 0; i < function_count; ++i)
        if (name == kinds[i].name) return i;
    throw "no such function";
}

/// Passed by address, since it is destroyed: by the caller.
struct destroyed_object {
    unsigned long word = 9;
    ~destroyed_object() { word = 0; }
};

/// All that is hooked.
namespace hooked {

#define NOTED(name) noted_call call(m, number_of(#name), RETURN_SLOT)
#define RETURNS(name) call.returns(m.next_result(number_of(#name)))

APART inline unsigned long small(machine& m, const node& n) {
    NOTED(small);
    run(m, n.before);
    return RETURNS(small);
}
APART inline unsigned long large(machine& m, const node& n) {
    NOTED(large);
    unsigned char room[3000];
    fill(room, sizeof room, 1);
    run(m, n.before);
    m.sum += room[16];
    return RETURNS(large);
}
APART inline unsigned long growing(machine& m, const node& n) {
    NOTED(growing);
    auto* const room = static_cast<unsigned char*>(alloca(n.room + 16));
    fill(room, n.room + 16, 2);
    run(m, n.before);
    m.sum += room[0];
    return RETURNS(growing);
}
APART inline unsigned long aligned(machine& m, const node& n) {
    NOTED(aligned);
    alignas(64) unsigned char room[128];
    fill(room, sizeof room, 3);
    run(m, n.before);
    m.sum += room[16] + reinterpret_cast<unsigned long>(&room) % 64;
    return RETURNS(aligned);
}
APART inline unsigned long stack_arguments(machine& m, const node& n, int a, int b, int c, int d,
                                           int e, int f, long g, double h) {
    NOTED(stack_arguments);
    run(m, n.before);
    m.sum += static_cast<unsigned long>(a + b + c + d + e + f + g + static_cast<long>(h));
    return RETURNS(stack_arguments);
}
struct words {
    unsigned long all[5];
};
APART inline words in_memory(machine& m, const node& n) {
    NOTED(in_memory);
    run(m, n.before);
    call.returns(any_value);
    const unsigned long result = m.next_result(number_of("in_memory"));
    return {{result, result, result, result, result}};
}
APART inline double floating(machine& m, const node& n) {
    NOTED(floating);
    run(m, n.before);
    const double result = static_cast<double>(m.next_result(number_of("floating")) % 1000);
    unsigned long bits;
    __builtin_memcpy(&bits, &result, sizeof bits);
    call.returns(bits);
    return result;
}
APART inline unsigned long takes_object(machine& m, const node& n, destroyed_object object) {
    NOTED(takes_object);
    run(m, n.before);
    m.sum += object.word;
    return RETURNS(takes_object);
}

APART inline unsigned long tail(machine& m, const node& n) {
    before_tail(m, n, number_of("tail"), RETURN_SLOT);
    IN_TAIL return functions[n.in_tail->function](m, *n.in_tail);
}
APART inline unsigned long other_tail(machine& m, const node& n) {
    const node& next = *n.in_tail;
    const function called = functions[next.function];
    before_tail(m, n, number_of("other_tail"), RETURN_SLOT);
    IN_TAIL return called(m, next);
}
APART inline unsigned long tail_in_branch(machine& m, const node& n) {
    before_tail(m, n, number_of("tail_in_branch"), RETURN_SLOT);
    if (n.in_tail->function == number_of("small")) {
        IN_TAIL return small(m, *n.in_tail);
    }
    IN_TAIL return functions[n.in_tail->function](m, *n.in_tail);
}

APART inline unsigned long catches_base(machine& m, const node& n) {
    NOTED(catches_base);
    run(m, n.before);
    try {
        run(m, n.body);
    } catch (const base& caught) {
        handling handler(m, ADDRESS(catches_base));
        m.sum += caught.words[3];
        run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(catches_base);
}
APART inline unsigned long catches_number(machine& m, const node& n) {
    NOTED(catches_number);
    run(m, n.before);
    try {
        run(m, n.body);
    } catch (int number) {
        handling handler(m, ADDRESS(catches_number));
        m.sum += static_cast<unsigned long>(number);
        run(m, n.handler);
    } catch (const char* text) {
        handling handler(m, ADDRESS(catches_number));
        m.sum += static_cast<unsigned long>(text[0]);
        run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(catches_number);
}
APART inline unsigned long catches_text(machine& m, const node& n) {
    NOTED(catches_text);
    run(m, n.before);
    try {
        run(m, n.body);
    } catch (std::string text) {
        handling handler(m, ADDRESS(catches_text));
        m.sum += text.size();
        run(m, n.handler);
    } catch (const std::exception& caught) {
        handling handler(m, ADDRESS(catches_text));
        m.sum += static_cast<unsigned long>(caught.what()[0]);
        run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(catches_text);
}
APART inline unsigned long catches_all(machine& m, const node& n) {
    NOTED(catches_all);
    run(m, n.before);
    try {
        run(m, n.body);
    } catch (...) {
        if (m.is_exiting()) throw;
        handling handler(m, ADDRESS(catches_all));
        run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(catches_all);
}
APART inline unsigned long nested_tries(machine& m, const node& n) {
    NOTED(nested_tries);
    try {
        run(m, n.before);
        try {
            run(m, n.body);
        } catch (const base& caught) {
            handling handler(m, ADDRESS(nested_tries));
            m.sum += caught.words[2];
            run(m, n.handler);
        } catch (...) {
            if (m.is_exiting()) throw;
            handling handler(m, ADDRESS(nested_tries));
            m.book.flies_again(m.on(), true);
            throw;
        }
    } catch (int number) {
        handling handler(m, ADDRESS(nested_tries));
        m.sum += static_cast<unsigned long>(number);
        run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(nested_tries);
}
APART inline unsigned long whole_try(machine& m, const node& n) try {
    m.book.enters(m.on(), number_of("whole_try"), RETURN_SLOT);
    run(m, n.before);
    run(m, n.body);
    m.book.returns(m.on(), m.next_result(number_of("whole_try")));
    return m.sum;
} catch (...) {
    if (m.is_exiting()) {
        m.book.unwinds(m.on());
        throw;
    }
    noted_end end(m);
    handling handler(m, ADDRESS(whole_try));
    run(m, n.handler);
    return end.returns(m.next_result(number_of("whole_try")));
}
APART inline unsigned long never_throws(machine& m, const node& n) noexcept {
    NOTED(never_throws);
    no_exceptions inside(m);
    try {
        run(m, n.before);
        run(m, n.body);
    } catch (...) {
        handling handler(m, ADDRESS(never_throws));
        try {
            run(m, n.handler);
        } catch (...) {
            handling last(m, ADDRESS(never_throws));
        }
    }
    return RETURNS(never_throws);
}

APART inline unsigned long sets_jump(machine& m, const node& n) {
    NOTED(sets_jump);
    run(m, n.before);
    {
        may_land land(m, false);
        if (::setjmp(land.here.buffer) == 0)
            run(m, n.body);
        else
            run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(sets_jump);
}
APART inline unsigned long sets_jump_in_try(machine& m, const node& n) {
    NOTED(sets_jump_in_try);
    run(m, n.before);
    try {
        may_land land(m, false);
        if (::setjmp(land.here.buffer) == 0)
            run(m, n.body);
        else
            run(m, n.handler);
    } catch (const std::exception&) {
        handling handler(m, ADDRESS(sets_jump_in_try));
        run(m, n.after);
    }
    return RETURNS(sets_jump_in_try);
}
APART inline unsigned long tries_in_jump(machine& m, const node& n) {
    NOTED(tries_in_jump);
    may_land land(m, false);
    if (::setjmp(land.here.buffer) == 0) {
        run(m, n.before);
        try {
            run(m, n.body);
        } catch (const char*) {
            handling handler(m, ADDRESS(tries_in_jump));
            run(m, n.after);
        }
    } else {
        run(m, n.handler);
    }
    return RETURNS(tries_in_jump);
}
APART inline unsigned long sets_context(machine& m, const node& n) {
    NOTED(sets_context);
    run(m, n.before);
    {
        may_land land(m, true);
        ::getcontext(&land.here.context);
        if (!land.here.jumped)
            run(m, n.body);
        else
            run(m, n.handler);
    }
    run(m, n.after);
    return RETURNS(sets_context);
}

APART inline unsigned long destroys(machine& m, const node& n) {
    NOTED(destroys);
    calls_when_destroyed local(m, n.in_destructor);
    run(m, n.before);
    return RETURNS(destroys);
}
APART inline unsigned long destroys_aligned(machine& m, const node& n) {
    NOTED(destroys_aligned);
    alignas(64) unsigned char room[64];
    fill(room, sizeof room, 5);
    try {
        calls_when_destroyed local(m, n.in_destructor);
        run(m, n.before);
    } catch (const derived&) {
        handling handler(m, ADDRESS(destroys_aligned));
    }
    m.sum += room[0];
    return RETURNS(destroys_aligned);
}

APART inline unsigned long throws_number(machine& m, const node& n) {
    NOTED(throws_number);
    run(m, n.before);
    m.book.flies(m.on(), &typeid(int));
    throw 7;
}
APART inline unsigned long throws_derived(machine& m, const node& n) {
    NOTED(throws_derived);
    run(m, n.before);
    m.book.flies(m.on(), &typeid(derived));
    throw derived();
}

}  // namespace hooked

// In the order of kinds. Functions with signatures of their own are called by one that is not hooked.
const function functions[function_count] = {
    hooked::small,
    hooked::large,
    hooked::growing,
    hooked::aligned,
    [](machine& m, const node& n) {
        return hooked::stack_arguments(m, n, 1, 2, 3, 4, 5, 6, 7, 8.0);
    },
    [](machine& m, const node& n) {
        const hooked::words result = hooked::in_memory(m, n);
        return result.all[0] - result.all[4] + any_value;
    },
    [](machine& m, const node& n) {
        m.sum += static_cast<unsigned long>(hooked::floating(m, n));
        return any_value;
    },
    [](machine& m, const node& n) { return hooked::takes_object(m, n, {}); },
    hooked::tail,
    hooked::other_tail,
    hooked::tail_in_branch,
    hooked::catches_base,
    hooked::catches_number,
    hooked::catches_text,
    hooked::catches_all,
    hooked::nested_tries,
    hooked::whole_try,
    hooked::never_throws,
    hooked::sets_jump,
    hooked::sets_jump_in_try,
    hooked::tries_in_jump,
    hooked::sets_context,
    hooked::destroys,
    hooked::destroys_aligned,
    hooked::throws_number,
    hooked::throws_derived,
};
/// Where each begins.
inline const unsigned long addresses[function_count] = {
    ADDRESS(hooked::small),
    ADDRESS(hooked::large),
    ADDRESS(hooked::growing),
    ADDRESS(hooked::aligned),
    ADDRESS(hooked::stack_arguments),
    ADDRESS(hooked::in_memory),
    ADDRESS(hooked::floating),
    ADDRESS(hooked::takes_object),
    ADDRESS(hooked::tail),
    ADDRESS(hooked::other_tail),
    ADDRESS(hooked::tail_in_branch),
    ADDRESS(hooked::catches_base),
    ADDRESS(hooked::catches_number),
    ADDRESS(hooked::catches_text),
    ADDRESS(hooked::catches_all),
    ADDRESS(hooked::nested_tries),
    ADDRESS(hooked::whole_try),
    ADDRESS(hooked::never_throws),
    ADDRESS(hooked::sets_jump),
    ADDRESS(hooked::sets_jump_in_try),
    ADDRESS(hooked::tries_in_jump),
    ADDRESS(hooked::sets_context),
    ADDRESS(hooked::destroys),
    ADDRESS(hooked::destroys_aligned),
    ADDRESS(hooked::throws_number),
    ADDRESS(hooked::throws_derived),
};

}  // namespace random_programs
