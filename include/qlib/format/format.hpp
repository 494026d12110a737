#pragma once
// format<Grid, Scales, Layout>: a block format put together from ready-made parts.
#include "grid.hpp"
#include "layout.hpp"
#include "scales.hpp"
#include "tile_scales.hpp"
#include "two_level_scales.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// A block format from a grid (what codes mean), scales (how maps are stored) and a layout (where the bits lie):
///
///     struct mine
///         : qlib::format<qlib::codebook_grid<levels>, qlib::scale_per<48, qlib::e4m3>, qlib::inline_blocks<>> {};
///
/// A struct of its own gives it a name; it may add `reference(site)`, the original's
/// own encoder. See concept.hpp for the members.
template <class Grid, class Scales, class Layout = inline_blocks<>> struct format : Scales::template bind<Grid> {
    using grid = Grid;
    using layout = Layout;
    using bits = typename Layout::bits;
    using code = typename Grid::code;
    using part = typename Scales::template bind<Grid>;
    using typename part::outer;
    using typename part::params;
    static constexpr std::size_t vec = Grid::vec;
    static constexpr bool flat_blocks = Layout::flat, ragged_rows = Layout::flat || bits::ragged;

    QLIB_INLINE static constexpr code nearest(const float* u, const float* w) noexcept { return Grid::nearest(u, w); }
    QLIB_INLINE static constexpr void level(code c, float* l) noexcept { Grid::levels(c, l); }

    /// Bytes of each plane for a block of n weights: fewer than a whole block's at a ragged end.
    QLIB_INLINE static constexpr auto planes_of(std::size_t n) noexcept {
        std::array<std::size_t, plane_count> sizes{};
        std::size_t at = 0;
        for (const field f : Layout::order) {
            if (bytes_of(f, block) == 0) continue;
            sizes[at] += bytes_of(f, n);
            if (Layout::planes_apart) ++at;
        }
        return sizes;
    }
    /// Where a field of a whole block begins: kernels read codes straight from there.
    QLIB_INLINE static constexpr std::size_t offset_of(field wanted) noexcept {
        std::size_t at = 0;
        for (const field f : Layout::order) {
            if (f == wanted) break;
            if (!Layout::planes_apart) at += bytes_of(f, block);
        }
        return at;
    }

    template <class Pointers>
    QLIB_INLINE static constexpr void store(const params& p, std::span<const code> codes, const Pointers& to) noexcept {
        walk(codes.size() * vec, [&](field f, std::size_t plane, std::size_t offset) QLIB_INLINE_LAMBDA {
            if (f == field::codes) bits::template pack<Grid::bits, code>(codes, to[plane] + offset);
            else part::store_field(f, p, to[plane] + offset);
        });
    }
    /// Only the params, of a whole block.
    template <class Pointers>
    QLIB_INLINE static constexpr void store_params(const params& p, const Pointers& to) noexcept {
        walk(block, [&](field f, std::size_t plane, std::size_t offset) QLIB_INLINE_LAMBDA {
            if (f != field::codes) part::store_field(f, p, to[plane] + offset);
        });
    }
    /// `codes` as long as the block stored there, or empty: then only the params are read, of a whole block.
    template <class Pointers>
    QLIB_INLINE static constexpr params load(const Pointers& from, const outer& o, std::span<code> codes) noexcept {
        params p{};
        walk(codes.empty() ? block : codes.size() * vec,
             [&](field f, std::size_t plane, std::size_t offset) QLIB_INLINE_LAMBDA {
                 if (f != field::codes) part::load_field(f, p, from[plane] + offset);
                 else if (!codes.empty()) bits::template unpack<Grid::bits, code>(from[plane] + offset, codes);
             });
        part::take_outer(p, o);
        return p;
    }

private:
    static constexpr std::size_t block = part::group * part::groups;
    QLIB_INLINE static constexpr std::size_t bytes_of(field f, std::size_t n) noexcept {
        return f == field::codes ? bits::template bytes<Grid::bits>((n + vec - 1) / vec) : part::field_bytes(f);
    }
    static constexpr std::size_t plane_count = [] {
        std::size_t n = 0;
        for (const field f : Layout::order) n += bytes_of(f, block) != 0;
        return Layout::planes_apart ? n : 1;
    }();
    /// visit(field, plane, offset in the block) for every field with bytes, in storage order.
    template <class Visit> QLIB_INLINE static constexpr void walk(std::size_t n, const Visit& visit) noexcept {
        std::size_t plane = 0, offset = 0;
#pragma GCC unroll 4
        for (const field f : Layout::order) {
            const std::size_t size = bytes_of(f, n);
            if (size == 0) continue;
            visit(f, plane, offset);
            if (Layout::planes_apart) ++plane;
            else offset += size;
        }
    }

public:
    static constexpr std::array<std::size_t, plane_count> planes = planes_of(block);
};

}  // namespace qlib::inline QLIB_ABI
QLIB_EXACT_END
