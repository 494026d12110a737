// Speed of qgemm, format by format, against the roofs of the machine and against ggml's CPU backend on the same bytes,
// all measured in turns.
//
// usage: see qgemm_options.hpp. The program compiles all formats, or those that QLIB_BENCH_FORMATS names:
//     g++ -std=c++20 -O2 -Iinclude '-DQLIB_BENCH_FORMATS=q4_0,q4_k' bench/qgemm.cpp -o qgemm -pthread -ldl
#include "ggml_peer.hpp"
#include "peak.hpp"
#include "qgemm_options.hpp"

#include <qlib/any.hpp>
#include <qlib/core/thread_pool.hpp>

#if defined(QLIB_BENCH_FORMATS)
#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE_ONLY(operations::decode | operations::multiply | operations::quantize, QLIB_BENCH_FORMATS)
#endif  // else qlib::compiled is linked

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using bench::ggml_peer, bench::qgemm_run;

double median(std::vector<double> v) {
    if (v.empty()) return 0;
    const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
    std::nth_element(v.begin(), middle, v.end());
    return *middle;
}

/// Sums of four uniform numbers: near enough to a bell.
std::vector<float> noise(std::size_t count, std::uint32_t seed) {
    std::vector<float> x(count);
    for (float& v : x)
        for (int i = 0; i < 4; ++i) {
            seed = seed * 1664525u + 1013904223u;
            v += static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-33f;
        }
    return x;
}

/// What all measurements share.
struct bench_state {
    qgemm_run run;
    std::vector<float> x;  // (largest n, cols)
    std::unique_ptr<qlib::thread_pool> pool;
    std::optional<ggml_peer> peer;
    std::FILE* json = nullptr;
    bool first = true;  // line of JSON

    [[nodiscard]] qlib::executor_ref executor() const { return pool ? qlib::executor_ref(*pool) : qlib::serial; }
};

/// Memory for matrices, zero, 64-byte aligned.
class arena {
public:
    arena(std::size_t bytes, bool huge_pages) : size_((bytes + huge - 1) / huge * huge + huge) {
        mapped_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED) throw std::runtime_error("no memory for the weights");
        madvise(mapped_, size_, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    ~arena() { munmap(mapped_, size_); }
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    [[nodiscard]] std::byte* data() const {
        return reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(mapped_) + huge - 1) / huge * huge);
    }

private:
    static constexpr std::size_t huge = 2 << 20;
    std::size_t size_;
    void* mapped_ = nullptr;
};

/// Matrices of one format, all the same, each in its own memory.
struct matrix_set {
    qlib::format_id format{};
    std::size_t each = 0;
    std::unique_ptr<arena> memory;
    std::vector<std::span<std::byte>> matrices;

    [[nodiscard]] std::span<const std::byte> all() const {
        return {memory->data(), static_cast<std::size_t>(matrices.back().data() + each - memory->data())};
    }
};

void demand(const qlib::status& s, const char* what) {
    if (s) return;
    char text[300];
    throw std::runtime_error(std::string(s.error().format(text, what)));
}

/// Quantizes rows x cols weights. In ggml's formats, where a row's bytes stand together, rows repeat: lattices are slow
/// to encode.
void encode(std::span<std::byte> out, qlib::format_id format, const qgemm_run& run) {
    constexpr std::size_t some = 67;
    const auto row = qlib::wire_size(format, 1, run.cols);
    const bool together =
        static_cast<unsigned>(format) < 0x1000 && row && *row * run.rows == out.size() && run.rows > some;
    const std::size_t rows = together ? some : run.rows;
    const std::vector<float> w = noise(rows * run.cols, 1);
    demand(qlib::quantize_into(format, {w.data(), rows, run.cols}, out.first(together ? *row * rows : out.size()),
                               {.fit = qlib::fit::plain}),
           "weights");
    for (std::size_t r = rows; r < run.rows; ++r) std::memcpy(&out[r * *row], &out[r % some * *row], *row);
}

std::optional<matrix_set> make_matrices(const bench_state& state, qlib::format_id format) {
    const qgemm_run& run = state.run;
    const auto size = qlib::wire_size(format, run.rows, run.cols);
    if (!size) return std::nullopt;
    matrix_set set{format, *size, nullptr, {}};
    const std::size_t apart = (*size + 63) / 64 * 64;
    const std::size_t count = std::max<std::size_t>(1, (run.cold_megabytes * 1'000'000 + *size - 1) / *size);
    set.memory = std::make_unique<arena>(count * apart, run.huge_pages);
    for (std::size_t i = 0; i < count; ++i) set.matrices.emplace_back(set.memory->data() + i * apart, *size);
    encode(set.matrices[0], format, run);
    for (std::size_t i = 1; i < count; ++i) std::memcpy(set.matrices[i].data(), set.matrices[0].data(), *size);
    return set;
}

