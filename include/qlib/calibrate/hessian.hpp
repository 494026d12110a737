#pragma once
// hessian: H = sum of x x^T over calibration tokens, what GPTQ and its kin know of a layer's inputs.
#include "../core/memory.hpp"
#include "../linalg/syrk.hpp"
#include "../numeric/minifloat.hpp"

namespace qlib::inline v0::detail {

/// What bytes() begins with. A file of the other byte order has another version, and is refused.
struct hessian_header {
    std::array<char, 8> magic{'q', 'l', 'i', 'b', 'H', 'e', 's', 's'};
    std::uint32_t version = 1, reserved = 0;
    std::uint64_t cols = 0, tokens = 0;
    std::array<std::uint64_t, 4> unused{};
};
static_assert(sizeof(hessian_header) == 64);
inline constexpr std::size_t hessian_header_floats = sizeof(hessian_header) / sizeof(float);

/// The floats that a Hessian owns: the header, then rows of row_stride(cols).
[[nodiscard]] QLIB_INLINE constexpr std::size_t hessian_floats(std::size_t cols) noexcept {
    return saturating_add(hessian_header_floats, saturating_multiply(cols, row_stride(cols)));
}

}  // namespace qlib::inline v0::detail

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// The most that an element of the diagonal may reach. With |H_ij| <= H_ii + H_jj, which a sum of x x^T keeps with a factor of 2 to spare,
/// the sum of two Hessians does not overflow.
inline constexpr float hessian_limit = 0x1p125f;

[[nodiscard]] inline error hessian_overflow() noexcept {
    return {errc::overflow, "the sum of squares could pass the range of a float: scale the activations down", "X", {}};
}

