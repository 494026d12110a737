#pragma once
// hessian: H = sum of x x^T over calibration tokens, what GPTQ and its kin know of a layer's inputs.
#include "moments.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// What bytes() begins with. A file of the other byte order has another version, and is refused.
struct hessian_header {
    std::array<char, 8> magic{'q', 'l', 'i', 'b', 'H', 'e', 's', 's'};
    std::uint32_t version = 1, shift = 0;  ///< of the moments; version 2 when it is not 0
    std::uint64_t cols = 0, tokens = 0;
    std::array<std::uint64_t, 4> unused{};
};
static_assert(sizeof(hessian_header) == 64);
inline constexpr std::size_t hessian_header_floats = sizeof(hessian_header) / sizeof(float);

/// The floats that a Hessian owns: the header, then rows of row_stride(cols).
[[nodiscard]] QLIB_INLINE constexpr std::size_t hessian_floats(std::size_t cols) noexcept {
    return saturating_add(hessian_header_floats, saturating_multiply(cols, row_stride(cols)));
}

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The column count of a saved Hessian whose size, in bytes, is right.
inline result<std::size_t> saved_hessian_cols(const hessian_header& head, std::size_t size) noexcept {
    if (head.magic != hessian_header{}.magic) return error{errc::malformed, "this is not a Hessian", "Hessian", {}};
    if (head.version != (head.shift != 0 ? 2 : 1))
        return error{errc::unsupported, "a Hessian of version {0}", "Hessian", {head.version}};
    if (head.shift > most_shift)
        return error{errc::malformed, "no float is as small as 2^-{0}", "Hessian", {head.shift}};
    if (head.cols == 0) return error{errc::malformed, "a Hessian without columns", "Hessian", {}};
    if (head.cols > size)
        return error{errc::truncated, "{0} bytes are too few for {1} columns", "Hessian", {size, head.cols}};
    const auto cols = static_cast<std::size_t>(head.cols);
    const std::size_t wanted = saturating_multiply(hessian_floats(cols), sizeof(float));
    if (wanted == size) return cols;
    return error{size < wanted ? errc::truncated : errc::malformed,
                 "{0} columns need {1} bytes, but there are {2}",
                 "Hessian",
                 {cols, wanted, size}};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI {

/// H = sum over tokens of x x^T, (cols, cols): whoever uses it does so relative to its
/// diagonal. Owns its memory, 4 bytes per element.
///
/// When all activations so far are below 2^-40, H is kept over a power of two, scale(), so that their squares keep
/// their bits. Beside larger ones those whose square is no float (below 3e-23) count as zero.
class hessian {
public:
    QLIB_INLINE hessian(hessian&&) noexcept = default;
    QLIB_INLINE hessian& operator=(hessian&&) noexcept = default;
    /// No tokens yet. error: shape for no columns, memory
    [[nodiscard]] QLIB_INLINE static result<hessian> make(std::size_t cols) noexcept {
        if (cols == 0) return error{errc::shape, "a Hessian needs a column", "cols", {}};
        hessian h;
        const std::size_t floats = detail::hessian_floats(cols);
        if (!h.data_.allocate(floats)) return detail::out_of_memory(detail::saturating_multiply(floats, sizeof(float)));
        std::memset(h.data_.data(), 0, floats * sizeof(float));
        h.write_header({.cols = cols});
        return h;
    }

    /// Adds the tokens X.
    ///
    /// X      (tokens, cols) of float, f16 or bf16, row-major, finite
    /// error  shape, non_finite with row {0} and column {1}, overflow, unsupported; of f16 and bf16 also memory,
    ///        scratch, of floats that are all below 2^-40 also memory; nothing is added then. cancelled after a block
    ///        of 256 tokens, which call.progress counts: it and those before are in
    /// exact  the same bits on every instruction set and for any number of threads; the split of tokens over calls
    ///        rounds differently, unless all but the last bring a multiple of 256
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const float> X, call how = {}) noexcept {
        return add_tokens<float>(X, how);
    }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const f16> X, call how = {}) noexcept {
        return add_tokens<f16>(X, how);
    }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const bf16> X, call how = {}) noexcept {
        return add_tokens<bf16>(X, how);
    }
    /// The bytes of call.scratch that add() asks for with tokens of type T.
    template <weight_source T>
    [[nodiscard]] QLIB_INLINE static std::size_t add_scratch_bytes(std::size_t tokens, std::size_t cols) noexcept {
        return std::same_as<T, float> ? 0 : detail::workspace::asked(detail::moments_bytes(tokens, cols));
    }

    /// Adds the tokens of another Hessian, H += other. error: shape, overflow; nothing is added then
    [[nodiscard]] QLIB_INLINE status merge(const hessian& other) noexcept {
        detail::moments m = moments();
        const status s = detail::merge_moments(m, other.moments());
        write_moments(m);
        return s;
    }

    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return static_cast<std::size_t>(header().cols); }
    [[nodiscard]] QLIB_INLINE std::uint64_t tokens() const noexcept { return header().tokens; }
    /// The power of two by which H was divided: 1 unless all activations are tiny.
    [[nodiscard]] QLIB_INLINE double scale() const noexcept {
        return detail::power_of_two(-2 * static_cast<int>(header().shift));
    }
    /// (cols, cols): the lower triangle with the diagonal is H over scale(), the rest is 0.
    [[nodiscard]] QLIB_INLINE matrix_view<const float> lower() const noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }
    /// H_jj over scale(), the energy of input j: an importance.
    [[nodiscard]] QLIB_INLINE float diagonal(std::size_t j) const noexcept { return lower()(j, j); }

    /// error: memory
    [[nodiscard]] QLIB_INLINE result<hessian> copy() const noexcept {
        hessian h;
        if (!h.data_.allocate(data_.size())) return detail::out_of_memory(data_.size() * sizeof(float));
        if (data_.size() != 0) std::memcpy(h.data_.data(), data_.data(), data_.size() * sizeof(float));
        return h;
    }

    /// A checkpoint: what over() reads. Valid until this object is changed.
    [[nodiscard]] QLIB_INLINE std::span<const std::byte> bytes() const noexcept {
        return {reinterpret_cast<const std::byte*>(data_.data()), data_.size() * sizeof(float)};
    }

    /// Copies a Hessian that bytes() gave.
    ///
    /// bytes  any bytes, of any alignment
    /// error  truncated, malformed (also when the numbers cannot be a sum of x x^T), unsupported version, memory
    [[nodiscard]] QLIB_INLINE static result<hessian> over(std::span<const std::byte> bytes) noexcept {
        detail::hessian_header head;
        if (bytes.size() < sizeof head)
            return error{errc::truncated, "{0} bytes are too few for a Hessian", "Hessian", {bytes.size()}};
        std::memcpy(&head, bytes.data(), sizeof head);
        const auto cols = detail::saved_hessian_cols(head, bytes.size());
        if (!cols) return cols.error();
        auto h = make(*cols);
        if (!h) return h;
        const matrix_view<float> H = (h->square)();
        h->write_header(head);
        const std::byte* rows = bytes.data() + sizeof head;
        for (std::size_t i = 0; i < *cols; ++i)
            std::memcpy(H.row(i), rows + i * H.stride * sizeof(float), (i + 1) * sizeof(float));
        if (const status s = detail::check_moments(H); !s) return s.error();
        return h;
    }

