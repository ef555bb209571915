// From ring buffers to a snapshot: events of all threads in the order of time.
#pragma once

#include <unistd.h>
#include <cstdio>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/argument_words.hpp>
#include <ftrace/arch/result_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/sites/symbols.hpp>
#include <ftrace/trace/clock.hpp>
#include <ftrace/trace/compilers.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/snapshot.hpp>
#include <ftrace/trace/thread_buffer.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

class trace_reader {
public:
    /// `sleep_time`: durations are the time from a call to its end; else they were recorded.
    FTRACE_NOTRACE trace_reader(const tracer_buffers& buffers, const clock_scale& clock,
                                bool sleep_time, trace_snapshot& out)
        : buffers_(buffers), clock_(clock), sleep_time_(sleep_time), out_(out) {}
    trace_reader(const trace_reader&) = delete;
    trace_reader& operator=(const trace_reader&) = delete;
    FTRACE_NOTRACE ~trace_reader() = default;

    /// Reads everything. Threads may go on recording: events that are overwritten meanwhile count
    /// as lost, and what is not yet finished is left out.
    FTRACE_NOTRACE void read() {
        // acquire: pairs with tracer_buffers::clear(), which may take buffers out meanwhile.
        for (const thread_buffer* each = buffers_.first(); each != nullptr;
             each = __atomic_load_n(&each->next, __ATOMIC_ACQUIRE))
            read(*each);
        out_.dropped += buffers_.lost_events();
        for (const moved_end& each : moved_) give_to_thread(each);
        sort_by_time();
        if (!out_.argument_words.empty()) {
            objects_ = scan_loaded_objects();
            learn_scopes();
            out_.memory = address_ranges::of_this_process();
        }
        for (const trace_event& event : out_.events) {
            out_.threads[event.thread].last_cpu = event.cpu;
            name(event.ip);
            if (event.parent_ip != 0) name_caller(event.parent_ip);
        }
        for (const trace_exception& each : out_.exceptions)
            if (each.handler != 0) name(each.handler);
    }

private:
    FTRACE_NOTRACE void read(const thread_buffer& buffer) {
        const std::uint32_t thread = thread_of(buffer);
        const ring_buffer& ring = buffer.ring;
        const std::uint64_t written = ring.written(), dropped = ring.dropped();
        const std::size_t before = out_.events.size();
        const std::uint64_t begin = ring.begin(), end = ring.end();
        for (std::uint64_t at = begin; at < end;) at += event_at(ring, at, thread);
        const std::uint64_t read = out_.events.size() - before;
        out_.written += written - dropped;
        out_.dropped += dropped;
        out_.threads[thread].lost_after += dropped;
        const std::uint64_t overwritten = written > dropped + read ? written - dropped - read : 0;
        out_.overwritten += overwritten;
        if (read != 0) first_of(before).lost_before = overwritten;
    }

    /// The first event, by time, of those from an index on: entries that were held back are behind
    /// what they should be in front of.
    [[nodiscard]] FTRACE_NOTRACE trace_event& first_of(std::size_t begin) {
        const auto from = out_.events.begin() + static_cast<std::ptrdiff_t>(begin);
        return *std::min_element(from, out_.events.end(),
                                 [](const trace_event& a, const trace_event& b)
                                     FTRACE_NOTRACE { return a.time < b.time; });
    }

