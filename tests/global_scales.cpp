// Scales under a tensor's scale that multiplies or divides them: NVFP4 as TensorRT Model Optimizer and
// compressed-tensors store it.
#include "support/decoded.hpp"
#include "support/matrix.hpp"

#include <doctest/doctest.h>
#include <qlib/mx.hpp>
#include <qlib/quantize.hpp>

#include <algorithm>
#include <cmath>

TEST_CASE("NVFP4 in planes: the tensor's scale multiplies or divides the groups' scales") {
    std::vector<float> x(32, 0.0f);
    x[0] = 2688;  // 6 * 448: the tensor's scale is 1 either way
    const std::array<float, 6> tail{3,      1.5f,  0.25f,
                                    -0.05f, -0.0f, -2.5f};  // scale 1/2: 6, 3, 0.5, -0.1, 0, -5 (a tie, to -4)
    std::copy(tail.begin(), tail.end(), x.begin() + 16);
    const auto check = [&]<class F>(F*) {
        const auto q = qlib::quantize<F>({x.data(), 1, 32}, qlib::reference_fit{});
        REQUIRE(q.has_value());
        const auto b = q->bytes();
        REQUIRE(b.size() == 16 + 2 + 4);
        const std::array<unsigned, 5> head{0x07, 0, 0, 0, 0}, codes{0x57, 0x81, 0xE0, 0, 0},
            end{0x7E, 0x30, 0, 0, 0x80};
        for (std::size_t i = 0; i < 5; ++i) {
            CHECK(std::to_integer<unsigned>(b[i]) == head[i]);
            CHECK(std::to_integer<unsigned>(b[8 + i]) == codes[i]);
            CHECK(std::to_integer<unsigned>(b[16 + i]) == end[i]);
        }
        CHECK(b[21] == std::byte{0x3F});
        CHECK(decoded<F>(b, 1, 32)[21] == -2);
    };
    check(static_cast<qlib::nvfp4_modelopt*>(nullptr));
    check(static_cast<qlib::nvfp4_compressed_tensors*>(nullptr));
}

TEST_CASE("NVFP4 in planes: real scales, groups of zeros, tensors of zeros, both conventions alike") {
    auto x = sample::weights(16 * 256, 30);
    std::fill_n(x.begin() + 32, 16, 0.0f);
    float amax = 0;
    for (const float v : x) amax = std::max(amax, std::abs(v));
    const auto both = [&]<class F>(F*, float global, unsigned of_zeros) {
        for (const qlib::fit f : {qlib::fit::reference, qlib::fit::plain, qlib::fit::search}) {
            const auto q = qlib::quantize<F>({x.data(), 16, 256}, {.fit = f});
            const auto b = q->bytes();
            CHECK(qlib::detail::load_little_endian<qlib::f32>(&b[b.size() - 4]).value() == global);
            CHECK(std::to_integer<unsigned>(b[16 * 128 + 2]) == (f == qlib::fit::reference ? of_zeros : 0));
            const auto y = decoded<F>(b, 16, 256);
            CHECK(sample::sqnr(x, y) > 19.5);
            CHECK(y[40] == 0);
            const auto scale = qlib::e4m3{std::to_integer<std::uint8_t>(b[16 * 128])}.value();
            const float s = of_zeros == 0x38 ? scale * global : scale / global;
            const auto level = qlib::e2m1{static_cast<std::uint8_t>(std::to_integer<unsigned>(b[0]) & 15)}.value();
            CHECK(y[0] == s * level);
        }
        const std::vector<float> zeros(64, 0.0f);
        for (const qlib::fit f : {qlib::fit::reference, qlib::fit::plain}) {
            const auto q = qlib::quantize<F>({zeros.data(), 2, 32}, {.fit = f});
            CHECK(decoded<F>(q->bytes(), 2, 32) == zeros);
        }
    };
    both(static_cast<qlib::nvfp4_modelopt*>(nullptr), amax / 2688, 0x38);
    both(static_cast<qlib::nvfp4_compressed_tensors*>(nullptr), 2688 / amax, 0x20);
}