private:
    friend class hessian_factor;
    QLIB_INLINE hessian() noexcept = default;

    template <class T> QLIB_INLINE status add_tokens(matrix_view<const T> X, const call& how) noexcept {
        detail::moments m = moments();
        const status s = detail::add_moments(m, X, how);
        write_moments(m);
        return s;
    }
    [[nodiscard]] QLIB_INLINE detail::hessian_header header() const noexcept {
        detail::hessian_header head;
        if (data_.size() != 0) std::memcpy(static_cast<void*>(&head), data_.data(), sizeof head);
        return head;
    }
    QLIB_INLINE void write_header(const detail::hessian_header& head) noexcept {
        std::memcpy(data_.data(), &head, sizeof head);
    }
    [[nodiscard]] QLIB_INLINE detail::moments moments() const noexcept {
        const detail::hessian_header head = header();
        float* const H = const_cast<float*>(lower().data);  // only written by who may
        return {{H, cols(), cols(), detail::row_stride(cols())}, head.shift, head.tokens};
    }
    QLIB_INLINE void write_moments(const detail::moments& m) noexcept {
        detail::hessian_header head = header();
        head.version = m.shift != 0 ? 2 : 1;
        head.shift = m.shift;
        head.tokens = m.tokens;
        if (data_.size() != 0) write_header(head);
    }
    [[nodiscard]] QLIB_INLINE matrix_view<float>(square)() noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }

    detail::buffer<float> data_;  // the header, then H; a moved-from Hessian holds nothing and has 0 columns
};

}  // namespace qlib::inline QLIB_ABI
