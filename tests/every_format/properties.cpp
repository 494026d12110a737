// What every format keeps, whoever made it: named ones and the user's own.
#include "../support/guarded.hpp"
#include "../support/matrix.hpp"
#include "../support/rooms.hpp"
#include "../support/threads.hpp"
#include "subject.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string_view>

namespace {

using qlib::isa, qlib::matrix_view;

const std::vector<subject>& all_formats() {
    static const std::vector<subject> all = [] {
        auto formats = named_formats();
        for (subject& s : custom_formats()) formats.push_back(std::move(s));
        return formats;
    }();
    return all;
}
/// check(format, its index) for all of them.
template <class Check> void for_each_format(const Check& check) {
    for (std::size_t i = 0; i < all_formats().size(); ++i) {
        CAPTURE(all_formats()[i].name);
        check(all_formats()[i], i);
    }
}

bool any_width(const subject& f) { return f.about.ragged_rows || f.about.flat_blocks; }
/// A lattice's search costs more per weight than all the rest.
bool is_lattice(const subject& f) { return f.about.vec > 1; }
/// A width that every row of the format can have; not whole blocks where it can be.
std::size_t some_cols(const subject& f) {
    return f.about.block_weights() * (f.about.block_weights() < 100 ? 3 : 1) + (any_width(f) ? 21 : 0);
}

/// The same, of a matrix that has rows: flat blocks must end where they do.
std::size_t sliceable_cols(const subject& f) {
    return f.about.flat_blocks ? 5 * f.about.block_weights() : some_cols(f);
}

std::vector<std::byte> quantized(const subject& f, matrix_view<const float> W,
                                 const qlib::quantize_options& options = {.fit = qlib::fit::plain},
                                 const qlib::call& how = {}) {
    std::vector<std::byte> bytes(*f.wire_size(W.rows, W.cols));
    const qlib::status s = f.quantize(W, bytes, options, how);
    if (!s) FAIL_CHECK(f.name << ": " << s.error().rule);
    return bytes;
}
std::vector<float> decoded(const subject& f, std::span<const std::byte> bytes, std::size_t rows, std::size_t cols,
                           const qlib::call& how = {}) {
    std::vector<float> y(rows * cols);
    CHECK(f.dequantize(bytes, {y.data(), rows, cols}, how).ok());
    return y;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
bool all_finite(const std::vector<float>& x) {
    return std::ranges::all_of(x, [](float v) { return std::isfinite(v); });
}

constexpr qlib::fit fits[] = {qlib::fit::plain, qlib::fit::search, qlib::fit::reference};

/// What the levels of a format can keep of weights as sample::weights makes them, in dB: each group's range sent onto
/// them by an exact scale, each weight to the nearest.
double reachable_db(const subject& f) {
    const qlib::description& d = f.about;
    std::vector<float> levels(d.levels.begin(), d.levels.end());
    std::erase_if(levels, [](float l) { return !std::isfinite(l); });
    std::ranges::sort(levels);
    const double bottom = levels.front(), top = levels.back();
    const bool whole_tiles = d.block_bytes() * 8 == d.block_weights() * d.code_bits;  // blocks have no scales
    const auto x = sample::weights(8192, 99);
    double signal = 0, noise = 0;
    for (std::size_t first = 0, n; first < x.size(); first += n) {
        n = std::min(whole_tiles ? 2048 : d.group, x.size() - first);
        const auto group = std::span(x).subspan(first, n);
        const double low = std::ranges::min(group), high = std::ranges::max(group),
                     mean = std::accumulate(group.begin(), group.end(), 0.0,
                                            [](double sum, float v) { return sum + std::abs(double{v}); }) /
                            static_cast<double>(n);
        double s = std::max(-low, high) / std::max(-bottom, top), offset = 0;
        if (levels.size() == 2 && d.map == qlib::form::scaled) s = mean / top;
        if (d.map == qlib::form::shifted) {
            s = (std::max(high, 0.0) - std::min(low, 0.0)) / (top - bottom);
            offset = s != 0 ? s * std::round(std::min(low, 0.0) / s - bottom) : 0;
        } else if (d.map == qlib::form::offset) {
            s = (high - low) / (top - bottom);
            offset = low - s * bottom;
        }
        for (const float v : group) {
            const double u = s != 0 ? (double{v} - offset) / s : 0;
            const auto above = std::ranges::lower_bound(levels, static_cast<float>(u));
            double e = above == levels.end() ? u - top : double{*above} - u;
            if (above != levels.begin()) e = std::min(e, u - double{above[-1]});
            signal += double{v} * double{v};
            noise += e * e * s * s;
        }
    }
    return 10 * std::log10(signal / noise);
}

/// What a format must at least keep of them: nearly that, where scales are not coarse. Of four
/// levels three may be all that a fit aims at. Numbers without scales have no table of levels; a
/// lattice has few points among all products of its levels.
double least_db(const subject& f) {
    const qlib::description& d = f.about;
    const double bits = static_cast<double>(d.code_bits) / static_cast<double>(d.vec);
    if (*d.code_type != 0) return bits < 32 ? 50 : 140;
    if (is_lattice(f)) return d.code_bits == 0 ? 2.5 : 5.5 * bits - 4.4;
    const bool power_of_two =
        std::ranges::any_of(d.fields, [](const auto& field) { return std::string_view(field.type).ends_with("e8m0"); });
    return reachable_db(f) - (power_of_two ? 4.2 : d.levels.size() <= 4 ? 3.5 : 1.5);
}

}  // namespace

TEST_CASE(
    "every format keeps its weights under every fit, at every width from 1 to 1100, within its bytes, at any address") {
    for_each_format([](const subject& f, std::size_t index) {
        const std::size_t step = any_width(f) ? 23 : f.about.block_weights(),
                          first = any_width(f) ? 1 + index % step : step;
        double signal[3] = {}, noise[3] = {};
        bool finite = true;
        std::size_t turn = 0;
        for (std::size_t cols = first; cols <= 1100;
             cols += step) {  // of 23 formats with any width each takes every 23rd
            if (is_lattice(f) && cols > 800) break;
            const auto x = sample::weights(2 * cols, cols);
            guarded<float> source{std::span<const float>(x)}, out(2 * cols);
            guarded<std::byte> wire(*f.wire_size(2, cols));  // ends where its page does: begins anywhere
            const std::size_t k = turn++ % 3;
            const qlib::status written = f.quantize({source.data(), 2, cols}, wire.span(), {.fit = fits[k]}, {});
            REQUIRE_MESSAGE(written.ok(), written.error().rule);
            REQUIRE(f.dequantize(wire.span(), {out.data(), 2, cols}, {}).ok());
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double e = double{x[i]} - double{out.data()[i]};
                signal[k] += double{x[i]} * double{x[i]};
                noise[k] += e * e;
                finite = finite && std::isfinite(out.data()[i]);
            }
        }
        CHECK(finite);
        for (std::size_t k = 0; k < 3; ++k) {
            CAPTURE(k);
            CHECK(10 * std::log10(signal[k] / noise[k]) > least_db(f));
        }
    });
}

