// ggml's lattice formats: its decoder, its encoders to the byte, and the search that is better.
#include "support/golden.hpp"
#include "support/matrix.hpp"
#include "support/rooms.hpp"
#include "support/threads.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/gptq.hpp>
#include <qlib/iq_lattices.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cmath>

#define QLIB_LATTICES qlib::iq2_xxs, qlib::iq2_xs, qlib::iq2_s, qlib::iq3_xxs, qlib::iq3_s, qlib::iq1_s, qlib::iq1_m

namespace {

using floats = std::vector<float>;
template <class F> [[maybe_unused]] constexpr bool is_iq1 = !qlib::detail::holds_signs<typename F::grid>;

/// 256 blocks whose bytes are random; scales are 0.0625, or anything finite.
template <class F> std::vector<std::byte> random_blocks(bool random_scale) {
    constexpr std::size_t size = qlib::block_bytes<F>;
    std::vector<std::byte> b(256 * size);
    for (std::size_t i = 0; i < b.size(); ++i)
        b[i] =
            static_cast<std::byte>(golden::mix(static_cast<std::uint32_t>((random_scale ? 0x4000000 : 0) + i)) & 255);
    for (std::size_t i = 0; i < b.size(); i += size) {
        constexpr bool scattered = std::is_same_v<F, qlib::iq1_m>;
        if (random_scale) b[i + (scattered ? 55 : 1)] &= std::byte{0xBF};
        else if (!scattered) b[i] = std::byte{0}, b[i + 1] = std::byte{0x2C};
        else
            for (std::size_t k = 0; k < 4; ++k)
                b[i + 49 + 2 * k] =
                    (b[i + 49 + 2 * k] & std::byte{15}) | static_cast<std::byte>(0x2C00 >> 4 * k << 4 & 0xF0);
    }
    return b;
}
template <class F>
floats floats_of(std::span<const std::byte> bytes, std::size_t rows, std::size_t cols, qlib::call how = {}) {
    floats y(rows * cols);
    REQUIRE(qlib::dequantize<F>(*qlib::qview<F>::over(bytes, rows, cols), {y.data(), rows, cols}, how).ok());
    return y;
}
std::uint64_t hash_of(const floats& y) { return golden::fnv1a(std::as_bytes(std::span(y))); }

template <class F> void check_decoder(std::uint64_t fixed, std::uint64_t random) {
    for (const bool random_scale : {false, true}) {
        const auto bytes = random_blocks<F>(random_scale);
        const auto y = floats_of<F>(bytes, 256, 256);
        CHECK(hash_of(y) == (random_scale ? random : fixed));
        for (const qlib::isa room : sample::rooms())
            CHECK(hash_of(floats_of<F>(bytes, 256, 256, {.room = room})) == hash_of(y));
    }
}
template <class F> void check_encoder(bool with, std::uint64_t bytes, std::uint64_t values) {
    const auto x = golden::weights(), w = golden::importance();
    const auto q = qlib::quantize<F>(golden::view(x), qlib::reference_fit{},
                                     {.importance = with ? std::span<const float>(w) : std::span<const float>()});
    REQUIRE(q.has_value());
    CHECK(golden::fnv1a(q->bytes()) == bytes);
    CHECK(hash_of(floats_of<F>(q->bytes(), 8, 1024)) == values);
}

template <class F, class Fit> floats through(const floats& x, const Fit& fit, std::span<const float> importance = {}) {
    const auto q = qlib::quantize<F>({x.data(), x.size() / 256, 256}, fit, {.importance = importance});
    REQUIRE(q.has_value());
    return floats_of<F>(q->bytes(), x.size() / 256, 256);
}
double error_of(const floats& x, const floats& y, std::span<const float> w = {}) {
    double error = 0, all = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double weight = w.empty() ? 1 : static_cast<double>(w[i % w.size()]),
                     e = static_cast<double>(x[i]) - static_cast<double>(y[i]);
        error += weight * e * e;
        all += weight * static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    return std::sqrt(error / all);
}

}  // namespace

