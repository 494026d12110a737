// The second half of the vocabulary, 16 numbers whatever the width, bytes and codes, against plain code.
#include "support/guarded.hpp"
#include "support/kernel_formats.hpp"
#include "support/vocabulary.hpp"

#include <qlib/fp8.hpp>
#include <qlib/mx.hpp>

#include <algorithm>
#include <string_view>

QLIB_EXACT_BEGIN
namespace {

struct sixteen_reference {
    const char* name;
    bool computes;
    float (*of)(float a, float b, float c, std::size_t lane);
};
constexpr sixteen_reference sixteen_references[] = {
    {"a + b", true, [](float a, float b, float, std::size_t) { return a + b; }},
    {"a - b", true, [](float a, float b, float, std::size_t) { return a - b; }},
    {"times", true, [](float a, float b, float, std::size_t) { return product(a, b); }},
    {"times, then plus", true, [](float a, float b, float c, std::size_t) { return product(a, b) + c; }},
    {"smaller", false, [](float a, float b, float, std::size_t) { return b < a ? b : a; }},
    {"select less", false, [](float a, float b, float c, std::size_t) { return a < b ? b : c; }},
    {"quiet", false, [](float a, float, float, std::size_t) { return is_nan(bits_of(a)) ? float_of(0x7FC00000) : a; }},
    {"stamp", false, [](float a, float, float, std::size_t) { return float_of((bits_of(a) & ~127u) | 77u); }},
    {"stamped", false, [](float a, float, float, std::size_t) { return static_cast<float>(bits_of(a) & 127u); }},
    {"negate", false,
     [](float a, float, float, std::size_t lane) { return float_of(bits_of(a) ^ (negated_lanes >> lane & 1u) << 31); }},
};

/// Formats whose codes are bytes: grids of all widths, steps, tables and small floats, and all layouts.
template <class Check> void in_formats(const Check& check) {
    const auto each = [&]<class... F>(std::type_identity<F>...) {
        const auto one = [&]<class G>() {
            if constexpr (qlib::detail::byte_codes<G>) check.template operator()<G>();
        };
        (one.template operator()<F>(), ...);
    };
    const auto all = [&]<class... F>() { each(std::type_identity<F>{}...); };
    all.template operator()<QLIB_KERNEL_FORMATS, qlib::fp8_e4m3_row, qlib::fp8_e5m2_tile128, qlib::mxfp4,
                            qlib::mxfp6_e3m2, qlib::mxfp6_e2m3, qlib::mxint8, qlib::nvfp4>();
}

}  // namespace

TEST_SUITE_BEGIN("bytes");

TEST_CASE("vocabulary: 16 numbers against plain arithmetic") {
    const operands in;
    in_rooms([&]<class Calls>(Calls) {
        const auto ours = Calls::sixteen_operations();
        REQUIRE(ours.size() == std::size(sixteen_references));
        float a[16], b[16], c[16], got[16];
        for (std::size_t k = 0; k <= ours.size(); ++k) {
            const sixteen_reference* const of = k < ours.size() ? &sixteen_references[k] : nullptr;
            CAPTURE(k);
            if (of != nullptr) REQUIRE(std::string_view(ours[k].name) == of->name);
            std::size_t wrong = 0;
            for (std::size_t at = 0; at + 16 <= in.size(); at += 16) {
                std::memcpy(a, &in.a[at], sizeof a);
                std::memcpy(b, &in.b[at], sizeof b);
                std::memcpy(c, &in.c[at], sizeof c);
                if (of != nullptr) ours[k].run(a, b, c, got);
                else Calls::multiply_add_16(a, b, c, got);
                for (std::size_t l = 0; l < 16; ++l) {
                    const float want = of != nullptr ? of->of(a[l], b[l], c[l], l) : 0;
                    if (of == nullptr) wrong += !is_multiply_add(Calls::R::id, got[l], a[l], b[l], c[l]);
                    else wrong += bits_of(got[l]) != bits_of(want) && !(of->computes && alike(got[l], want));
                }
            }
            CHECK(wrong == 0);
        }
        Calls::splat_16(-2.5f, got);
        CHECK(std::ranges::count(got, -2.5f) == 16);
    });
}

TEST_CASE("vocabulary: some of 16 numbers, within their bounds") {
    in_rooms([&]<class Calls>(Calls) {
        const auto x = some_floats(16, 3);
        for (std::size_t n = 0; n <= 16; ++n) {
            CAPTURE(n);
            guarded<float> from(std::span<const float>(x).first(n)), to(n);
            float got[16];
            Calls::load_some(from.data(), n, got);
            CHECK(std::memcmp(got, x.data(), n * sizeof(float)) == 0);
            CHECK(std::ranges::all_of(got + n, got + 16, [](float v) { return bits_of(v) == 0; }));
            Calls::store_some(x.data(), n, to.data());
            CHECK(std::memcmp(to.data(), x.data(), n * sizeof(float)) == 0);
        }
    });
}