    /// Takes the event at a position, if one begins there; says how many slots to go on.
    FTRACE_NOTRACE std::uint32_t event_at(const ring_buffer& ring, std::uint64_t at,
                                          std::uint32_t thread) {
        event_slot slot;
        if (!ring.read(at, slot)) return 1;
        const event_stamp stamp = unpack(slot.stamp);
        if (stamp.kind == event_kind::none || stamp.kind == event_kind::continuation) return 1;
        std::uint64_t words[3 * ring_buffer::largest_event] = {};
        for (std::uint32_t i = 1; i < stamp.slots; ++i) {
            event_slot more;
            if (!ring.read(at + i, more)) return stamp.slots;
            for (std::size_t k = 0; k < 3; ++k) words[3 * (i - 1) + k] = more.words[k];
        }
        trace_event event;
        event.kind = stamp.kind;
        event.thread = thread;
        event.cpu = stamp.cpu;
        event.depth = stamp.depth;
        event.time = clock_.time(slot.words[0]);
        event.ip = slot.words[1];
        if (stamp.kind == event_kind::graph_return) {
            event.call_time = clock_.time(slot.words[2]);
            event.end = stamp.end;
            const bool here = take_end(event, stamp.slots - 1, words);
            if (sleep_time_ && end_is_exact(event.end, here))
                event.duration = clock_.duration(
                    slot.words[0] > slot.words[2] ? slot.words[0] - slot.words[2] : 0);
        } else {
            event.parent_ip = slot.words[2];
            if (stamp.slots > 1) {
                event.arguments = out_.argument_words.size();
                out_.argument_words.insert(out_.argument_words.end(), words,
                                           words + arch::argument_words);
            }
        }
        out_.events.push_back(event);
        return stamp.slots;
    }

    /// What follows a graph_return: see event_slot. Whether the call began on the thread that tells.
    FTRACE_NOTRACE bool take_end(trace_event& event, std::uint32_t slots,
                                 const std::uint64_t* words) {
        if (event.end == graph_end::returned && slots > 0) {
            event.has_return_value = true;
            event.return_value = words[0];
            event.return_high = words[1];
            event.return_vector = words[arch::integer_result_words];
            words += 3;
            --slots;
        }
        if (slots == 0) return true;
        event.overrun = static_cast<std::uint32_t>(words[0]);
        const auto tid = static_cast<pid_t>(words[0] >> 32);
        if (tid != 0) note_moved(event, {tid, words[1]});
        if (words[2] != unknown_ticks) event.duration = words[2];
        if (slots > 1) take_exception(event, slots - 1, words + 3);
        return tid == 0;
    }

    FTRACE_NOTRACE void take_exception(trace_event& event, std::uint32_t slots,
                                       const std::uint64_t* words) {
        const std::size_t letters = (3 * std::size_t{slots} - 1) * sizeof *words;
        std::string name(letters, '\0');
        std::memcpy(name.data(), words + 1, letters);
        name.resize(name.find('\0') == std::string::npos ? letters : name.find('\0'));
        const auto [known, added] =
            exceptions_.emplace(std::pair(std::move(name), static_cast<std::uintptr_t>(words[0])),
                                static_cast<std::uint32_t>(out_.exceptions.size()));
        if (added) out_.exceptions.emplace_back(known->first.first, known->first.second);
        event.exception = known->second;
    }

    using thread_key = std::pair<pid_t, std::uint64_t>;  // id and generation
    struct moved_end {
        std::size_t event;
        bool has_call;  ///< the event before it is the call, which was held back
        thread_key began;
    };

    FTRACE_NOTRACE void note_moved(const trace_event& end, const thread_key& began) {
        const trace_event* const before = out_.events.empty() ? nullptr : &out_.events.back();
        const bool has_call = before != nullptr && before->thread == end.thread &&
                              before->kind == event_kind::graph_entry && end.ends(*before) &&
                              before->depth == end.depth;
        moved_.push_back({out_.events.size(), has_call, began});
    }

    /// The end of a call that another thread began. If that is gone, the call's end was noticed when
    /// its memory was used again: whoever did that had nothing to do with it.
    FTRACE_NOTRACE void give_to_thread(const moved_end& each) {
        const auto began = threads_.find(each.began);
        if (began == threads_.end()) return;
        trace_event& event = out_.events[each.event];
        if (each.has_call) out_.events[each.event - 1].thread = began->second;
        if (event.end == graph_end::returned || event.end == graph_end::exception)
            event.began_on = began->second;
        else
            event.thread = began->second;
    }

