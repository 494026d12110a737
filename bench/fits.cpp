// What the search fit gains over ggml's own encoder at the same bytes: for each format and data set the
// signal-to-noise ratio in dB under plain or importance weights, ours less ggml's; under importance the same
// for a search that minimizes what ggml does, by that measure (importance times the root of x^2 + its mean;
// ggml's mean is that of a row or block, here it is that of all); the shrink factor <x, y> / <x, x> of both;
// and ours over ggml's time, one thread, run in turn.
//
// usage: fits LIBRARIES [--models FOLDER] [--strong WEIGHTS] [FORMAT...]
//   LIBRARIES  the folder of llama.cpp's shared libraries
//   FOLDER     adds two real matrices: FOLDER/stories15M/stories15M-f16.gguf, blk.2.ffn_down.weight, and
//              FOLDER/minilm-outliers/model.safetensors, encoder.layer.0.output.dense.weight
//   WEIGHTS    adds what an exhaustive search gains on so many weights of each set, and ours
//              on the same: every storable scale or super-scale, with every sub-scale. Minutes
//              for thousands; only for formats without offsets
#include <qlib/dequantize.hpp>
#include <qlib/file/gguf.hpp>
#include <qlib/file/mapped_file.hpp>
#include <qlib/file/safetensors.hpp>
#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include "peak.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

/// The best of all maps that the wire can hold, by trial; where a block has two
/// levels, of all super-scales around the plain one.
struct strong_fit {
    static constexpr const char* name = "strong";
    template <class F>
    static constexpr bool serves = F::map == qlib::form::scaled && F::vec == 1 && requires {
        requires sizeof(F::stored_scale::bits) <= 2;
    };

    template <qlib::block_format F> typename F::params block(const qlib::site<F>& s) const {
        using T = typename F::stored_scale;
        auto best = qlib::plain_fit{}.block<F>(s);
        if constexpr (qlib::detail::has_sub_scales<F>) {
            const float plain = best.super.value();
            double least = 1e300;
            typename F::params p{};
            for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
                p.super.bits = static_cast<typename T::storage>(bits);
                const float factor = p.super.value() / std::abs(plain);
                if (!(factor > 0.5f && factor < 1.8f)) continue;
                double sum = 0;
                for (std::size_t g = 0; g < F::groups; ++g) sum += best_sub(s, p, g);
                if (sum < least) {
                    least = sum;
                    best = p;
                }
            }
        } else {
            for (std::size_t g = 0; g < F::groups; ++g) {
                const float plain = std::abs(F::at(best, g).s);
                double least = 1e300;
                auto p = best;
                for (std::uint32_t bits = 0; bits < 1u << 8 * sizeof(T::bits); ++bits) {
                    p.scale[g].bits = static_cast<typename T::storage>(bits);
                    const float factor = std::abs(p.scale[g].value()) / plain;
                    if (!(factor > 0.1f && factor < 2.5f)) continue;
                    if (const double e = error(s, p, g); e < least) {
                        least = e;
                        best = p;
                    }
                }
            }
        }
        return best;
    }

private:
    template <class F> static double error(const qlib::site<F>& s, const typename F::params& p, std::size_t g) {
        return double{qlib::detail::group_error<F>(s, p, g)};
    }
    template <class F> static double best_sub(const qlib::site<F>& s, typename F::params& p, std::size_t g) {
        double least = 1e300;
        int best = 0;
        for (int sub = F::sub_low; sub <= F::sub_high; ++sub) {
            p.sub[g] = static_cast<std::int8_t>(sub);
            if (const double e = error(s, p, g); e < least) {
                least = e;
                best = sub;
            }
        }
        p.sub[g] = static_cast<std::int8_t>(best);
        return least;
    }
};

