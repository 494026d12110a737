#pragma once
// The command line of bench/qgemm.
#include <qlib/any.hpp>
#include <qlib/room/isa.hpp>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct qgemm_run {
    std::string libraries, variant, json;
    std::vector<qlib::format_id> formats;
    std::vector<std::size_t> n;
    std::size_t rows = 4096, cols = 4096, threads = 1, cold_megabytes = 0;
    qlib::isa room = qlib::isa::best;
    qlib::gemm_options options;
    double seconds = 1;
    bool huge_pages = true;
};

inline constexpr const char* qgemm_usage =
    "usage: qgemm [LIBRARIES] [options]\n"
    "  LIBRARIES              folder of llama.cpp's shared libraries: ggml multiplies the same bytes in turn with "
    "qlib\n"
    "  --formats A,B,...      names; ggml, own or all (default: one of each family)\n"
    "  --n 1,4,...            rows of X (default: 1,4,16,512)\n"
    "  --size ROWS[xCOLS]     of the weights (default: 4096x4096)\n"
    "  --cold [MB]            for n < 16 walk through matrices of so many megabytes together (default: 640)\n"
    "  --threads T            (default: 1)\n"
    "  --room R               avx512, avx2, portable (default: the machine's best)\n"
    "  --mode M               automatic, integer, exact\n"
    "  --group G              activation_group\n"
    "  --variant V            ggml's build, haswell for AVX2 (default: the one that scores best here)\n"
    "  --seconds S            for each line of the table (default: 1)\n"
    "  --small-pages          weights in pages of 4 KiB\n"
    "  --json FILE            all figures\n"
    "  --full                 all formats, n = 1,2,3,4,8,16,32,512, cold\n";

[[noreturn]] inline void refuse_option(std::string_view what) {
    std::fprintf(stderr, "qgemm: %.*s\n%s", static_cast<int>(what.size()), what.data(), qgemm_usage);
    std::exit(2);
}

template <class T> T parse_number(std::string_view text) {
    T value{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size()) refuse_option(text);
    return value;
}

/// use(part) for the parts between commas.
template <class Use> void for_each_part(std::string_view list, const Use& use) {
    for (std::size_t from = 0; from <= list.size();) {
        const std::size_t comma = std::min(list.find(',', from), list.size());
        use(list.substr(from, comma - from));
        from = comma + 1;
    }
}

inline void add_formats(std::vector<qlib::format_id>& formats, std::string_view names) {
    for_each_part(names, [&](std::string_view name) {
        const bool ggml = name == "all" || name == "ggml", own = name == "all" || name == "own";
        for (const qlib::format_id id : qlib::all_format_ids)
            if (static_cast<unsigned>(id) < 0x1000 ? ggml : own) formats.push_back(id);
        if (ggml || own) return;
        const auto id = qlib::format_named(name);
        if (!id) refuse_option(name);
        formats.push_back(*id);
    });
}

inline qlib::isa parse_room(std::string_view name) {
    for (const qlib::isa room : qlib::built_rooms)
        if (name == qlib::room_name(room)) return room;
    refuse_option(name);
}

inline qlib::compute parse_mode(std::string_view name) {
    if (name == "automatic") return qlib::compute::automatic;
    if (name == "integer") return qlib::compute::integer;
    if (name == "exact") return qlib::compute::exact;
    refuse_option(name);
}

inline void parse_size(qgemm_run& run, std::string_view text) {
    const std::size_t x = std::min(text.find('x'), text.size());
    run.rows = run.cols = parse_number<std::size_t>(text.substr(0, x));
    if (x != text.size()) run.cols = parse_number<std::size_t>(text.substr(x + 1));
}

inline qgemm_run parse_qgemm_run(int argc, char** argv) {
    qgemm_run run;
    std::vector<std::string_view> words(argv + 1, argv + argc);
    std::size_t at = 0;
    const auto next = [&]() -> std::string_view {
        if (at + 1 == words.size()) refuse_option(words[at]);
        return words[++at];
    };
    const auto add_n = [&](std::string_view n) { run.n.push_back(parse_number<std::size_t>(n)); };
    for (; at < words.size(); ++at) {
        const std::string_view word = words[at];
        if (word == "--formats") add_formats(run.formats, next());
        else if (word == "--n") for_each_part(next(), add_n);
        else if (word == "--size") parse_size(run, next());
        else if (word == "--threads") run.threads = parse_number<std::size_t>(next());
        else if (word == "--room") run.room = parse_room(next());
        else if (word == "--mode") run.options.mode = parse_mode(next());
        else if (word == "--group") run.options.activation_group = parse_number<std::size_t>(next());
        else if (word == "--variant") run.variant = next();
        else if (word == "--seconds") run.seconds = std::atof(std::string(next()).c_str());
        else if (word == "--json") run.json = next();
        else if (word == "--small-pages") run.huge_pages = false;
        else if (word == "--cold") {
            run.cold_megabytes = 640;
            if (at + 1 < words.size() && words[at + 1].find_first_not_of("0123456789") == std::string_view::npos)
                run.cold_megabytes = parse_number<std::size_t>(next());
        } else if (word == "--full") {
            add_formats(run.formats, "all");
            for_each_part("1,2,3,4,8,16,32,512", add_n);
            if (run.cold_megabytes == 0) run.cold_megabytes = 640;
        } else if (word.starts_with("--") || !run.libraries.empty()) refuse_option(word);
        else run.libraries = word;
    }
    if (run.formats.empty())
        add_formats(run.formats, "q4_0,q8_0,q2_k,q4_k,q6_k,iq4_xs,mxfp4,int4_g128,int8_row,nf4,fp8_e4m3_tile128");
    if (run.n.empty()) for_each_part("1,4,16,512", add_n);
    if (run.rows == 0 || run.cols == 0 || run.threads == 0) refuse_option("sizes and threads are at least 1");
    return run;
}

}  // namespace bench