TEST_CASE("vocabulary: numbers of every type, widened") {
    in_rooms([&]<class Calls>(Calls) {
        const auto check = []<class T>(T) {
            guarded<T> all(65536);
            for (std::size_t i = 0; i < 65536; ++i) all.data()[i].bits = static_cast<std::uint16_t>(i);
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < 65536; i += 16) {
                const auto* const from = reinterpret_cast<const std::byte*>(all.data() + i);
                float a[16], b[16];
                Calls::template widen<T>(from, a);
                Calls::template widen_16<T>(from, b);
                for (std::size_t l = 0; l < 16; ++l) {
                    const float want = all.data()[i + l].value();
                    wrong += !alike(a[l], want) || !alike(b[l], want);
                }
            }
            CHECK(wrong == 0);
        };
        check(f16{});
        check(bf16{});
        const auto signed_bytes = some_bytes<std::int8_t>(16, 5);
        guarded<std::int8_t> from{std::span<const std::int8_t>(signed_bytes)};
        float got[16];
        Calls::from_bytes(from.data(), got);
        CHECK(std::ranges::equal(got, signed_bytes, {}, {}, [](std::int8_t v) { return static_cast<float>(v); }));
    });
}

TEST_CASE("vocabulary: numbers put into memory are rounded once, and nothing beside them changes") {
    in_rooms([&]<class Calls>(Calls) {
        const auto check = []<class S, class T>(S, T) {
            const auto x = some_floats(300, 6);
            std::vector<S> from(x.size());
            std::vector<T> want(x.size());
            for (std::size_t i = 0; i < x.size(); ++i) {
                if constexpr (std::same_as<T, float>) want[i] = x[i];
                else want[i] = T::from(x[i]);
                if constexpr (std::same_as<S, float>) from[i] = x[i];
                else from[i] = want[i];
            }
            std::size_t wrong = 0;
            for (const bool streamed : {false, true})
                for (const std::size_t n : {0u, 1u, 15u, 16u, 33u, 64u, 200u, 300u})
                    for (std::size_t shift = 0; shift < 40; shift += 3) {
                        std::vector<std::byte> memory((shift + n + 40) * sizeof(T), std::byte{0xA5}), whole = memory;
                        auto* const out = reinterpret_cast<T*>(memory.data()) + shift;
                        std::memcpy(whole.data() + shift * sizeof(T), want.data(), n * sizeof(T));
                        Calls::template put_numbers<S, T>(from.data(), n, out, streamed);
                        wrong += memory != whole;
                    }
            CHECK(wrong == 0);
        };
        check(0.0f, 0.0f);
        check(0.0f, f16{});
        check(0.0f, bf16{});
        check(f16{}, f16{});
        check(bf16{}, bf16{});
    });
}

TEST_CASE("vocabulary: rows of words to columns") {
    in_rooms([&]<class Calls>(Calls) {
        for (const std::size_t stride : {64u, 68u, 144u, 1001u}) {
            const auto rows = some_bytes<std::byte>(15 * stride + 64, stride);
            guarded<std::byte> from{std::span<const std::byte>(rows)};
            std::byte got[1024];
            Calls::transpose(from.data(), stride, got);
            std::size_t wrong = 0;
            for (std::size_t r = 0; r < 16; ++r)
                for (std::size_t c = 0; c < 16; ++c)
                    wrong += std::memcmp(got + 64 * c + 4 * r, &rows[r * stride + 4 * c], 4) != 0;
            CHECK(wrong == 0);
        }
    });
}

TEST_CASE("vocabulary: the largest magnitude of activations, and their rounding") {
    in_rooms([&]<class Calls>(Calls) {
        for (std::size_t n = 0; n < 70; ++n) {
            CAPTURE(n);
            const auto x = some_floats(n, n, n % 3 != 0);
            guarded<float> from{std::span<const float>(x)};
            word most = 0;
            for (const float v : x) most = std::max(most, bits_of(v) & 0x7FFFFFFF);
            CHECK(Calls::largest_magnitude(from.data(), n) == most);

            guarded<float> near(n);
            sample::random r{n};
            for (float& v : near.span())
                v = r.below(3) == 0 ? static_cast<float>(r.below(509)) * 0.5f - 127.0f
                                    : static_cast<float>(40 * r.normal());
            for (const float factor : {1.0f, 0.5f, 0.3f}) {
                std::vector<std::int8_t> got((n + 15) / 16 * 16);
                std::int32_t sum = 0;
                const std::int32_t told = Calls::round_activations(near.data(), n, factor, got.data());
                std::size_t wrong = 0;
                for (std::size_t i = 0; i < n; ++i) {
                    const int want = std::clamp(
                        static_cast<int>(std::nearbyint(double{product(near.data()[i], factor)})), -127, 127);
                    wrong += got[i] != want;
                    sum += want;
                }
                CHECK(wrong == 0);
                CHECK(told == sum);
            }
        }
    });
}

