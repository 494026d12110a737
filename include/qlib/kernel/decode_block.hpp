#pragma once
// Decoding by the definition: any format, one block at a time, through its own load. Rooms
// that know a bit layout are faster, same bits.
#include "../format/map.hpp"
#include "../store/view.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Weights of params and codes: n of them, the first of a block.
template <class F>
constexpr void decode_codes(const typename F::params& p, const typename F::code* code, const typename F::outer& o,
                            std::size_t n, float* out) noexcept {
    const float outer_scale = F::outer_scale(o);
    for (std::size_t i = 0; i < n; i += F::vec) {
        const affine a = F::at(p, i / F::group);
        float l[F::vec];
        F::level(code[i / F::vec], l);
        for (std::size_t j = 0; j < F::vec && i + j < n; ++j) {
            const float y = mapped<F::map>(a, l[j]);
            out[i + j] = outer_multiplies<F> ? product(y, outer_scale) : y;
        }
    }
}

/// The n weights of block b of wire row r.
template <block_format F>
void decode_block(const qview<F>& q, std::size_t r, std::size_t b, std::size_t n, float* out) noexcept {
    std::array<typename F::code, codes<F>> code{};
    const auto o = q.outer(r, b * block_size<F>);
    const auto p = F::load(q.block(r, b), o, std::span(code).first(divide_up(n, F::vec)));
    decode_codes<F>(p, code.data(), o, n, out);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
