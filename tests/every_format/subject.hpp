#pragma once
// A format as the properties see it: functions and values, so that they are compiled once and not once per format.
#include <qlib/format/describe.hpp>
#include <qlib/gptq.hpp>
#include <qlib/qgemm.hpp>
#include <qlib/quantize.hpp>
#include <qlib/kernel/decode_block.hpp>

#include <functional>
#include <string>
#include <vector>

/// One block that the compiler has encoded and decoded, with every plane and outer
/// value. No weights: it has decoded only.
struct constant_block {
    std::span<const float> weights, decoded;
    std::span<const std::byte> wire;
};

struct subject {
    std::string name;
    qlib::description about;
    constant_block constant;
    std::function<qlib::result<std::size_t>(std::size_t rows, std::size_t cols)> wire_size;
    std::function<qlib::status(qlib::matrix_view<const float>, std::span<std::byte>, const qlib::quantize_options&,
                               const qlib::call&)>
        quantize;
    std::function<qlib::status(std::span<const std::byte>, qlib::matrix_view<float>, const qlib::call&)> dequantize;
    /// Y = X * W^T; empty: not compiled for this format.
    std::function<qlib::status(qlib::matrix_view<float>, qlib::matrix_view<const float>, std::span<const std::byte>,
                               qlib::gemm_options, const qlib::call&)>
        multiply = {};
    std::function<qlib::result<qlib::gptq_report>(qlib::matrix_view<const float>, const qlib::hessian&,
                                                  std::span<std::byte>)>
        gptq = {};
};

/// All that have a name, by number, and some in other shapes, by type.
std::vector<subject> named_formats();
std::vector<subject> custom_formats();

namespace constants {

template <class F>
inline constexpr auto weights = [] {
    std::array<float, qlib::block_size<F>> x{};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i * 37 % 101) - 47.0f) * 0.011f;
    return x;
}();

template <class F>
inline constexpr typename F::outer outer = [] {
    qlib::tile_stats stats;
    for (const float x : weights<F>) {
        stats.low = qlib::detail::smaller(stats.low, x);
        stats.high = qlib::detail::larger(stats.high, x);
    }
    const float largest[1] = {stats.abs_max()};
    stats.block_abs_max = largest;
    stats.mean_abs_max = largest[0];
    return F::fit_outer(stats);
}();

template <class F>
inline constexpr auto wire = [] {
    std::array<std::byte, qlib::wire_size<F>(1, qlib::block_size<F>)> all{};
    if constexpr (F::vec > 1) {
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = static_cast<std::byte>(i * 29 % 60);  // small enough for an f16 scale anywhere
        return all;
    }
    const auto block = qlib::encode<F>(weights<F>, qlib::plain_fit{}, outer<F>);
    for (std::size_t i = 0; i < block.size(); ++i) all[i] = block[i];
    if constexpr (qlib::has_outer<F>)
        F::store_outer(outer<F>, all.data() + block.size(), all.data() + block.size() + F::outer_bytes);
    return all;
}();

template <class F>
inline constexpr auto decoded = [] {
    qlib::plane_pointers<F, const std::byte> planes{};
    std::size_t at = 0;
    for (std::size_t p = 0; p < planes.size(); at += F::planes[p++]) planes[p] = wire<F>.data() + at;
    typename F::outer o{};
    if constexpr (qlib::has_outer<F>) o = F::load_outer(wire<F>.data() + at, wire<F>.data() + at + F::outer_bytes);
    std::array<typename F::code, qlib::codes<F>> code{};
    const auto params = F::load(planes, o, code);
    std::array<float, qlib::block_size<F>> x{};
    qlib::detail::decode_codes<F>(params, code.data(), o, x.size(), x.data());
    return x;
}();

template <class F> constant_block block() {
    if constexpr (F::vec == 1) return {weights<F>, decoded<F>, wire<F>};
    else return {{}, decoded<F>, wire<F>};
}

}  // namespace constants