/// The search with the weights that ggml makes of importance.
struct own_weights_fit {
    static constexpr const char* name = "own weights";
    float mean_square = 0;
    template <qlib::block_format F> typename F::params block(const qlib::site<F>& s) const {
        std::array<float, qlib::block_size<F>> w{};
        for (std::size_t i = 0; i < s.x.size(); ++i) w[i] = s.importance[i] * std::sqrt(mean_square + s.x[i] * s.x[i]);
        return qlib::search_fit{}.block<F>({s.x, std::span(w).first(s.x.size()), s.row_mean_square, s.outer});
    }
};

struct data_set {
    std::string name;
    std::size_t rows = 0, cols = 0;
    std::vector<float> x = {}, importance = {};
    float mean_square = 0;
};

data_set random_set(const char* name, bool heavy_tails) {
    data_set d{name, 64, 1536};
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::student_t_distribution<float> student(4);
    for (std::size_t i = 0; i < d.rows * d.cols; ++i)
        d.x.push_back(0.05f * (heavy_tails ? student(random) : normal(random)));
    return d;
}
data_set f16_set(const char* name, std::size_t rows, std::size_t cols, std::span<const std::byte> bytes) {
    data_set d{name, std::min<std::size_t>(rows, 256), cols};
    for (std::size_t i = 0; i < d.rows * d.cols; ++i)
        d.x.push_back(qlib::detail::load_little_endian<qlib::f16>(bytes.data() + 2 * i).value());
    return d;
}
std::vector<data_set> all_sets(const std::string& models) {
    std::vector<data_set> sets{random_set("Gauss", false), random_set("Student-t 4", true)};
    if (!models.empty()) {
        const auto gguf = qlib::mapped_file::open((models + "/stories15M/stories15M-f16.gguf").c_str());
        const auto safetensors = qlib::mapped_file::open((models + "/minilm-outliers/model.safetensors").c_str());
        if (!gguf || !safetensors) {
            std::printf("no models in %s\n", models.c_str());
            std::exit(1);
        }
        const auto a = qlib::gguf_file::parse(gguf->bytes());
        const auto b = qlib::safetensors_file::parse(safetensors->bytes());
        const auto* s = a ? a->find_tensor("blk.2.ffn_down.weight") : nullptr;
        const auto* m = b ? b->find("encoder.layer.0.output.dense.weight") : nullptr;
        if (s == nullptr || m == nullptr) {
            std::printf("other models in %s\n", models.c_str());
            std::exit(1);
        }
        sets.push_back(
            f16_set("stories15M", static_cast<std::size_t>(s->rows()), static_cast<std::size_t>(s->cols()), s->data));
        sets.push_back(
            f16_set("minilm", static_cast<std::size_t>(m->rows()), static_cast<std::size_t>(m->cols()), m->data));
    }
    for (data_set& d : sets) {
        double sum = 0;
        for (const float x : d.x) sum += double{x} * double{x};
        d.mean_square = static_cast<float>(sum / static_cast<double>(d.x.size()));
        std::mt19937 random(7);
        std::lognormal_distribution<float> square(0, 1);
        for (std::size_t j = 0; j < d.cols; ++j) d.importance.push_back(square(random));
    }
    return sets;
}

using quantize_chunk = std::size_t(int type, const float* src, void* dst, std::int64_t start, std::int64_t rows,
                                   std::int64_t cols, const float* importance);
quantize_chunk* ggml_encoder(const std::string& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (!entry.path().filename().string().starts_with("libggml-base.")) continue;
        if (void* const library = dlopen(entry.path().c_str(), RTLD_NOW))
            return reinterpret_cast<quantize_chunk*>(dlsym(library, "ggml_quantize_chunk"));
    }
    return nullptr;
}

struct quality {
    double decibels = 0, own = 0, shrink = 0;
};