TEST_CASE("every format says what it cannot hold: parts of blocks, too few bytes, overflowing shapes") {
    for_each_format([](const subject& f, std::size_t) {
        const std::size_t cols = some_cols(f), huge = std::size_t{1} << 40;
        if (!any_width(f)) CHECK(f.wire_size(2, cols + 1).error().code == qlib::errc::ragged);
        CHECK(f.wire_size(huge, huge).error().code == qlib::errc::shape);
        CHECK(*f.wire_size(0, cols) == 0);
        const auto x = sample::weights(2 * cols, 1);
        auto bytes = quantized(f, {x.data(), 2, cols});
        bytes.pop_back();
        std::vector<float> y(x.size(), 7.0f);
        CHECK(f.quantize({x.data(), 2, cols}, bytes, {}, {}).error().code == qlib::errc::shape);
        CHECK(f.dequantize(bytes, {y.data(), 2, cols}, {}).error().code == qlib::errc::shape);
        CHECK(std::ranges::count(y, 7.0f) == static_cast<std::ptrdiff_t>(y.size()));
    });
}

TEST_CASE("every format, zeros stay zero, and tiny and huge weights give finite ones or an error") {
    for_each_format([](const subject& f, std::size_t) {
        const std::size_t cols = some_cols(f);
        const auto of = [&](float even, float odd, qlib::fit fit) {
            std::vector<float> x(cols, even);
            for (std::size_t i = 1; i < cols; i += 2) x[i] = odd;
            std::vector<std::byte> bytes(*f.wire_size(1, cols));
            std::vector<float> y;
            const qlib::status s = f.quantize({x.data(), 1, cols}, bytes, {.fit = fit}, {});
            if (s.ok()) y = decoded(f, bytes, 1, cols);
            else CHECK(s.error().code == qlib::errc::overflow);
            return y;
        };
        for (const qlib::fit fit : fits) {
            CAPTURE(static_cast<int>(fit));
            for (const float zero : {0.0f, -0.0f}) {
                const auto y = of(zero, 0.0f, fit);
                CHECK(y.size() == cols);
                CHECK(std::ranges::count(y, 0.0f) == static_cast<std::ptrdiff_t>(cols));
            }
            for (const float tiny : {0x1p-149f, 1e-40f, 0x1p-126f}) {
                const auto y = of(tiny, -tiny, fit);
                CHECK(y.size() == cols);
                CHECK(std::ranges::all_of(y, [&](float v) { return std::abs(v) <= 0x1p-112f; }));
            }
            for (const float huge : {1e5f, 1e30f, 1e38f, 3e38f, std::numeric_limits<float>::max()})
                for (const float other : {huge, -huge, 0.0f, 1.0f}) {
                    if (is_lattice(f) && other != -huge) continue;
                    CAPTURE(huge);
                    CAPTURE(other);
                    CHECK(all_finite(of(huge, other, fit)));
                }
        }
    });
}

