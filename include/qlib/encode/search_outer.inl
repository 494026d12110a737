// No #pragma once: included in each room. What maps of a whole tile make of a run of its weights, summed up in 16 sums
// side by side whatever the width, so that the bits are the same in every room. A lane has a weight here, not a block.

/// Adds to `sums` what each of `count` maps leaves of n weights, a multiple of 16; w is their importance.
template <level_kind K, form M>
static void sum_errors(const level_rule& given, const float* x, const float* w, std::size_t n, const affine* maps,
                       std::size_t count, error_sums* sums) noexcept {
    constexpr bool has_offset = M == form::offset;
    const level_rule levels = given;
    for (std::size_t c = 0; c < count; ++c) {
        const floats inverse = safe_reciprocal(splat(maps[c].s)), z = splat(maps[c].z);
        floats acc[6][parts];
        for (auto& a : acc)
            for (floats& part : a) part = splat(0.0f);
        for (std::size_t i = 0; i < n; i += 16) {
#pragma GCC unroll 16
            for (std::size_t p = 0; p < parts; ++p) {
                floats u, weight;
                std::memcpy(&u, x + i + p * width, sizeof u);
                std::memcpy(&weight, w + i + p * width, sizeof weight);
                if constexpr (has_offset) u = times(u - z, inverse);
                else if constexpr (M == form::shifted) u = times(u, inverse) + z;
                else u = times(u, inverse);
                floats l = nearest_level<K>(levels, u);
                const floats e = u - l, we = times(weight, e);
                if constexpr (M == form::shifted) l = l - z;
                const floats wl = times(weight, l);
                acc[0][p] = acc[0][p] + times(we, e);
                acc[1][p] = acc[1][p] + times(we, l);
                acc[2][p] = acc[2][p] + times(wl, l);
                if constexpr (has_offset) {
                    acc[3][p] = acc[3][p] + we;
                    acc[4][p] = acc[4][p] + wl;
                    acc[5][p] = acc[5][p] + weight;
                }
            }
        }
        float run[6][16];
        std::memcpy(run, acc, sizeof run);
        for (std::size_t k = 0; k < (has_offset ? 6 : 3); ++k)
            for (std::size_t i = 0; i < 16; ++i) sums[c].part[k][i] += static_cast<double>(run[k][i]);
    }
}