    /// A thread has more than one buffer if a signal came while it made its first.
    FTRACE_NOTRACE std::uint32_t thread_of(const thread_buffer& buffer) {
        const auto next = static_cast<std::uint32_t>(out_.threads.size());
        const auto [known, added] =
            threads_.emplace(thread_key(buffer.tid, buffer.generation), next);
        if (added) out_.threads.push_back(thread_now(buffer));
        return known->second;
    }

    /// The thread with its name of this moment while it lives, else that of its first event.
    [[nodiscard]] FTRACE_NOTRACE static trace_thread thread_now(const thread_buffer& buffer) {
        trace_thread out(buffer.tid, buffer.comm);
        const std::string path = "/proc/self/task/" + std::to_string(buffer.tid) + "/comm";
        char text[sizeof buffer.comm + 1] = {};
        std::size_t length = 0;
        if (std::FILE* const file = std::fopen(path.c_str(), "re")) {
            length = std::fread(text, 1, sizeof text - 1, file);
            std::fclose(file);
        }
        if (length != 0 && text[length - 1] == '\n') --length;
        if (length != 0) out.name.assign(text, length);
        out.ended = length == 0 && ::access("/proc/self/comm", R_OK) == 0;
        return out;
    }

    FTRACE_NOTRACE void name(std::uintptr_t address) {
        const auto [at, added] = out_.symbols.emplace(address, std::string());
        if (!added) return;
        function_symbol found = symbol_of(address);
        at->second = std::move(found.name);
        if (found.is_local && !keeps_parameters(address)) out_.changeable.insert(address);
    }

    /// A call may be its function's last instruction, where the callee does not return: so the
    /// byte before the return address is looked up.
    FTRACE_NOTRACE void name_caller(std::uintptr_t address) {
        const auto [at, added] = out_.callers.try_emplace(address);
        if (!added) return;
        function_symbol found = symbol_of(address - 1);
        at->second.linker_name = std::move(found.name);
        at->second.offset = found.start == address - 1 ? 0 : address - found.start;
        at->second.size = found.size;
    }

    [[nodiscard]] FTRACE_NOTRACE bool keeps_parameters(std::uintptr_t address) {
        for (const loaded_object& object : objects_) {
            if (!object.contains(address)) continue;
            const auto [known, added] = keeps_parameters_.try_emplace(object.path, false);
            if (added) known->second = keeps_local_parameters(object.path);
            return known->second;
        }
        return false;
    }

    /// What a thread recorded at one tick stays in its order. A signal handler's events may lie
    /// behind that of the call it interrupted, with an earlier time.
    FTRACE_NOTRACE void sort_by_time() {
        std::vector<std::pair<std::uint64_t, std::size_t>> order;
        order.reserve(out_.events.size());
        for (const trace_event& event : out_.events) order.emplace_back(event.time, order.size());
        std::sort(order.begin(), order.end());
        std::vector<trace_event> sorted;
        sorted.reserve(order.size());
        for (const auto& [time, index] : order) sorted.push_back(out_.events[index]);
        out_.events = std::move(sorted);
    }

    FTRACE_NOTRACE void learn_scopes() {
        demangler demangle;
        for (const loaded_object& object : objects_) {
            if (object.sites.empty() && object.wide_sites.empty()) continue;
            for (const symbol_entry& symbol : symbols_of(object).entries())
                if (scope_facts::is_telling(symbol.linker_name()))
                    out_.scopes.add(demangle(symbol.linker_name()));
        }
    }

    const tracer_buffers& buffers_;
    const clock_scale& clock_;
    const bool sleep_time_;
    trace_snapshot& out_;
    std::vector<loaded_object> objects_;  // only where arguments were recorded
    std::map<std::string, bool> keeps_parameters_;
    std::map<thread_key, std::uint32_t> threads_;
    std::vector<moved_end> moved_;
    std::map<std::pair<std::string, std::uintptr_t>, std::uint32_t> exceptions_;
};

}  // namespace ftrace::inline v0::detail
