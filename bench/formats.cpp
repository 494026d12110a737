// Encoding and decoding of every named format: millions of weights a second, and the fraction of memcpy's speed (bytes
// read and written, measured between the runs) that it makes. With the folder of llama.cpp's shared libraries as
// argument ggml's encoders run in turn with ours.
//
// usage: formats [FOLDER] [FORMAT...]
#include <qlib/dequantize.hpp>
#include <qlib/evaluate/metrics.hpp>
#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include "peak.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t rows = 8192, cols = 8192;  // 256 MiB of floats

struct data {
    std::vector<float> weights = std::vector<float>(rows * cols), decoded = std::vector<float>(rows * cols),
                       importance = std::vector<float>(cols);
    std::vector<qlib::bf16> halves = std::vector<qlib::bf16>(rows * cols);
    std::vector<std::byte> bytes = std::vector<std::byte>(rows * cols * 5);

    data() {
        std::mt19937 random(1);
        std::student_t_distribution<float> weight(4);
        std::lognormal_distribution<float> square(0, 1);
        for (std::size_t i = 0; i < 1 << 20; ++i) weights[i] = 0.02f * weight(random);
        for (std::size_t i = 1 << 20; i < weights.size(); ++i) weights[i] = weights[i & ((1 << 20) - 1)];
        for (std::size_t i = 0; i < weights.size(); ++i) halves[i] = qlib::bf16::from(weights[i]);
        for (float& v : importance) v = square(random);
    }
};

/// ggml's encoder, if its library is there.
struct ggml {
    using quantize_chunk = std::size_t(int type, const float* src, void* dst, std::int64_t start, std::int64_t rows,
                                       std::int64_t cols, const float* importance);
    using needs_importance = bool(int type);
    quantize_chunk* quantize = nullptr;
    needs_importance* needs = nullptr;

    /// Whether its encoder takes the type; where it needs importance and gets none it would abort.
    [[nodiscard]] bool takes(int type, bool weighted) const {
        return quantize != nullptr && (weighted || needs == nullptr || !needs(type));
    }

    explicit ggml(const std::string& folder) {
        if (folder.empty()) return;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            if (!entry.path().filename().string().starts_with("libggml-base.")) continue;
            void* const library = dlopen(entry.path().c_str(), RTLD_NOW);
            if (library == nullptr) continue;
            quantize = reinterpret_cast<quantize_chunk*>(dlsym(library, "ggml_quantize_chunk"));
            needs = reinterpret_cast<needs_importance*>(dlsym(library, "ggml_quantize_requires_imatrix"));
        }
        if (quantize == nullptr) std::printf("No ggml in %s: its encoders are left out.\n", folder.c_str());
    }
};