/// |Y - W X^T| / |W X^T| on some rows and columns, in f64 with the decoded weights.
class error_check {
public:
    error_check(const bench_state& state, const matrix_set& set, std::size_t n) : rows_(state.run.rows) {
        const std::size_t k = state.run.cols, some = std::min<std::size_t>(rows_, 61);
        for (std::size_t i = 0; i < some; ++i)
            ids_.push_back(static_cast<std::uint32_t>(i * (rows_ - 1) / some + i % 2));
        std::vector<float> w(some * k);
        demand(qlib::dequantize_rows({set.format, set.matrices[0], rows_, k}, ids_, {w.data(), some, k}), "decoding");
        for (std::size_t i = 0; i < std::min<std::size_t>(n, 9); ++i) columns_.push_back(i * (n - 1) / 8);
        if (n < 9)
            for (std::size_t i = 0; i < n; ++i) columns_[i] = i;
        for (const std::size_t c : columns_)
            for (std::size_t r = 0; r < some; ++r) {
                double sum = 0;
                for (std::size_t j = 0; j < k; ++j)
                    sum += static_cast<double>(w[r * k + j]) * static_cast<double>(state.x[c * k + j]);
                wanted_.push_back(sum);
            }
    }
    [[nodiscard]] double of(std::span<const float> y) const {
        double off = 0, all = 0;
        for (std::size_t i = 0; i < wanted_.size(); ++i) {
            const float got = y[columns_[i / ids_.size()] * rows_ + ids_[i % ids_.size()]];
            off += (got - wanted_[i]) * (got - wanted_[i]);
            all += wanted_[i] * wanted_[i];
        }
        return std::sqrt(off / all);
    }

private:
    std::size_t rows_;
    std::vector<std::uint32_t> ids_;
    std::vector<std::size_t> columns_;
    std::vector<double> wanted_;
};

/// One way to compute Y, and what it took in each round.
struct contender {
    std::string name;
    std::function<void(std::size_t matrix)> multiply;
    std::function<void()> rest;
    std::vector<double> seconds;  // of one product
    double error = 0;
};

/// Contenders take turns; around each round the roofs are measured.
struct rounds {
    std::vector<contender>* contenders;
    std::vector<bench::peaks> peaks;
    std::vector<double> read_speed;

    void play(const bench_state& state, const matrix_set& set, std::size_t count) {
        const std::size_t threads = state.run.threads;
        const std::span<const std::byte> memory = set.all().first(count == 1 ? set.each : set.all().size());
        const std::size_t stretch = std::min<std::size_t>(memory.size(), 64'000'000);
        std::size_t repeats = 1, at = 0;
        const double begun = bench::seconds();
        for (int round = 0; round < 40; ++round) {
            if (round > 4 && bench::seconds() - begun > state.run.seconds) break;
            peaks.push_back(bench::measure_peaks(state.run.room, state.executor()));
            const auto read_at = static_cast<std::size_t>(set.matrices[at % count].data() - memory.data());
            const auto there = memory.subspan(std::min(read_at, memory.size() - stretch), stretch);
            read_speed.push_back(read(there, state.executor()));
            at += (stretch + set.each - 1) / set.each;  // nobody reads what another has just brought into the cache
            for (contender& c : *contenders) {
                c.multiply(at++ % count);  // warms up its code and wakes its threads
                const double start = bench::seconds_of(threads);
                for (std::size_t i = 0; i < repeats; ++i) c.multiply(at++ % count);
                c.seconds.push_back((bench::seconds_of(threads) - start) / static_cast<double>(repeats));
                if (c.rest) c.rest();
            }
            if (round == 0) {  // a turn takes some milliseconds; this round was for warming up
                repeats = static_cast<std::size_t>(std::clamp(4e-3 / contenders->front().seconds[0], 1.0, 64.0));
                for (contender& c : *contenders) c.seconds.clear();
                peaks.clear();
                read_speed.clear();
            }
        }
    }

private:
    static double read(std::span<const std::byte> memory, qlib::executor_ref executor) {
        const std::size_t times = 1 + 16'000'000 / memory.size();
        if (times > 1) bench::read_all(memory, executor);
        const double start = bench::seconds_of(executor.workers());
        for (std::size_t i = 0; i < times; ++i) bench::read_all(memory, executor);
        return static_cast<double>(times * memory.size()) / (bench::seconds_of(executor.workers()) - start);
    }
};

/// The median of `value` over rounds.
template <class Value> double over_rounds(std::size_t count, const Value& value) {
    std::vector<double> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(value(i));
    return median(std::move(all));
}

