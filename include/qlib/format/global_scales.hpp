#pragma once
// Scales under one f32 of the whole tensor that acts on them, not on the decoded weights: (scale * global) * level or
// (scale / global) * level, the quotient or product rounded first. NVFP4 outside of GGUF.
#include "scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// How a tensor's scale acts on its groups' scales.
enum class global_use : std::uint8_t { times, over };

namespace detail {

template <class Grid, std::size_t N, class T, global_use Use> struct global_level {
    static constexpr std::size_t group = N, groups = 1;
    static constexpr form map = form::scaled;
    static constexpr extent tile{};
    static constexpr bool signed_scale = signed_scale_type<T>, signed_offset = true;
    static constexpr bool outer_multiplies = false;  // consumed in `at`
    static constexpr global_use global = Use;
    using stored_scale = T;
    using stored_outer = f32;

    struct outer {
        float global = 1;
    };
    struct params {
        T stored{};
        float scale = 0;
    };

    /// Sends the tensor's abs-max to the largest level times the largest scale. 1 for a tensor of zeros; no infinity.
    QLIB_INLINE static constexpr outer fit_outer(const tile_stats& stats) noexcept {
        constexpr float reach = larger(-lowest_level<Grid>, highest_level<Grid>) * (T::max)();
        const float m = stats.abs_max();
        if (!(m > 0)) return {1};
        if constexpr (Use == global_use::times) return {larger(m / reach, 0x1p-126f)};
        else return {smaller(reach / larger(m, 0x1p-126f), largest_float)};
    }
    QLIB_INLINE static constexpr float outer_scale(const outer&) noexcept { return 1; }
    QLIB_INLINE static constexpr affine at(const params& p, std::size_t) noexcept { return {p.scale, 0}; }
    QLIB_INLINE static constexpr void project_group(params& p, std::size_t, affine wish, const outer& o) noexcept {
        float scale = 0;
        if (Use == global_use::over) scale = product(wish.s, o.global);
        else if (safe_reciprocal(o.global) != 0) scale = wish.s / o.global;
        p.stored = storable_scale<T>(scale);
        take_outer(p, o);
    }
    QLIB_INLINE static constexpr params project(const std::array<affine, 1>& wishes, const outer& o) noexcept {
        params p{};
        project_group(p, 0, wishes[0], o);
        return p;
    }
    QLIB_INLINE static constexpr void take_outer(params& p, const outer& o) noexcept {
        p.scale = Use == global_use::times ? product(p.stored.value(), o.global) : p.stored.value() / o.global;
    }

    QLIB_INLINE static constexpr std::size_t field_bytes(field f) noexcept {
        return f == field::scales ? sizeof(T::bits) : 0;
    }
    QLIB_INLINE static constexpr void store_field(field f, const params& p, std::byte* out) noexcept {
        if (f == field::scales) store_little_endian(p.stored, out);
    }
    QLIB_INLINE static constexpr void load_field(field f, params& p, const std::byte* in) noexcept {
        if (f == field::scales) p.stored = load_little_endian<T>(in);
    }
    static constexpr std::size_t outer_bytes = sizeof(float), tensor_bytes = 0;
    QLIB_INLINE static constexpr void store_outer(const outer& o, std::byte* out, std::byte*) noexcept {
        store_little_endian(f32::from(o.global), out);
    }
    QLIB_INLINE static constexpr outer load_outer(const std::byte* in, const std::byte*) noexcept {
        return {load_little_endian<f32>(in).value()};
    }
};

}  // namespace detail

/// A scale of type T for every N weights; its value times one f32 of the tensor is
/// the scale. ModelOpt's `weight_scale_2`.
template <std::size_t N, class T> struct scale_per_times_global {
    template <class Grid> using bind = detail::global_level<Grid, N, T, global_use::times>;
};
/// The same, its value divided by that f32. compressed-tensors' `weight_global_scale`.
template <std::size_t N, class T> struct scale_per_over_global {
    template <class Grid> using bind = detail::global_level<Grid, N, T, global_use::over>;
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