TEST_CASE("every format: a weight that is no number is an error with its place, or what the caller says") {
    for_each_format([](const subject& f, std::size_t) {
        const std::size_t cols = some_cols(f), bad = cols - 3;
        auto x = sample::weights(2 * cols, 5);
        x[cols + bad] = 0;
        const auto zeroed = quantized(f, {x.data(), 2, cols});
        for (const float v : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            x[cols + bad] = v;
            std::vector<std::byte> bytes(zeroed.size());
            for (const qlib::fit fit : fits) {
                const qlib::status s = f.quantize({x.data(), 2, cols}, bytes, {.fit = fit}, {});
                CHECK(s.error().code == qlib::errc::non_finite);
                CHECK(s.error().sizes[0] == 1);
                CHECK(s.error().sizes[1] == bad);
            }
            CHECK(quantized(f, {x.data(), 2, cols},
                            {.fit = qlib::fit::plain, .on_non_finite = qlib::non_finite::zero}) == zeroed);
        }
        x[cols + bad] = std::numeric_limits<float>::quiet_NaN();
        CHECK(quantized(f, {x.data(), 2, cols}, {.fit = qlib::fit::plain, .on_non_finite = qlib::non_finite::clamp}) ==
              zeroed);
    });
}

TEST_CASE("every format: importance of zeros counts as none, and cannot be negative") {
    for_each_format([](const subject& f, std::size_t) {
        const std::size_t cols = some_cols(f);
        const auto x = sample::weights(cols, 6);
        std::vector<float> w(cols, 0.0f);
        for (const qlib::fit fit : {qlib::fit::plain, qlib::fit::search})
            CHECK(quantized(f, {x.data(), 1, cols}, {.fit = fit, .importance = w}) ==
                  quantized(f, {x.data(), 1, cols}, {.fit = fit}));
        w[cols / 2] = 1;  // of one weight something is known; the others have codes too
        const auto y =
            decoded(f, quantized(f, {x.data(), 1, cols}, {.fit = qlib::fit::search, .importance = w}), 1, cols);
        CHECK(all_finite(y));
        w[cols / 2] = -1;
        std::vector<std::byte> bytes(*f.wire_size(1, cols));
        CHECK(f.quantize({x.data(), 1, cols}, bytes, {.importance = w}, {}).error().code == qlib::errc::importance);
        CHECK(f.quantize({x.data(), 1, cols}, bytes, {.importance = std::span(w).first(cols - 1)}, {}).error().code ==
              qlib::errc::importance);
    });
}