/// A line of the table.
struct figures {
    std::string_view format;
    std::size_t n = 0, rounds = 0;
    bool cold = false;
    qlib::call_report report;
    double bytes = 0, gigabytes = 0, gigaflops = 0;
    double read_speed = 0, of_read = 0;  // roofs, and the fractions of them that were made
    bench::peaks peaks;
    double of_peak = 0;
};

figures summarize(const matrix_set& set, const rounds& r, std::size_t n, double operations,
                  const qlib::call_report& report) {
    figures f{qlib::format_name(set.format),
              n,
              r.contenders->front().seconds.size(),
              false,
              report,
              static_cast<double>(set.each),
              0,
              0,
              0,
              0,
              {},
              0};
    const std::vector<double>& ours = r.contenders->front().seconds;
    const bool integer = report.mode == std::string_view("integer");
    const double seconds = median(ours);
    f.gigabytes = f.bytes / seconds * 1e-9;
    f.gigaflops = operations / seconds * 1e-9;
    f.read_speed = median(r.read_speed) * 1e-9;
    f.of_read = over_rounds(ours.size(), [&](std::size_t i) { return f.bytes / ours[i] / r.read_speed[i]; });
    f.peaks.dot = over_rounds(ours.size(), [&](std::size_t i) { return r.peaks[i].dot; }) * 1e-9;
    f.peaks.bf16 = over_rounds(ours.size(), [&](std::size_t i) { return r.peaks[i].bf16; }) * 1e-9;
    f.peaks.fma = over_rounds(ours.size(), [&](std::size_t i) { return r.peaks[i].fma; }) * 1e-9;
    f.of_peak = over_rounds(ours.size(), [&](std::size_t i) {
        const double peak = integer ? r.peaks[i].dot : r.peaks[i].fma;
        return peak > 0 ? operations / ours[i] / peak : 0;
    });
    return f;
}

/// How many times the speed of a peer ours is.
double ratio_to(const contender& ours, const contender& theirs) {
    return over_rounds(ours.seconds.size(), [&](std::size_t i) { return theirs.seconds[i] / ours.seconds[i]; });
}

void print(const figures& f, const std::vector<contender>& contenders) {
    const bool by_memory = f.n <= 8;
    std::printf("%-16s %3zu %-8s %-5s %8.2f %8.1f %5.1f%% %-4s", std::string(f.format).c_str(), f.n, f.report.mode,
                f.report.path, f.gigabytes, f.gigaflops, 100 * (by_memory ? f.of_read : f.of_peak),
                by_memory                                      ? "read"
                : f.report.mode == std::string_view("integer") ? "dot"
                                                               : "fma");
    const contender* best = nullptr;
    for (std::size_t i = 1; i < contenders.size(); ++i)
        if (best == nullptr || ratio_to(contenders[0], contenders[i]) < ratio_to(contenders[0], *best))
            best = &contenders[i];
    if (best != nullptr) std::printf(" %7.2f %-11s", ratio_to(contenders[0], *best), best->name.c_str());
    else std::printf(" %7s %-11s", "", "");
    std::printf(" %8.1e", contenders[0].error);
    if (best != nullptr) std::printf(" %8.1e", best->error);
    std::printf("\n");
    std::fflush(stdout);
}

void write_json(bench_state& state, const figures& f, const std::vector<contender>& contenders) {
    if (state.json == nullptr) return;
    std::fprintf(state.json,
                 "%s\n  {\"format\": \"%s\", \"n\": %zu, \"rows\": %zu, \"cols\": %zu, \"threads\": %zu, \"cold\": %s, "
                 "\"room\": \"%s\", \"mode\": \"%s\", \"path\": \"%s\", \"rounds\": %zu, \"bytes\": %.0f, "
                 "\"gigabytes\": %.4g, \"gigaflops\": %.5g, \"read_speed\": %.4g, \"of_read\": %.4g, "
                 "\"dot_peak\": %.5g, \"bf16_peak\": %.5g, \"fma_peak\": %.5g, \"of_peak\": %.4g, \"error\": %.3g, "
                 "\"peers\": [",
                 state.first ? "[" : ",", std::string(f.format).c_str(), f.n, state.run.rows, state.run.cols,
                 state.run.threads, f.cold ? "true" : "false", qlib::room_name(f.report.room), f.report.mode,
                 f.report.path, f.rounds, f.bytes, f.gigabytes, f.gigaflops, f.read_speed, f.of_read, f.peaks.dot,
                 f.peaks.bf16, f.peaks.fma, f.of_peak, contenders[0].error);
    for (std::size_t i = 1; i < contenders.size(); ++i)
        std::fprintf(state.json, "%s{\"name\": \"ggml %s %s\", \"ratio\": %.4g, \"error\": %.3g}", i > 1 ? ", " : "",
                     state.peer->variant().c_str(), contenders[i].name.c_str(), ratio_to(contenders[0], contenders[i]),
                     contenders[i].error);
    std::fprintf(state.json, "]}");
    state.first = false;
}