namespace {

using qlib::detail::operand;

/// Weights and activations, random (kind 0) or as large as they may be where products are summed as in room R.
template <class R, operand How> struct dot_operands {
    std::vector<std::uint8_t> weights;
    std::vector<std::int8_t> x;
    dot_operands(std::size_t steps, int kind)
        : weights(some_bytes<std::uint8_t>(64 * steps, steps)),
          x(some_bytes<std::int8_t>(4 * steps, steps + 1)) {
        constexpr int most = How == operand::sign_transfer ? 128 : R::dot_form.pair_limit != 0 ? 129 : 255;
        for (std::int8_t& v : x) v = static_cast<std::int8_t>(kind == 1 ? 127 : kind == 2 || v == -128 ? -127 : v);
        for (std::uint8_t& w : weights)
            w = static_cast<std::uint8_t>(kind != 0 || (How == operand::weights_unsigned && w > most) ? most : w);
    }
    [[nodiscard]] std::int32_t product(std::size_t w, std::size_t of_x) const {
        return (How == operand::sign_transfer ? static_cast<std::int8_t>(weights[w]) : weights[w]) * x[of_x];
    }
};

template <class Calls, operand How> void check_dots() {
    constexpr std::size_t most = Calls::R::most_summed / 4;
    for (const std::size_t steps : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{60}, most})
        for (const int kind : {0, 1, 2}) {
            CAPTURE(steps);
            CAPTURE(kind);
            const dot_operands<typename Calls::R, How> in(steps, kind);
            const auto start = static_cast<std::int32_t>(128 * 127 * 4 * steps) * (kind == 2 ? -1 : 1);
            float got[16];
            Calls::template dot<How>(start, in.weights.data(), in.x.data(), steps, got);
            for (std::size_t l = 0; l < 16; ++l) {
                std::int32_t sum = start;
                for (std::size_t s = 0; s < steps; ++s)
                    for (std::size_t b = 0; b < 4; ++b) sum += in.product(64 * s + 4 * l + b, 4 * s + b);
                CHECK(got[l] == static_cast<float>(sum));
            }
        }
}
template <class Calls, operand How> void check_lane_dots() {
    for (const int kind : {0, 1, 2}) {
        CAPTURE(kind);
        const dot_operands<typename Calls::R, How> in(16, kind);
        std::int32_t start[16], got[16] = {}, all = 0;
        for (std::size_t l = 0; l < 16; ++l) start[l] = static_cast<std::int32_t>(1000 * l) - 9000;
        const float sum = Calls::template dot_lanes<How>(start, in.weights.data(), in.x.data(), got);
        for (std::size_t l = 0; l < Calls::width; ++l) {
            std::int32_t want = start[l];
            for (std::size_t b = 0; b < 4; ++b) want += in.product(4 * l + b, 4 * l + b);
            CHECK(got[l] == want);
            all += want;
        }
        CHECK(sum == static_cast<float>(all));
    }
}
template <class Calls, std::size_t Group> void check_spread() {
    alignas(64) float maps[32], got[16];
    for (std::size_t i = 0; i < 32; ++i) maps[i] = static_cast<float>(i);
    for (std::size_t v = 0; (v + 1) * 4 * Calls::width <= 16 * Group; ++v) {
        Calls::template spread_lanes<Group>(maps, v, got);
        for (std::size_t l = 0; l < Calls::width; ++l) CHECK(got[l] == maps[(v * Calls::width + l) * 4 / Group]);
    }
}

}  // namespace

TEST_CASE("vocabulary: dot products of bytes, as many as may be summed") {
    in_rooms([&]<class Calls>(Calls) {
        check_dots<Calls, operand::weights_unsigned>();
        check_lane_dots<Calls, operand::weights_unsigned>();
        if constexpr (Calls::R::dot_form.pair_limit != 0) {
            check_dots<Calls, operand::sign_transfer>();
            check_lane_dots<Calls, operand::sign_transfer>();
        }
    });
}

TEST_CASE("vocabulary: maps of groups to the lanes of their weights") {
    in_rooms([&]<class Calls>(Calls) {
        check_spread<Calls, 8>();
        check_spread<Calls, 16>();
        check_spread<Calls, 32>();
        check_spread<Calls, 48>();
        check_spread<Calls, 64>();
        check_spread<Calls, 96>();
        check_spread<Calls, 128>();
    });
}