TEST_CASE("every format: the same bytes and floats from any room and any number of threads") {
    test_threads team(3);
    for_each_format([&](const subject& f, std::size_t index) {
        const std::size_t rows = is_lattice(f) ? 5 : 35, cols = some_cols(f);
        const auto x = sample::weights(rows * cols, 7);
        const auto alone = quantized(f, {x.data(), rows, cols}, {.fit = qlib::fit::plain}, {.room = isa::portable});
        for (const isa room : sample::rooms())
            CHECK(quantized(f, {x.data(), rows, cols}, {.fit = qlib::fit::plain}, {.run = team, .room = room}) ==
                  alone);
        const std::size_t few = is_lattice(f) ? 1 : 5;
        const auto w = sample::importance(cols, index);
        for (const qlib::fit fit : {qlib::fit::search, qlib::fit::reference})
            for (const auto importance : {std::span<const float>(), std::span<const float>(w)}) {
                const qlib::quantize_options options{.fit = fit, .importance = importance};
                const auto fitted = quantized(f, {x.data(), few, cols}, options, {.room = isa::portable});
                for (const isa room : sample::rooms())
                    if (room != isa::portable)
                        CHECK(quantized(f, {x.data(), few, cols}, options, {.run = team, .room = room}) == fitted);
            }
        const auto y = decoded(f, alone, rows, cols, {.room = isa::portable});
        for (const isa room : sample::rooms())
            CHECK(same_bits(decoded(f, alone, rows, cols, {.run = team, .room = room}), y));
    });
}

TEST_CASE("every format: any bytes decode within their bounds, to the same bits in every room, and one NaN") {
    for_each_format([](const subject& f, std::size_t index) {
        const std::size_t rows = 3, cols = some_cols(f);
        sample::random r{index};
        for (const bool ones : {false, true}) {
            std::vector<std::byte> bytes(*f.wire_size(rows, cols), std::byte{0xFF});
            if (!ones)
                for (std::byte& b : bytes) b = static_cast<std::byte>(r.next());
            guarded<std::byte> wire{std::span<const std::byte>(bytes)};
            std::vector<float> portable;
            for (const isa room : sample::rooms()) {
                const auto y = decoded(f, wire.span(), rows, cols, {.room = room});
                if (portable.empty()) portable = y;
                CHECK(same_bits(y, portable));
                CHECK(std::ranges::all_of(
                    y, [](float v) { return !std::isnan(v) || qlib::detail::bits_of(v) == 0x7FC00000u; }));
                if (!f.multiply) continue;
                const auto x = sample::weights(2 * cols, 8);
                guarded<float> source{std::span<const float>(x)}, product(2 * rows);
                const qlib::status s =
                    f.multiply({product.data(), 2, rows}, {source.data(), 2, cols}, wire.span(), {}, {.room = room});
                CHECK((s.ok() || s.error().code == qlib::errc::unsliceable));
            }
            bytes.insert(bytes.begin(), std::byte{0});  // the same at another address
            CHECK(same_bits(decoded(f, std::span(bytes).subspan(1), rows, cols), portable));
        }
    });
}

TEST_CASE("every format: the compiler encodes and decodes as the program does") {
    std::size_t encoders = 0;
    for_each_format([&](const subject& f, std::size_t) {
        const constant_block& c = f.constant;
        const std::size_t cols = c.decoded.size();
        REQUIRE(cols != 0);
        CHECK(same_bits(decoded(f, c.wire, 1, cols), {c.decoded.begin(), c.decoded.end()}));
        if (c.weights.empty()) return;  // a lattice: its search is not for the compiler
        ++encoders;
        CHECK(std::ranges::equal(quantized(f, {c.weights.data(), 1, cols}), c.wire));
    });
    CHECK(encoders > 40);
}

