// The `function` tracer: one event a call. A user of the public interface like any other.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/ops/ops.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/recorder.hpp>
#include <ftrace/trace/thread_buffer.hpp>

namespace ftrace::inline v0::detail {

/// The callback; ops::private_data is its recorder.
FTRACE_NO_INSTRUMENTATION inline void record_function(unsigned long ip, unsigned long parent_ip,
                                                      ftrace_ops& op, ftrace_regs& regs) noexcept {
    auto& self = *static_cast<recorder*>(op.private_data);
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr) return;
    std::uint64_t now;
    record_call(self, *thread, event_kind::function, 0, ip, parent_ip, regs, now);
}

using function_ops = ops<&record_function>;

}  // namespace ftrace::inline v0::detail