TEST_CASE("vocabulary: codes to operands") {
    in_rooms([&]<class Calls>(Calls) {
        in_formats([&]<class F>() {
            if constexpr (qlib::detail::integer_levels_of<F>) {
                constexpr auto& map = qlib::detail::operand_map_of<F, qlib::detail::dot_in_int32>;
                constexpr auto& table = qlib::detail::operand_table<F, qlib::detail::dot_in_int32>;
                for (const std::size_t n : {16u, 64u, 65u, 300u}) {
                    auto codes = some_bytes<std::uint8_t>((n + 63) / 64 * 64, n);
                    for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(c % table.size());
                    const auto before = codes;
                    Calls::to_operands(codes.data(), n, map);
                    std::size_t wrong = 0;
                    for (std::size_t i = 0; i < n; ++i) wrong += codes[i] != table[before[i]];
                    CHECK(wrong == 0);
                }
            }
        });
    });
}

TEST_CASE("vocabulary: levels of codes, and codes of wires, which are read within their bounds") {
    in_rooms([&]<class Calls>(Calls) {
        std::size_t formats = 0, layouts = 0;
        in_formats([&]<class F>() {
            constexpr std::size_t count = qlib::detail::code_count<F>;
            ++formats;
            std::size_t wrong = 0;
            for (std::size_t first = 0; first < count; first += 16) {
                std::uint8_t codes[16];
                float got[16];
                for (std::size_t l = 0; l < 16; ++l) codes[l] = static_cast<std::uint8_t>((first + l) % count);
                Calls::template levels<F>(codes, got);
                for (std::size_t l = 0; l < 16; ++l) {
                    const float want = qlib::detail::level_table<F>[codes[l]];
                    wrong += !alike(got[l], want);
                }
            }
            CHECK(wrong == 0);
            const auto unpacked = [&]<std::size_t N>() {
                const auto wire = some_bytes<std::byte>(F::bits::template bytes<F::grid::bits>(N), N);
                guarded<std::byte> from{std::span<const std::byte>(wire)};
                std::uint8_t want[N], got[(N + 63) / 64 * 64];
                F::bits::template unpack<F::grid::bits, std::uint8_t>(wire.data(), std::span<std::uint8_t>(want));
                Calls::template unpack<F, N>(from.data(), got);
                CHECK(std::memcmp(got, want, N) == 0);
                ++layouts;
            };
            if constexpr (Calls::R::template unpacks<F>) {
                unpacked.template operator()<qlib::block_size<F>>();
                unpacked.template operator()<qlib::block_size<F> * Calls::R::template joined_blocks<F>>();
            }
        });
        CHECK(formats > 30);
        CHECK(layouts > 40);
    });
}

TEST_CASE("vocabulary: tables of weights, where a room looks them up") {
    in_rooms([&]<class Calls>(Calls) {
        using R = typename Calls::R;
        auto table = some_floats(32, 9);
        const auto looked_up = [&]<class F, class T>() {
            constexpr std::size_t groups = qlib::detail::groups_per_table<F>, size = qlib::detail::code_count<F>,
                                  n = groups * F::group;
            auto codes = some_bytes<std::uint8_t>(n, n);
            for (std::uint8_t& c : codes) c = static_cast<std::uint8_t>(c % size);
            guarded<std::uint8_t> from{std::span<const std::uint8_t>(codes)};
            guarded<T> got(n);
            Calls::template look_up<groups, F::group, size>(table.data(), from.data(), got.data());
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < n; ++i)
                wrong += got.data()[i].bits != T::from(table[codes[i] + size * (i / F::group)]).bits;
            CHECK(wrong == 0);
        };
        bool any = false;
        in_formats([&]<class F>() {
            if constexpr (R::template looks_up<F, f16>) looked_up.template operator()<F, f16>();
            if constexpr (R::template looks_up<F, bf16>) looked_up.template operator()<F, bf16>();
            any = any || R::template looks_up<F, bf16>;
            static_assert(!R::template looks_up<F, float>);
        });
        if constexpr (R::template looks_up<kernel_formats::split4, bf16>) {
            CHECK(any);
            const auto spread = [&]<std::size_t Size, std::size_t N>() {
                guarded<float> from(std::span<const float>(table).first(N));
                float got[16];
                Calls::template spread<Size, N>(from.data(), got);
                for (std::size_t l = 0; l < 16; ++l)
                    CHECK(bits_of(got[l]) == bits_of(table[std::min(l / Size, N - 1)]));
            };
            spread.template operator()<16, 1>();
            spread.template operator()<8, 2>();
            spread.template operator()<4, 4>();
            spread.template operator()<2, 8>();
            spread.template operator()<4, 2>();
            spread.template operator()<2, 4>();
        }
    });
}

TEST_SUITE_END();
QLIB_EXACT_END
