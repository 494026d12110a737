#pragma once
// floats_view, floats_span: matrices of float, f16 or bf16, which is known at run
// time: one parameter in place of three overloads.
#include "../numeric/minifloat.hpp"
#include "memory.hpp"

namespace qlib::inline QLIB_ABI {

/// The element types of weights, activations and results.
enum class element : std::uint8_t { float32, float16, bfloat16 };

template <weight_source T>
inline constexpr element element_of = std::same_as<T, float> ? element::float32
                                      : std::same_as<T, f16> ? element::float16
                                                             : element::bfloat16;

/// Bytes of one.
[[nodiscard]] QLIB_INLINE constexpr std::size_t element_bytes(element type) noexcept {
    return type == element::float32 ? 4 : 2;
}

/// A row-major matrix of one of those types in foreign memory; converts from a matrix_view. floats_view reads,
/// floats_span also writes.
template <class Void> struct basic_floats {
    Void* data = nullptr;
    std::size_t rows = 0, cols = 0;
    std::size_t stride = 0;  ///< elements from one row's start to the next's
    element type = element::float32;

    template <class T> using of = std::conditional_t<std::is_const_v<Void>, const T, T>;
    template <class T>
    static constexpr bool takes = weight_source<std::remove_const_t<T>> &&
                                  (std::is_const_v<Void> || !std::is_const_v<T>);

    QLIB_INLINE constexpr basic_floats() noexcept = default;
    QLIB_INLINE constexpr basic_floats(Void* elements, std::size_t m, std::size_t n, std::size_t apart,
                                       element of_type) noexcept
        : data(elements),
          rows(m),
          cols(n),
          stride(apart),
          type(of_type) {}
    template <class T>
    requires takes<T>
    QLIB_INLINE constexpr basic_floats(matrix_view<T> m) noexcept
        : basic_floats(m.data, m.rows, m.cols, m.stride, element_of<std::remove_const_t<T>>) {}
    template <class T>
    requires takes<T>
    QLIB_INLINE constexpr basic_floats(T* elements, std::size_t m, std::size_t n) noexcept
        : basic_floats(matrix_view<T>{elements, m, n}) {}
    template <class T>
    requires takes<T>
    QLIB_INLINE constexpr basic_floats(T* elements, std::size_t m, std::size_t n, std::size_t apart) noexcept
        : basic_floats(matrix_view<T>{elements, m, n, apart}) {}
    QLIB_INLINE constexpr basic_floats(std::nullptr_t, std::size_t m, std::size_t n) noexcept
        : basic_floats(nullptr, m, n, n, element::float32) {}
    QLIB_INLINE operator basic_floats<const void>() const noexcept requires(!std::is_const_v<Void>) {
        return {data, rows, cols, stride, type};
    }

    /// The address of an element.
    [[nodiscard]] QLIB_INLINE Void* at(std::size_t r, std::size_t c) const noexcept {
        using byte = std::conditional_t<std::is_const_v<Void>, const std::byte, std::byte>;
        return static_cast<byte*>(data) + (r * stride + c) * element_bytes(type);
    }
    /// As what it is known to be.
    template <weight_source T> [[nodiscard]] QLIB_INLINE matrix_view<of<T>> as() const noexcept {
        return {static_cast<of<T>*>(data), rows, cols, stride};
    }
    friend constexpr bool operator==(const basic_floats&, const basic_floats&) = default;
};

using floats_view = basic_floats<const void>;
using floats_span = basic_floats<void>;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

template <class Void>
[[nodiscard]] QLIB_INLINE constexpr status check_view(const basic_floats<Void>& m, const char* operand) noexcept {
    return check_view(m, element_bytes(m.type), operand);
}

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// use(T{}) for the type of an element.
template <class Use> QLIB_INLINE inline decltype(auto) with_element(element type, const Use& use) {
    switch (type) {
    case element::float16: return use(f16{});
    case element::bfloat16: return use(bf16{});
    case element::float32: break;
    }
    return use(0.0f);
}

/// n elements from `from` on, as floats.
inline void widen_elements(const void* from, element type, std::size_t n, float* out) noexcept {
    with_element(type, [&](auto t) {
        const auto* x = static_cast<const decltype(t)*>(from);
        for (std::size_t i = 0; i < n; ++i) out[i] = as_float(x[i]);
    });
}
/// n floats to elements, each rounded to nearest even.
inline void narrow_elements(const float* x, std::size_t n, void* to, element type) noexcept {
    with_element(type, [&](auto t) {
        using T = decltype(t);
        auto* out = static_cast<T*>(to);
        for (std::size_t i = 0; i < n; ++i) {
            if constexpr (std::same_as<T, float>) out[i] = x[i];
            else out[i] = T::from(x[i]);
        }
    });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