TEST_SUITE("bytes") {
TEST_CASE("lattices decode to ggml's floats") {
    check_decoder<qlib::iq2_xxs>(0xcc2b2e89e7b04281, 0x27c2ae3dbf301552);
    check_decoder<qlib::iq2_xs>(0xec6dc3b63e14216d, 0x8c693fafa75f982f);
    check_decoder<qlib::iq2_s>(0xe6b45924e0bd9ce2, 0x736c216cef0e0c06);
    check_decoder<qlib::iq3_xxs>(0x57cf6df879165f02, 0x38b58ed3ba7aef37);
    check_decoder<qlib::iq3_s>(0xf2206295a9105798, 0x39cbd9d5fc881d19);
    check_decoder<qlib::iq1_s>(0x3b2586609a01f38f, 0xcbf99a9cd0ec3517);
    check_decoder<qlib::iq1_m>(0x957fff02f34ca13b, 0xc59809d0f0404b32);
}
TEST_CASE("reference fits of lattices give ggml's bytes") {
    check_encoder<qlib::iq2_xxs>(true, 0x491e770678939f4b, 0x2fe4d5cb4e94bf8d);
    check_encoder<qlib::iq2_xs>(true, 0x297da81aaa833ad7, 0x9bee8f7378875468);
    check_encoder<qlib::iq2_s>(false, 0x9c34e0ba7ecb92a3, 0x69535c9fe3d28244);
    check_encoder<qlib::iq2_s>(true, 0x005743d9fa0ff64f, 0xdb6618a5b9145c3e);
    check_encoder<qlib::iq3_xxs>(false, 0x4807a89106b6b12e, 0x314db9aba1f31b43);
    check_encoder<qlib::iq3_xxs>(true, 0x8d6469ca63778aac, 0x9497eff738f24ffa);
    check_encoder<qlib::iq3_s>(false, 0xa8742d2565db3692, 0xa45b89576be7b3c3);
    check_encoder<qlib::iq3_s>(true, 0xc0550c0ee0490439, 0x6de67970acbcba2f);
    check_encoder<qlib::iq1_s>(true, 0xaa11fcc2a20cff2a, 0xc778904ccd33e530);
    check_encoder<qlib::iq1_m>(false, 0x1a2ef40bd74425dc, 0xd6d2b74cfa22245c);
    check_encoder<qlib::iq1_m>(true, 0x686de14388c084ad, 0x3fa1837d782ac277);
}
}  // TEST_SUITE("bytes")

#if !defined(QLIB_TEST_BYTES)  // the rest stays out of builds that run this suite alone

TEST_CASE("the point sets are ggml's") {
    const auto hash = [](const auto& points) { return golden::fnv1a(std::as_bytes(std::span(points))); };
    CHECK(hash(qlib::detail::lattice_points<qlib::iq2_xxs_points>) == 0x5bd45ef8a547a7e8);
    CHECK(hash(qlib::detail::lattice_points<qlib::iq2_xs_points>) == 0xa3e52388268ca2a3);
    CHECK(hash(qlib::detail::lattice_points<qlib::iq2_s_points>) == 0xcdb5ae5bcfe7fb32);
    CHECK(hash(qlib::detail::lattice_points<qlib::iq3_xxs_points>) == 0x2748ed45beb63233);
    CHECK(hash(qlib::detail::lattice_points<qlib::iq3_s_points>) == 0x5f1781aa06d14fbf);
    CHECK(hash(qlib::detail::lattice_points<qlib::iq1_points>) == 0x31aaba1fc89a41d0);
    for (const std::size_t k : {0u, 1u, 1029u, 2047u}) {
        std::size_t number = 0, place = 1;
        for (const std::uint8_t digit : qlib::detail::lattice_digits<qlib::iq1_points>[k]) {
            number += digit * place;
            place *= 3;
        }
        CHECK(qlib::detail::lattice_index<qlib::iq1_points>[number] == k);
    }
    for (const std::int8_t v : qlib::detail::lattice_points<qlib::iq1_points>[1029]) CHECK(v == 0);
    CHECK(std::ranges::count_if(qlib::detail::lattice_index<qlib::iq3_s_points>,
                                [](auto i) { return i != qlib::detail::no_point; }) == 512);
}

