// A real program on real input: nlohmann::json parses the 7,900 languages of ISO 639-3, and every
// call of its parser, its lexer and what makes the values is traced.
#include <ftrace/export/text.hpp>
#include <ftrace/export/top.hpp>
#include <ftrace/trace/tracer.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

static int complain(const ftrace::error& e) {
    std::fprintf(stderr, "%s\n", e.message.c_str());
    return 1;
}

int main(int argc, char** argv) {
    const char* const path = argc > 1 ? argv[1] : "/usr/share/iso-codes/json/iso_639-3.json";
    std::ifstream file(path);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (text.empty()) return std::fprintf(stderr, "cannot read %s (Debian's iso-codes)\n", path), 1;

    // The steps of parsing, without the innermost ones that look at single characters.
    ftrace::tracer tracer("function_graph", {.arguments = false, .buffer_kb = 128 * 1024});
    auto set = tracer.set_filter(
        "*::basic_json::parse; *::parser::parse; *::parser::sax_parse*; *::lexer::scan*; "
        "*_sax_dom_parser::*; *::basic_json::basic_json; *::basic_json::~basic_json; "
        "*::json_value::*; *::_Rb_tree*::_M_emplace_hint_unique*");
    if (!set) return complain(set.error());
    if (auto depth = tracer.set_max_depth(5); !depth) return complain(depth.error());

    if (auto started = tracer.start(); !started) return complain(started.error());
    const nlohmann::json file_read = nlohmann::json::parse(text, nullptr, false);
    if (auto stopped = tracer.stop(); !stopped) return complain(stopped.error());
    if (file_read.is_discarded()) return std::fprintf(stderr, "%s is no JSON\n", path), 1;
    const auto languages = file_read.find("639-3");
    if (languages == file_read.end())
        return std::fprintf(stderr, "%s is not ISO 639-3: it has no \"639-3\"\n", path), 1;

    const ftrace::trace_snapshot trace = tracer.read();
    ftrace::text_options graph;
    graph.names.templates = ftrace::template_arguments::hidden;
    graph.names.components =
        2;  // lexer::scan, not nlohmann::json_abi_v3_11_2::detail::lexer<...>::scan
    graph.most_events = 60;
    const std::size_t shown = std::min(trace.events.size(), graph.most_events);
    std::printf("%s    ... and %zu events more. %zu functions were traced, %zu languages read.\n\n",
                to_text(trace, graph).c_str(), trace.events.size() - shown, set.value(),
                languages->size());

    ftrace::top_options ten;
    ten.names = graph.names;
    ten.name_width = 36;
    ten.self = true;
    std::printf("The ten functions with the most time:\n\n%s\n", top(trace, ten).c_str());
    ten.order = ftrace::profile_order::hits;
    std::printf("... and with the most calls:\n\n%s", top(trace, ten).c_str());
}