TEST_CASE("every format: its description counts its bytes") {
    for_each_format([](const subject& f, std::size_t) {
        const qlib::description& d = f.about;
        const std::size_t blocks = 3, cols = blocks * d.block_weights(),
                          across = d.tile.cols != 0 ? (cols + d.tile.cols - 1) / d.tile.cols : 1;
        CHECK(*f.wire_size(1, cols) == blocks * d.block_bytes() + across * d.outer_bytes + d.tensor_bytes);
        CHECK(!d.levels.empty());
        CHECK(qlib::to_json(d, {}, f.name) > 100);
    });
}

TEST_CASE("every format multiplies: exactly what it decodes to, or with activations of 8 bits, in every room") {
    const std::size_t n = 3, rows = 19;
    for_each_format([&](const subject& f, std::size_t) {
        if (!f.multiply) return;
        const std::size_t cols = sliceable_cols(f);
        const auto x = sample::weights(rows * cols, 10), a = sample::weights(n * cols, 11, 1.0);
        const auto bytes = quantized(f, {x.data(), rows, cols});
        const auto w = decoded(f, bytes, rows, cols);
        std::vector<float> want(n * rows), y(n * rows);
        for (std::size_t i = 0; i < want.size(); ++i) {
            double sum = 0;
            for (std::size_t k = 0; k < cols; ++k)
                sum += double{a[i / rows * cols + k]} * double{w[i % rows * cols + k]};
            want[i] = static_cast<float>(sum);
        }
        const bool fractions =
            f.name == "MXINT8" || f.name.starts_with("MXFP4") || f.name == "MXFP6_E2M3" || f.name.starts_with("NVFP4");
        for (const isa room : sample::rooms())
            for (const qlib::compute mode : {qlib::compute::exact, qlib::compute::automatic}) {
                qlib::call_report report;
                REQUIRE(f.multiply({y.data(), n, rows}, {a.data(), n, cols}, bytes, {.mode = mode},
                                   {.room = room, .report = &report})
                            .ok());
                const bool integer = report.mode == std::string_view("integer");
                CHECK(sample::sqnr(want, y) > (integer ? 32 : 100));
                if (fractions)
                    CHECK(integer ==
                          (mode == qlib::compute::automatic));  // their levels are integers after a power of two
            }
    });
}

TEST_CASE("every format takes GPTQ, which is never worse than rounding to nearest") {
    for_each_format([&](const subject& f, std::size_t) {
        if (!f.gptq) return;
        const std::size_t rows = 4, cols = sliceable_cols(f), tokens = 150;
        const auto x = sample::weights(rows * cols, 12);
        auto a = sample::weights(tokens * cols, 13, 1.0);
        for (std::size_t i = 1; i < a.size(); ++i)
            a[i] += 0.9f * a[i - 1];  // neighbours are correlated, as a layer's inputs are
        auto h = qlib::hessian::make(cols);
        REQUIRE(h->add({a.data(), tokens, cols}).ok());
        std::vector<std::byte> bytes(*f.wire_size(rows, cols));
        const auto report = f.gptq({x.data(), rows, cols}, *h, bytes);
        REQUIRE(report.has_value());
        CHECK(report->loss <= report->loss_rtn);
        double loss = 0;
        const auto y = decoded(f, bytes, rows, cols);
        for (std::size_t t = 0; t < tokens; ++t)
            for (std::size_t r = 0; r < rows; ++r) {
                double e = 0;
                for (std::size_t k = 0; k < cols; ++k)
                    e += double{a[t * cols + k]} * (double{x[r * cols + k]} - double{y[r * cols + k]});
                loss += e * e;
            }
        CHECK(loss <= report->loss_rtn * 1.001);
        CHECK(loss == doctest::Approx(report->loss).epsilon(0.001));
    });
}