TEST_CASE_TEMPLATE("ggml's neighbours of what is no point: as many as there are, none lost", F, QLIB_LATTICES) {
    using L = typename F::grid::points;
    std::size_t shells = 3;
    if constexpr (requires { F::recipe; }) shells = F::recipe.shells;
    qlib::detail::ggml_neighbours<L> near;
    std::size_t most = 0, wrong = 0;
    for (std::size_t n = 0; n < qlib::detail::lattice_index<L>.size(); ++n) {
        if (qlib::detail::lattice_index<L>[n] != qlib::detail::no_point) continue;
        std::uint8_t digits[L::dims];
        for (std::size_t i = 0, rest = n; i < L::dims; ++i, rest /= L::base)
            digits[i] = static_cast<std::uint8_t>(rest % L::base);
        near.find(digits, shells);
        most = std::max(most, near.count());
        if (n % 7 != 0) continue;  // the list itself
        std::vector<std::size_t> at(L::dims * L::base * L::base + 1);
        for (std::size_t k = 0; k < L::count; ++k) {
            std::size_t distance = 0;
            for (std::size_t i = 0; i < L::dims; ++i) {
                const int off = digits[i] - qlib::detail::lattice_digits<L>[k][i];
                distance += static_cast<std::size_t>(off * off);
            }
            ++at[distance];
        }
        std::size_t want = 0;
        for (std::size_t d = 1, left = shells; d < at.size() && left != 0; ++d) {
            want += at[d];
            left -= at[d] != 0;
        }
        wrong += near.count() != want;
    }
    CHECK(wrong == 0);
    CHECK(most < qlib::detail::ggml_neighbours<L>::most);
}

TEST_CASE_TEMPLATE("all bytes of a lattice's block mean something, and are stored again as they were", F,
                   QLIB_LATTICES) {
    const auto bytes = random_blocks<F>(true);
    for (std::size_t b = 0; b < 256; ++b) {
        std::array<typename F::code, qlib::codes<F>> codes{};
        const std::byte* const from = &bytes[b * qlib::block_bytes<F>];
        const auto params = F::load(std::array{from}, {}, codes);
        std::array<std::byte, qlib::block_bytes<F>> back{};
        F::store(params, std::span<const typename F::code>(codes), std::array{back.data()});
        REQUIRE(std::equal(back.begin(), back.end(), from));
        const auto alone = F::load(std::array{from}, {}, {});
        REQUIRE(alone.sub == params.sub);
        REQUIRE(alone.super == params.super);
    }
}

TEST_CASE_TEMPLATE("the nearest code of levels is their own", F, QLIB_LATTICES) {
    const auto bytes = random_blocks<F>(false);
    std::array<typename F::code, qlib::codes<F>> codes{};
    F::load(std::array{bytes.data()}, {}, codes);
    const floats ones(F::vec, 1.0f);
    for (const auto c : codes) {
        float l[F::vec], again[F::vec];
        F::level(c, l);
        F::level(F::nearest(l, ones.data()), again);
        for (std::size_t i = 0; i < F::vec; ++i) CHECK(again[i] == l[i]);
    }
}

TEST_CASE_TEMPLATE("search beats ggml's encoder, with importance, without, and on blocks with holes", F,
                   QLIB_LATTICES) {
    const std::size_t n = 24 * 256;
    auto x = sample::weights(n, 1), w = sample::importance(256, 2);
    for (std::size_t i = 0; i < n; i += 53) x[i] *= 3;
    CHECK(error_of(x, through<F>(x, qlib::search_fit{}, w), w) <
          0.97 * error_of(x, through<F>(x, qlib::reference_fit{}, w), w));
    CHECK(error_of(x, through<F>(x, qlib::search_fit{})) < 0.99 * error_of(x, through<F>(x, qlib::reference_fit{})));
    for (std::size_t i = 0; i < n; ++i)
        if (i / 32 % 3 == 1) x[i] = 0;  // ggml's IQ3_S stores what follows in the wrong place
    CHECK(error_of(x, through<F>(x, qlib::search_fit{}, w), w) <
          0.98 * error_of(x, through<F>(x, qlib::reference_fit{}, w), w));
    if constexpr (std::is_same_v<F, qlib::iq3_s>) {
        CHECK(error_of(x, through<F>(x, qlib::reference_fit{}, w)) > 0.5);
        CHECK(error_of(x, through<F>(x, qlib::plain_fit{}, w)) < 0.5);
    }
}