/// Of decoded weights y, under importance weights if they are not empty, and then under ggml's own.
quality quality_of(const data_set& d, std::size_t rows, const std::vector<float>& y,
                   std::span<const float> importance) {
    double signal = 0, noise = 0, own_signal = 0, own_noise = 0, xy = 0, xx = 0;
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t j = 0; j < d.cols; ++j) {
            const double x = double{d.x[r * d.cols + j]}, v = double{y[r * d.cols + j]},
                         w = importance.empty() ? 1.0 : double{importance[j]};
            const double own = w * std::sqrt(double{d.mean_square} + x * x);
            signal += w * x * x;
            noise += w * (x - v) * (x - v);
            own_signal += own * x * x;
            own_noise += own * (x - v) * (x - v);
            xy += x * v;
            xx += x * x;
        }
    }
    return {10 * std::log10(signal / noise), 10 * std::log10(own_signal / own_noise), xy / xx};
}

/// The first rows of a set in format F, once by ggml and once by a fit, in turn.
template <qlib::block_format F> struct contest {
    const data_set& d;
    std::span<const float> importance;
    std::size_t rows;
    std::vector<std::byte> bytes = std::vector<std::byte>(qlib::wire_size<F>(rows, d.cols));
    std::vector<float> y = std::vector<float>(rows * d.cols);

    quality decoded(const std::vector<std::byte>& from) {
        const auto view = qlib::qview<F>::over(from, rows, d.cols);
        if (!view || !qlib::dequantize<F>(*view, {y.data(), rows, d.cols})) std::exit(1);
        return quality_of(d, rows, y, importance);
    }
    quality theirs(quantize_chunk* encode, int type, double& seconds) {
        if constexpr (qlib::has_outer<F>)
            qlib::detail::store_little_endian(qlib::f32::from(1), bytes.data() + bytes.size() - 4);
        const double start = bench::seconds();
        encode(type, d.x.data(), bytes.data(), 0, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(d.cols),
               importance.empty() ? nullptr : importance.data());
        seconds = std::min(seconds, bench::seconds() - start);
        return decoded(bytes);
    }
    template <class Fit> quality ours(const Fit& fit, double& seconds) {
        const auto out = qlib::qspan<F>::over(bytes, rows, d.cols);
        const double start = bench::seconds();
        if (!qlib::quantize_into<F>(qlib::matrix_view<const float>{d.x.data(), rows, d.cols}, *out, fit,
                                    {.importance = importance}))
            std::exit(1);
        seconds = std::min(seconds, bench::seconds() - start);
        return decoded(bytes);
    }
};

