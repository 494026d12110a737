// The vocabulary of every room, room/vocabulary.hpp, on zeros, subnormals, infinities, NaNs and random numbers: what a
// lane does is what one_lane does; what goes across lanes, against plain code.
#include "support/vocabulary.hpp"
#include "support/guarded.hpp"

#include <algorithm>

QLIB_EXACT_BEGIN
TEST_SUITE_BEGIN("bytes");

TEST_CASE("vocabulary: a lane does what one_lane does") {
    const operands in;
    in_rooms([&]<class Calls>(Calls) {
        const auto ours = Calls::lane_operations(), one = calls_in_one_lane::lane_operations();
        for (std::size_t k = 0; k < ours.size(); ++k) {
            const std::string name = ours[k].name;
            CAPTURE(name);
            std::size_t wrong = 0, example = 0;
            for (std::size_t at = 0; at < in.size(); at += Calls::width) {
                word got[Calls::width];
                ours[k].run(&in.a[at], &in.b[at], &in.c[at], got);
                for (std::size_t l = 0; l < Calls::width; ++l) {
                    word want = 0;
                    one[k].run(&in.a[at + l], &in.b[at + l], &in.c[at + l], &want);
                    if (got[l] == want || (ours[k].computes && alike(got[l], want))) continue;
                    ++wrong;
                    example = at + l;
                }
            }
            CAPTURE(in.a[example]);
            CAPTURE(in.b[example]);
            CAPTURE(in.c[example]);
            CHECK(wrong == 0);
        }
    });
}

TEST_CASE("vocabulary: a product is fused into a sum only where that is asked for") {
    const operands in;
    in_rooms([&]<class Calls>(Calls) {
        std::size_t fused = 0, apart = 0, behind = 0;
        for (std::size_t at = 0; at < in.size(); at += Calls::width) {
            word sum[Calls::width], twice[Calls::width], barred[Calls::width];
            Calls::multiply_add(&in.a[at], &in.b[at], &in.c[at], sum);
            Calls::multiply_then_add(&in.a[at], &in.b[at], &in.c[at], twice);
            Calls::multiply_barrier_add(&in.a[at], &in.b[at], &in.c[at], barred);
            for (std::size_t l = 0; l < Calls::width; ++l) {
                const float a = float_of(in.a[at + l]), b = float_of(in.b[at + l]), c = float_of(in.c[at + l]);
                fused += !is_multiply_add(Calls::R::id, float_of(sum[l]), a, b, c);
                apart += !alike(float_of(twice[l]), product(a, b) + c);
                behind += !alike(float_of(barred[l]), product(a, b) + c);
            }
        }
        CHECK(fused == 0);
        CHECK(apart == 0);
        CHECK(behind == 0);
    });
}

TEST_CASE("vocabulary: single lanes, and what goes across them") {
    const operands in;
    in_rooms([&]<class Calls>(Calls) {
        constexpr std::size_t width = Calls::width;
        std::size_t wrong = 0;
        for (std::size_t at = 0; at < in.size(); at += width) {
            const word* const a = &in.a[at];
            word out[width];
            Calls::splat_float(float_of(a[0]), out);
            wrong += std::ranges::count(out, a[0]) != width;
            Calls::splat_int(static_cast<std::int32_t>(a[1]), out);
            wrong += std::ranges::count(out, a[1]) != width;
            for (std::size_t l = 0; l < width; ++l) {
                wrong += bits_of(Calls::lane_of_floats(a, l)) != a[l] ||
                         static_cast<word>(Calls::lane_of_ints(a, l)) != a[l];
                word want[width];
                std::copy_n(a, width, want);
                want[l] = in.b[at];
                Calls::set_lane_of_floats(a, l, float_of(in.b[at]), out);
                wrong += !std::ranges::equal(out, want);
                Calls::set_lane_of_ints(a, l, static_cast<std::int32_t>(in.b[at]), out);
                wrong += !std::ranges::equal(out, want);
            }
            bool negative = false;
            float least[width];
            for (std::size_t l = 0; l < width; ++l) {
                negative = negative || a[l] >> 31 != 0;
                least[l] = is_nan(a[l]) ? 1.0f : float_of(a[l]);
            }
            wrong += Calls::any(a) != negative;
            word numbers[width];
            std::memcpy(numbers, least, sizeof numbers);
            wrong += Calls::least_of(numbers) != *std::ranges::min_element(least);
        }
        CHECK(wrong == 0);
        for (std::size_t l = 0; l <= width; ++l) {  // one lane alone, or none
            word one[width] = {};
            if (l < width) one[l] = 0x80000000;
            CHECK(Calls::any(one) == (l < width));
        }
    });
}

TEST_CASE("vocabulary: bytes and floats from and to memory, within its bounds") {
    const operands in;
    in_rooms([&]<class Calls>(Calls) {
        constexpr std::size_t width = Calls::width;
        guarded<std::uint8_t> one(width), four(4 * width);
        guarded<float> from(width), to(width);
        std::size_t wrong = 0;
        for (std::size_t at = 0; at + 4 * width <= in.size(); at += 4 * width) {
            Calls::put_bytes(&in.a[at], one.data());
            word codes[4 * width], got[width];
            for (std::size_t l = 0; l < 4 * width; ++l) {
                codes[l] = in.a[at + l] & 255;
                if (l < width) wrong += one.data()[l] != codes[l];
            }
            Calls::get_bytes(one.data(), got);
            wrong += !std::equal(got, got + width, codes);
            Calls::put_4_bytes(codes, four.data());
            wrong += !std::equal(codes, codes + 4 * width, four.data());
            std::memcpy(from.data(), &in.b[at], 4 * width);
            Calls::copy_floats(from.data(), to.data());
            wrong += std::memcmp(to.data(), &in.b[at], 4 * width) != 0;
        }
        CHECK(wrong == 0);
    });
}

TEST_CASE("vocabulary: blocks to lanes, and lanes to blocks") {
    in_rooms([&]<class Calls>(Calls) {
        constexpr std::size_t width = Calls::width;
        for (const std::size_t n : {0u, 1u, 7u, 8u, 16u, 21u, 32u, 50u}) {
            CAPTURE(n);
            std::vector<std::vector<float>> blocks;
            std::vector<std::vector<std::byte>> apart(width, std::vector<std::byte>(n + 1, std::byte{0xA5}));
            const float* from[width];
            std::byte* to[width];
            for (std::size_t l = 0; l < width; ++l) {
                blocks.push_back(some_floats(n, l));
                from[l] = blocks[l].data();
                to[l] = apart[l].data();
            }
            std::vector<word> lanes(n * width);
            Calls::gather(from, n, lanes.data());
            const auto codes = some_bytes<std::uint8_t>(n * width, n);
            Calls::scatter(codes.data(), n, to);
            std::size_t wrong = 0;
            for (std::size_t l = 0; l < width; ++l) {
                for (std::size_t i = 0; i < n; ++i)
                    wrong += lanes[i * width + l] != bits_of(blocks[l][i]) ||
                             apart[l][i] != static_cast<std::byte>(codes[i * width + l]);
                wrong += apart[l][n] != std::byte{0xA5};
            }
            CHECK(wrong == 0);
        }
    });
}

TEST_SUITE_END();
QLIB_EXACT_END