TEST_CASE_TEMPLATE("zeros, one weight alone, weights that count for nothing, tiny and huge ones", F, QLIB_LATTICES) {
    const floats zero(256, 0.0f), ones(256, 1.0f);
    for (const auto& y : {through<F>(zero, qlib::reference_fit{}, ones), through<F>(zero, qlib::search_fit{}, ones)})
        for (const float v : y) CHECK(v == 0);
    const auto q = qlib::quantize<F>({zero.data(), 1, 256}, qlib::reference_fit{}, {.importance = ones});
    for (const std::byte b : q->bytes()) CHECK(b == std::byte{0});
    CHECK(std::signbit(through<F>(zero, qlib::reference_fit{}, ones)[7]) == is_iq1<F>);

    floats alone = zero;
    alone[200] = 1;
    CHECK(error_of(alone, through<F>(alone, qlib::search_fit{}, ones)) < 0.75);
    const auto x = sample::weights(256, 3);
    const double plain = error_of(x, through<F>(x, qlib::search_fit{}, ones));
    CHECK(error_of(x, through<F>(x, qlib::search_fit{}, zero)) < 1.2 * plain);  // as if nothing were known
    floats half = ones;
    for (std::size_t i = 0; i < 256; i += 2) half[i] = 0;
    CHECK(error_of(x, through<F>(x, qlib::search_fit{}, half)) < 1);
    for (const float factor : {0x1p-14f, 0x1p12f}) {
        floats scaled = x;
        for (float& v : scaled) v *= factor;
        CHECK(error_of(scaled, through<F>(scaled, qlib::search_fit{}, ones)) == doctest::Approx(plain).epsilon(0.05));
    }
    floats tiny = x, huge = x;
    for (float& v : tiny) v *= 0x1p-120f;
    for (float& v : huge) v *= 0x1p100f;
    for (const float v : through<F>(tiny, qlib::search_fit{}, ones)) CHECK(v == 0);
    const auto beyond = qlib::quantize<F>({huge.data(), 1, 256}, qlib::search_fit{});
    CHECK(!beyond);
    CHECK(beyond.error().code == qlib::errc::overflow);
    CHECK(qlib::quantize<F>({x.data(), 1, 255}, qlib::search_fit{}).error().code == qlib::errc::ragged);
}

TEST_CASE_TEMPLATE("every room finds the same codes, on any number of threads", F, QLIB_LATTICES) {
    const auto x = sample::weights(8 * 256, 5), w = sample::importance(256, 6);
    const qlib::matrix_view<const float> W{x.data(), 8, 256};
    const auto q = qlib::quantize<F>(W, qlib::search_fit{}, {.importance = w});
    for (const qlib::isa room : sample::rooms()) {
        const auto there = qlib::quantize<F>(W, qlib::search_fit{}, {.importance = w}, {.room = room});
        CHECK(std::ranges::equal(there->bytes(), q->bytes()));
    }
    test_threads team(3);
    const auto by_three = qlib::quantize<F>(W, qlib::search_fit{}, {.importance = w}, {.run = team});
    CHECK(std::ranges::equal(by_three->bytes(), q->bytes()));
}

TEST_CASE("GPTQ goes through lattices") {
    const std::size_t rows = 8, cols = 512, tokens = 600;
    const auto x = sample::weights(rows * cols, 7);
    auto a = sample::weights(tokens * cols, 8, 1.0);
    for (std::size_t i = 1; i < a.size(); ++i) a[i] += 0.7f * a[i - 1];  // neighbours that know of each other
    auto h = qlib::hessian::make(cols);
    REQUIRE(h->add(qlib::matrix_view<const float>{a.data(), tokens, cols}).ok());
    const auto check = [&](const auto& done) {
        REQUIRE(done.has_value());
        CHECK(done->report.loss < 0.9 * done->report.loss_rtn);
    };
    const auto factor = qlib::factorize(std::move(*h));
    check(qlib::gptq<qlib::iq2_xs>({x.data(), rows, cols}, *factor, qlib::search_fit{}));
    check(qlib::gptq<qlib::iq3_s>({x.data(), rows, cols}, *factor, qlib::search_fit{}));
    check(qlib::gptq<qlib::iq1_s>({x.data(), rows, cols}, *factor, qlib::search_fit{}));
}

#endif