template <qlib::block_format F>
void table(const std::vector<data_set>& sets, quantize_chunk* ggml, qlib::format_id id, std::size_t strong) {
    const int type = static_cast<int>(id);
    constexpr bool lattice = F::vec != 1;
    if (double time = 1e9; lattice)
        contest<F>{sets[0], sets[0].importance, 1}.theirs(ggml, type, time);  // its set-up does not count
    for (const bool weighted : {false, true}) {
        if (!weighted &&
            (id == qlib::format_id::iq2_xxs || id == qlib::format_id::iq2_xs || id == qlib::format_id::iq1_s))
            continue;  // ggml refuses
        double sum = 0, own_sum = 0;
        for (const data_set& d : sets) {
            const auto importance = weighted ? std::span<const float>(d.importance) : std::span<const float>();
            if (d.cols % qlib::block_size<F> != 0) continue;
            contest<F> c{d, importance, d.rows};
            double their_time = 1e9, our_time = 1e9;
            quality a, b;
            for (int run = 0; run < (lattice ? 1 : 3); ++run) {
                a = c.theirs(ggml, type, their_time);
                b = c.ours(qlib::search_fit{}, our_time);
            }
            sum += b.decibels - a.decibels;
            char own[16] = "";
            if constexpr (!lattice) {
                if (double time = 1e9; weighted) {
                    const double gain = c.ours(own_weights_fit{d.mean_square}, time).own - a.own;
                    own_sum += gain;
                    std::snprintf(own, sizeof own, "%+.3f", gain);
                }
            }
            std::printf("| %s | %s | %s | %.2f | %+.3f | %s | %.4f / %.4f | %.2f |",
                        std::string(qlib::format_name(id)).c_str(), weighted ? "importance" : "none", d.name.c_str(),
                        b.decibels, b.decibels - a.decibels, own, b.shrink, a.shrink, our_time / their_time);
            if constexpr (strong_fit::serves<F>) {
                if (const std::size_t rows = std::min((strong + d.cols - 1) / d.cols, d.rows); rows != 0) {
                    contest<F> few{d, importance, rows};
                    const std::vector<float> ones(d.cols, 1.0f);
                    double time = 1e9;
                    const quality x = few.theirs(ggml, type, time);
                    if (!weighted) few.importance = ones;  // both of ours by plain least squares
                    const quality best = few.ours(strong_fit{}, time), found = few.ours(qlib::search_fit{}, time);
                    std::printf(" %+.3f of %+.3f |", found.decibels - x.decibels, best.decibels - x.decibels);
                }
            }
            std::printf("\n");
            std::fflush(stdout);
        }
        const auto mean_of = [&](double total) { return total / static_cast<double>(sets.size()); };
        std::printf("| %s | %s | mean | | %+.3f |", std::string(qlib::format_name(id)).c_str(),
                    weighted ? "importance" : "none", mean_of(sum));
        if (weighted && !lattice) std::printf(" %+.3f", mean_of(own_sum));
        std::printf(" | | |\n");
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::string libraries, models;
    std::size_t strong = 0;
    std::vector<qlib::format_id> wanted;
    for (int i = 1; i < argc; ++i) {
        const std::string_view a = argv[i];
        if (a == "--models" && i + 1 < argc) models = argv[++i];
        else if (a == "--strong" && i + 1 < argc) strong = std::strtoul(argv[++i], nullptr, 10);
        else if (const auto id = qlib::format_named(a)) wanted.push_back(*id);
        else libraries = a;
    }
    quantize_chunk* const ggml = libraries.empty() ? nullptr : ggml_encoder(libraries);
    if (ggml == nullptr) {
        std::printf(
            "usage: fits LIBRARIES [--models FOLDER] [--strong WEIGHTS] [FORMAT...]\nLIBRARIES must hold llama.cpp's "
            "libggml-base.\n");
        return 1;
    }
    const std::vector<data_set> sets = all_sets(models);
    std::printf("| format | weights | data | dB | gain | gain by ggml's | shrink, ours / ggml's | time / ggml's |%s\n",
                strong != 0 ? " gain of strong's |" : "");
    std::printf("|---|---|---|---|---|---|---|---|%s\n", strong != 0 ? "---|" : "");
#define QLIB_CONTEST(type)                                                                                \
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), qlib::format_id::type) != wanted.end()) \
        table<qlib::type>(sets, ggml, qlib::format_id::type, strong);
    QLIB_CONTEST(q4_0)
    QLIB_CONTEST(q4_1) QLIB_CONTEST(q5_0) QLIB_CONTEST(q5_1) QLIB_CONTEST(q8_0) QLIB_CONTEST(q2_k) QLIB_CONTEST(q3_k)
        QLIB_CONTEST(q4_k) QLIB_CONTEST(q5_k) QLIB_CONTEST(q6_k) QLIB_CONTEST(iq4_nl) QLIB_CONTEST(iq4_xs)
            QLIB_CONTEST(mxfp4) QLIB_CONTEST(nvfp4) QLIB_CONTEST(tq1_0) QLIB_CONTEST(tq2_0) QLIB_CONTEST(q1_0)
                QLIB_CONTEST(q2_0) QLIB_CONTEST(iq2_xxs) QLIB_CONTEST(iq2_xs) QLIB_CONTEST(iq2_s) QLIB_CONTEST(iq3_xxs)
                    QLIB_CONTEST(iq3_s) QLIB_CONTEST(iq1_s) QLIB_CONTEST(iq1_m)
#undef QLIB_CONTEST
                        return 0;
}
