// Uses the library's main entry points, so that their templates and inline functions are compiled:
// notrace.sh looks for sites in them.

namespace entry_points {

struct parser {
    double parse(const char* text, int length, double scale);
    virtual void rewind();
};

FTRACE_NOTRACE void on_call(unsigned long, unsigned long, ftrace::ftrace_ops&,
                            ftrace::ftrace_regs& regs) noexcept {
    (void)ftrace::regs_get_argument<0>(regs);
    (void)ftrace::regs_get_argument<3, &parser::parse>(regs);
    (void)ftrace::regs_get_argument<2, int(const char*, int, double)>(regs);
    ftrace::regs_set_argument<2, &parser::parse>(regs, 42);
    (void)ftrace::regs_get_return_value<double>(regs);
    (void)ftrace::regs_get_stack_pointer(regs);
    ftrace::regs_set_instruction_pointer(regs, &on_call);
    ftrace::override_function_with_return(regs, 1UL);
    (void)ftrace::get_regs(regs);
}

FTRACE_NOTRACE int on_entry(ftrace::fprobe&, unsigned long, unsigned long, ftrace::ftrace_regs&,
                            void*) noexcept {
    return 0;
}
FTRACE_NOTRACE void on_end(ftrace::fprobe&, const ftrace::fprobe_exit&, ftrace::ftrace_regs&,
                           void*) noexcept {}
ftrace::fprobe both_ends(on_entry, on_end, 8);

ftrace::ops<on_call> by_args;
ftrace::ops<on_call, ftrace::SAVE_REGS> by_regs;
ftrace::registry<ftrace::ops<on_call>, ftrace::ops<on_call, ftrace::SAVE_REGS>> both;

template <typename Ops>
void attach(Ops& ops) {
    (void)ops.set_filter("parse*").has_value();
    (void)ops.set_notrace("parse_header").value_or(0);
    auto handle = ftrace::register_ftrace_function(ops);
    if (handle) (void)handle.value().unregister();
}

int use() {
    attach(by_args);
    attach(by_regs);
    auto probed = ftrace::probe<&parser::parse>(
        [](ftrace::probe_call<double>& call, parser&, const char*&, int& length, double&)
            FTRACE_NOTRACE {
                if (length == 0) call.skip(1.0);
                return length;
            },
        [](ftrace::probe_exit<double>& exit, int&) FTRACE_NOTRACE { (void)exit.exception(); });
    if (probed) probed = ftrace::result<ftrace::typed_probe>(std::move(*probed));
    const std::string kept = "with a destructor";
    auto overrider =
        ftrace::probe<&parser::rewind>([kept](parser&) FTRACE_NOTRACE { return kept; });
    if (overrider) (void)overrider->unregister();
    if (auto on = ftrace::register_fprobe(both_ends, "parse*", "parse_header"))
        on = ftrace::register_fprobe_syms(both_ends, {"parse"});
    const unsigned long address = 1;
    ftrace::disable_fprobe(both_ends);
    if (auto on = ftrace::register_fprobe_ips(both_ends, &address, 1)) (void)on->unregister();
    if (auto all = both.register_all()) all = both.register_all();
    ftrace::top_options ten;
    ten.names = ftrace::name_options(ten.names);
    int listed = 0;
    for (const auto& f : ftrace::available_filter_functions()) listed += f.site != 0;
    return listed;
}

}  // namespace entry_points

int main() { return entry_points::use(); }