/// One format and n.
void measure(bench_state& state, const matrix_set& set, const std::vector<ggml_peer::weights>& held, std::size_t n) {
    const qgemm_run& run = state.run;
    const std::size_t count = n < 16 ? set.matrices.size() : 1;
    std::vector<float> y(n * run.rows);
    qlib::call_report report;
    qlib::call how{.run = state.executor(), .room = run.room, .report = &report};
    const auto scratch_bytes = qlib::qgemm_scratch_bytes(set.format, n, run.rows, run.cols, run.options, how);
    std::vector<std::byte> scratch(scratch_bytes ? *scratch_bytes : 0);
    how.scratch = scratch;
    const error_check check(state, set, n);
    std::vector<contender> contenders;
    const auto ours = [&](std::size_t matrix) {
        demand(qlib::qgemm({y.data(), n, run.rows}, {state.x.data(), n, run.cols},
                           {set.format, set.matrices[matrix], run.rows, run.cols}, run.options, how),
               "qgemm");
    };
    contenders.push_back({"qlib", ours, {}, {}, 0});
    contenders[0].multiply(0);
    contenders[0].error = check.of(y);
    std::vector<ggml_peer::products> products;
    for (const ggml_peer::weights& w : held) products.push_back(state.peer->multiply(w, state.x.data(), n, count));
    for (std::size_t i = 0; i < held.size(); ++i) {
        const ggml_peer& peer = *state.peer;
        const ggml_peer::products& p = products[i];
        peer.run(p, 0);
        peer.read(p, 0, y);
        contenders.push_back({held[i].kind,
                              [&peer, &p](std::size_t matrix) { peer.run(p, matrix); },
                              [&peer] { peer.rest(); },
                              {},
                              check.of(y)});
        peer.rest();
    }
    rounds r{&contenders, {}, {}};
    r.play(state, set, count);
    figures f = summarize(set, r, n, 2.0 * static_cast<double>(n * run.rows * run.cols), report);
    f.cold = count > 1;
    print(f, contenders);
    write_json(state, f, contenders);
}

/// All n of a format.
void measure_format(bench_state& state, qlib::format_id format) {
    const auto set = make_matrices(state, format);
    if (!set) return std::printf("%-16s not compiled\n", std::string(qlib::format_name(format)).c_str()), void();
    std::vector<ggml_peer::weights> held;
    const auto number = static_cast<unsigned>(format);
    if (state.peer && number < 0x1000)
        held = state.peer->hold(static_cast<int>(number), state.run.rows, state.run.cols, set->matrices);
    for (const std::size_t n : state.run.n) measure(state, *set, held, n);
}

int run_all(bench_state& state) {
    const qgemm_run& run = state.run;
    state.x = noise(*std::max_element(run.n.begin(), run.n.end()) * run.cols, 2);
    if (run.threads > 1) state.pool = std::make_unique<qlib::thread_pool>(run.threads);
    if (!run.libraries.empty()) state.peer.emplace(run.libraries, run.variant, static_cast<int>(run.threads));
    if (!run.json.empty() && (state.json = std::fopen(run.json.c_str(), "w")) == nullptr)
        throw std::runtime_error("cannot write " + run.json);
    std::printf("%zu x %zu weights, %zu thread%s, room %s, weights %s%s%s\n", run.rows, run.cols, run.threads,
                run.threads > 1 ? "s" : "", qlib::room_name(qlib::resolve_room(run.room)),
                run.cold_megabytes != 0 ? "from memory for n < 16" : "in cache", state.peer ? ", ggml " : "",
                state.peer ? state.peer->variant().c_str() : "");
    std::printf("%-16s %3s %-8s %-5s %8s %8s %6s %-4s %7s %-11s %8s %8s\n", "format", "n", "mode", "path", "GB/s",
                "GF/s", "made", "of", "x ggml", "", "error", "ggml's");
    int failed = 0;
    for (const qlib::format_id format : run.formats) try {
            measure_format(state, format);
        } catch (const std::exception& e) {
            std::printf("%-16s %s\n", std::string(qlib::format_name(format)).c_str(), e.what());
            failed = 1;
        }
    if (state.json != nullptr) std::fprintf(state.json, "%s]\n", state.first ? "[" : "\n"), std::fclose(state.json);
    return failed;
}

}  // namespace

int main(int argc, char** argv) try {
    bench_state state{bench::parse_qgemm_run(argc, argv), {}, nullptr, std::nullopt};
    return run_all(state);
} catch (const std::exception& e) {
    std::fprintf(stderr, "qgemm: %s\n", e.what());
    return 1;
}