/// The median of some runs, in seconds: five, or fewer where they are long.
template <class Work> double median_time(const Work& work) {
    std::vector<double> times;
    for (double all = 0; times.size() < 5 && (all < 2 || times.size() < 2);) {
        const double start = bench::seconds();
        work();
        all += times.emplace_back(bench::seconds() - start);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

void demand(const qlib::status& s) {
    if (s) return;
    char text[512];
    std::printf("\n%s\n", s.error().format(text, "bench").data());
    std::exit(1);
}

/// Rows of the matrix that take some tenths of a second: slow encoders get fewer.
template <class Encode> std::size_t rows_for(const Encode& encode) {
    std::size_t n = 32;
    for (; n < rows; n *= 4) {
        const double start = bench::seconds();
        encode(n);
        if (bench::seconds() - start > 0.05) break;
    }
    return std::min(n, rows);
}

struct speeds {
    double million = 0, of_memcpy = 0;
};

/// Weights a second of an encoder or decoder, and its bytes a second against memcpy's of as many bytes.
template <class Work> speeds measure(data& d, std::size_t n, double bytes_per_weight, const Work& work) {
    const double time = median_time([&] { work(n); });
    const double weights = static_cast<double>(n * cols);
    const double copy = median_time([&] { std::memcpy(d.decoded.data(), d.weights.data(), 4 * rows * cols); });
    return {weights / time / 1e6, weights * bytes_per_weight / time / (8.0 * static_cast<double>(rows * cols) / copy)};
}

template <qlib::block_format F>
void encode_line(data& d, const ggml& peer, qlib::format_id id, qlib::fit fit, const char* name, bool weighted) {
    const qlib::quantize_options options{
        .fit = fit, .importance = weighted ? std::span<const float>(d.importance) : std::span<const float>()};
    const auto encode = [&](std::size_t n) {
        const auto out = qlib::qspan<F>::over(d.bytes, n, cols);
        demand(qlib::quantize_into<F>(qlib::matrix_view<const float>{d.weights.data(), n, cols}, *out, options));
    };
    const std::size_t n = rows_for(encode);
    const double stored = static_cast<double>(qlib::wire_size<F>(n, cols)) / static_cast<double>(n * cols);
    const speeds s = measure(d, n, 4 + stored, encode);
    std::printf("  %-10s %-10s %8.0f %6.2f", name, weighted ? "importance" : "", s.million, s.of_memcpy);
    const auto q = qlib::qspan<F>::over(d.bytes, n, cols);
    demand(qlib::dequantize<F>(*q, qlib::matrix_view<float>{d.decoded.data(), n, cols}));
    qlib::sqnr quality;
    for (std::size_t i = 0; i < std::min(n, std::size_t{128}) * cols; ++i) quality.add(d.weights[i], d.decoded[i]);
    std::printf(" %7.2f dB", quality.decibels());
    const auto number = static_cast<int>(id);
    if (peer.takes(number, weighted) && number > 1 && number < 0x1000 && number != 30) {
        const std::size_t m = std::min<std::size_t>(n, 512);
        const auto time = median_time([&] {
            peer.quantize(number, d.weights.data(), d.bytes.data(), 0, static_cast<std::int64_t>(m), cols,
                          options.importance.empty() ? nullptr : d.importance.data());
        });
        const double million = static_cast<double>(m * cols) / time / 1e6;
        std::printf("   ggml %8.1f, ours / ggml's %6.1f", million, s.million / million);
    }
    std::printf("\n");
}

template <qlib::block_format F> qlib::status table(data& d, const ggml& peer, qlib::format_id id) {
    const double stored = qlib::bits_per_weight<F>(rows, cols) / 8;
    std::printf("%s, %.4g bits\n", std::string(qlib::format_name(id)).c_str(), 8 * stored);
    for (const bool weighted : {false, true}) {
        if (!weighted) encode_line<F>(d, peer, id, qlib::fit::plain, "plain", weighted);
        if (qlib::has_reference<F>) encode_line<F>(d, peer, id, qlib::fit::reference, "reference", weighted);
        encode_line<F>(d, peer, id, qlib::fit::search, "search", weighted);
    }
    const auto q = qlib::qspan<F>::over(d.bytes, rows, cols);
    const speeds halves = measure(d, rows, 2 + stored, [&](std::size_t n) {
        demand(qlib::quantize_into<F>(qlib::matrix_view<const qlib::bf16>{d.halves.data(), n, cols},
                                      *qlib::qspan<F>::over(d.bytes, n, cols), qlib::plain_fit{}));
    });
    const speeds to_float = measure(d, rows, 4 + stored, [&](std::size_t n) {
        demand(qlib::dequantize<F>(*q, qlib::matrix_view<float>{d.decoded.data(), n, cols}));
    });
    const speeds to_half = measure(d, rows, 2 + stored, [&](std::size_t n) {
        demand(qlib::dequantize<F>(
            *q, qlib::matrix_view<qlib::bf16>{reinterpret_cast<qlib::bf16*>(d.decoded.data()), n, cols}));
    });
    std::printf("  plain      from bf16  %8.0f %6.2f\n", halves.million, halves.of_memcpy);
    std::printf("  decode     to f32     %8.0f %6.2f\n", to_float.million, to_float.of_memcpy);
    std::printf("  decode     to bf16    %8.0f %6.2f\n", to_half.million, to_half.of_memcpy);
    std::fflush(stdout);
    return {};
}

}  // namespace

int main(int count, char** arguments) {
    std::vector<std::string> wanted(arguments + 1, arguments + count);
    std::string folder;
    if (!wanted.empty() && std::filesystem::is_directory(wanted[0])) {
        folder = wanted[0];
        wanted.erase(wanted.begin());
    }
    if (folder.empty()) std::printf("No folder of llama.cpp's libraries given: ggml's encoders are left out.\n");
    const ggml peer(folder);
    static data d;
    const double copy = median_time([] { std::memcpy(d.decoded.data(), d.weights.data(), 4 * rows * cols); });
    std::printf(
        "memcpy: %.1f GB/s, read and written. Columns: millions of weights a second, fraction of memcpy's speed, "
        "signal to noise.\n",
        8e-9 * static_cast<double>(rows * cols) / copy);
    for (const qlib::format_id id : qlib::all_format_ids) {
        const std::string name(qlib::format_name(id));
        if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
        demand(qlib::visit(id, [&]<qlib::block_format F>() -> qlib::status { return table<F>(d, peer, id); }));
    }
}
