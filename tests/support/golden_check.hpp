#pragma once
// Holds a format's reference encoder and its decoder against known hashes.
#include "golden.hpp"

#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>
#include <qlib/quantize.hpp>

namespace golden {

/// Hashes of the blocks and of the decoded floats, without importance and with it.
/// Outer values are not part of the blocks.
template <class F>
void check(std::uint64_t plain, std::uint64_t plain_floats, std::uint64_t weighted, std::uint64_t weighted_floats) {
    const auto x = weights();
    const auto w = importance();
    for (const bool with : {false, true}) {
        const auto q = qlib::quantize<F>(view(x), qlib::reference_fit{},
                                         {.importance = with ? std::span<const float>(w) : std::span<const float>()});
        REQUIRE(q.has_value());
        CHECK(fnv1a(q->bytes().first(8 * 1024 / qlib::block_size<F> * qlib::block_bytes<F>)) ==
              (with ? weighted : plain));
        std::vector<float> y(x.size());
        REQUIRE(qlib::dequantize(q->view(), {y.data(), 8, 1024}).ok());
        CHECK(fnv1a(std::as_bytes(std::span(y))) == (with ? weighted_floats : plain_floats));
    }
}

}  // namespace golden