/// The largest magnitude in X; non_finite with its place when there is a NaN or an infinity.
template <weight_source T> result<float> largest_magnitude(matrix_view<const T> X) noexcept {
    constexpr std::uint32_t infinity = 0x7F800000u;
    std::uint32_t all = 0;
    for (std::size_t r = 0; r < X.rows; ++r) {
        std::uint32_t most = 0;
        for (std::size_t c = 0; c < X.cols; ++c) {
            const std::uint32_t u = bits_of(as_float(X(r, c))) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
        if (most >= infinity) {
            std::size_t c = 0;
            while (is_finite(as_float(X(r, c)))) ++c;
            return error{errc::non_finite, "row {0}, column {1} is not a finite number", "X", {r, c}};
        }
        all = most > all ? most : all;
    }
    return float_of(all);
}

/// Bytes of floats that tokens of type T pass through.
template <weight_source T> std::size_t moments_bytes(std::size_t tokens, std::size_t cols) noexcept {
    return std::same_as<T, float> ? 0 : workspace::piece<float>(saturating_multiply(smaller_size(tokens, syrk_tokens), cols));
}

template <weight_source T> status add_moments(matrix_view<float> H, matrix_view<const T> X, const call& how) noexcept {
    if (X.cols != H.cols) return error{errc::shape, "X has {0} columns, but the Hessian {1}", "X", {X.cols, H.cols}};
    const auto largest = largest_magnitude(X);
    if (!largest) return largest.error();
    float most = 0;
    for (std::size_t i = 0; i < H.rows; ++i) most = larger(most, H(i, i));
    const double x = *largest, bound = x * x * static_cast<double>(X.rows);
    if (bound > 0.5 * static_cast<double>(hessian_limit) - static_cast<double>(most)) return hessian_overflow();
    if constexpr (std::same_as<T, float>) {
        return syrk(H, X, how);
    } else {
        workspace memory;
        if (const status s = memory.open(how, moments_bytes<T>(X.rows, X.cols)); !s) return s;
        float* const floats = memory.take<float>(smaller_size(X.rows, syrk_tokens) * X.cols);
        for (std::size_t t = 0; t < X.rows; t += syrk_tokens) {  // syrk's own blocks: the same bits as of one call
            const auto block = X.row_range(t, smaller_size(syrk_tokens, X.rows - t));
            for (std::size_t r = 0; r < block.rows; ++r)
                for (std::size_t c = 0; c < X.cols; ++c) floats[r * X.cols + c] = as_float(block(r, c));
            if (const status s = syrk(H, {floats, block.rows, X.cols}, how); !s) return s;
        }
        return {};
    }
}

inline status merge_moments(matrix_view<float> H, matrix_view<const float> other) noexcept {
    if (other.cols != H.cols) return error{errc::shape, "one Hessian has {0} columns, the other {1}", "other", {other.cols, H.cols}};
    for (std::size_t i = 0; i < H.rows; ++i)
        if (H(i, i) + other(i, i) > 0.5f * hessian_limit) return hessian_overflow();
    for (std::size_t i = 0; i < H.rows; ++i)
        for (std::size_t j = 0; j <= i; ++j) H(i, j) += other(i, j);
    return {};
}

/// Whether this can be a sum of x x^T: what the rest of the library relies on.
inline status check_moments(matrix_view<const float> H) noexcept {
    for (std::size_t i = 0; i < H.rows; ++i)
        if (!is_finite(H(i, i)) || !(H(i, i) >= 0) || H(i, i) > hessian_limit)
            return error{errc::malformed, "diagonal element {0} is negative, too large or not a number", "Hessian", {i}};
    for (std::size_t i = 0; i < H.rows; ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (!is_finite(H(i, j)) || magnitude(H(i, j)) > H(i, i) + H(j, j))
                return error{errc::malformed, "element {0}, {1} is not a number, or larger than its diagonal allows", "Hessian", {i, j}};
    return {};
}

/// The column count of a saved Hessian whose size, in bytes, is right.
inline result<std::size_t> saved_hessian_cols(const hessian_header& head, std::size_t size) noexcept {
    if (head.magic != hessian_header{}.magic) return error{errc::malformed, "this is not a Hessian", "Hessian", {}};
    if (head.version != hessian_header{}.version) return error{errc::unsupported, "a Hessian of version {0}", "Hessian", {head.version}};
    if (head.cols == 0) return error{errc::malformed, "a Hessian without columns", "Hessian", {}};
    if (head.cols > size) return error{errc::truncated, "{0} bytes are too few for {1} columns", "Hessian", {size, head.cols}};
    const auto cols = static_cast<std::size_t>(head.cols);
    const std::size_t wanted = saturating_multiply(hessian_floats(cols), sizeof(float));
    if (wanted == size) return cols;
    return error{size < wanted ? errc::truncated : errc::malformed, "{0} columns need {1} bytes, but there are {2}", "Hessian",
                 {cols, wanted, size}};
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0 {

/// H = sum over tokens of x x^T, (cols, cols), unscaled: whoever uses it does so relative to its diagonal. Owns its memory, 4 bytes per element.
///
/// Activations so small that their square is no float (below 3e-23) count as zero.
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
    /// error  shape, non_finite with row {0} and column {1}, overflow, unsupported; of f16 and bf16 also memory, scratch; nothing is added then
    /// exact  the same bits on every instruction set and for any number of threads; the split of tokens over calls rounds differently,
    ///        unless all but the last bring a multiple of 256
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const float> X, call how = {}) noexcept { return add_tokens<float>(X, how); }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const f16> X, call how = {}) noexcept { return add_tokens<f16>(X, how); }
    [[nodiscard]] QLIB_INLINE status add(matrix_view<const bf16> X, call how = {}) noexcept { return add_tokens<bf16>(X, how); }
    /// The bytes of call.scratch that add() asks for with tokens of type T.
    template <weight_source T> [[nodiscard]] QLIB_INLINE static std::size_t add_scratch_bytes(std::size_t tokens, std::size_t cols) noexcept {
        return detail::workspace::asked(detail::moments_bytes<T>(tokens, cols));
    }

    /// Adds the tokens of another Hessian, H += other. error: shape, overflow; nothing is added then
    [[nodiscard]] QLIB_INLINE status merge(const hessian& other) noexcept {
        const status s = detail::merge_moments((square)(), other.lower());
        if (s.ok()) count(other.tokens());
        return s;
    }

    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return static_cast<std::size_t>(header().cols); }
    [[nodiscard]] QLIB_INLINE std::uint64_t tokens() const noexcept { return header().tokens; }
    /// (cols, cols): the lower triangle with the diagonal is H, the rest is 0.
    [[nodiscard]] QLIB_INLINE matrix_view<const float> lower() const noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }
    /// H_jj, the energy of input j: an importance.
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
        if (bytes.size() < sizeof head) return error{errc::truncated, "{0} bytes are too few for a Hessian", "Hessian", {bytes.size()}};
        std::memcpy(&head, bytes.data(), sizeof head);
        const auto cols = detail::saved_hessian_cols(head, bytes.size());
        if (!cols) return cols.error();
        auto h = make(*cols);
        if (!h) return h;
        const matrix_view<float> H = (h->square)();
        h->write_header(head);
        const std::byte* rows = bytes.data() + sizeof head;
        for (std::size_t i = 0; i < *cols; ++i) std::memcpy(H.row(i), rows + i * H.stride * sizeof(float), (i + 1) * sizeof(float));
        if (const status s = detail::check_moments(H); !s) return s.error();
        return h;
    }

private:
    friend class hessian_factor;
    QLIB_INLINE hessian() noexcept = default;

    template <class T> QLIB_INLINE status add_tokens(matrix_view<const T> X, const call& how) noexcept {
        const status s = detail::add_moments<T>((square)(), X, how);
        if (s.ok()) count(X.rows);
        return s;
    }
    [[nodiscard]] QLIB_INLINE detail::hessian_header header() const noexcept {
        detail::hessian_header head;
        if (data_.size() != 0) std::memcpy(static_cast<void*>(&head), data_.data(), sizeof head);
        return head;
    }
    QLIB_INLINE void write_header(const detail::hessian_header& head) noexcept { std::memcpy(data_.data(), &head, sizeof head); }
    QLIB_INLINE void count(std::uint64_t tokens) noexcept {
        detail::hessian_header head = header();
        if (__builtin_add_overflow(head.tokens, tokens, &head.tokens))
            head.tokens = (std::numeric_limits<std::uint64_t>::max)();
        if (data_.size() != 0) write_header(head);
    }
    [[nodiscard]] QLIB_INLINE matrix_view<float> (square)() noexcept {
        if (data_.size() == 0) return {};
        return {data_.data() + detail::hessian_header_floats, cols(), cols(), detail::row_stride(cols())};
    }

    detail::buffer<float> data_;  // the header, then H; a moved-from Hessian holds nothing and has 0 columns
};

}  // namespace qlib::inline v0
