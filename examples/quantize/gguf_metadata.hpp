#pragma once
// Changes to the metadata of a GGUF model: --override-kv, and what leaving layers out does to what is said per layer.
#include "../common/failure.hpp"
#include "options.hpp"

#include <qlib/file/gguf.hpp>

#include <set>

/// A number as the key has it in the input, if that is an integer; else of 32 bits, as llama.cpp reads it.
inline qlib::status set_integer(qlib::gguf_writer& out, const std::string& key, std::int64_t n,
                                const qlib::gguf_value* was) {
    const auto as = [&]<class T>(T) -> qlib::status {
        if (!std::in_range<T>(n))
            throw std::runtime_error("--override-kv " + key + ": " + std::to_string(n) +
                                     " is out of the range of the key's type");
        return out.set(key, static_cast<T>(n));
    };
    switch (was != nullptr ? was->type : n < 0 ? qlib::gguf_type::i32 : qlib::gguf_type::u32) {
    case qlib::gguf_type::u8: return as(std::uint8_t{});
    case qlib::gguf_type::i8: return as(std::int8_t{});
    case qlib::gguf_type::u16: return as(std::uint16_t{});
    case qlib::gguf_type::i16: return as(std::int16_t{});
    case qlib::gguf_type::i32: return as(std::int32_t{});
    case qlib::gguf_type::u64: return as(std::uint64_t{});
    case qlib::gguf_type::i64: return as(std::int64_t{});
    default: return as(std::uint32_t{});
    }
}

inline void write_override(qlib::gguf_writer& out, const kv_override& o, const qlib::gguf_value* was) {
    if (const auto* n = std::get_if<std::int64_t>(&o.value)) return check(set_integer(out, o.key, *n, was), o.key);
    if (const auto* x = std::get_if<double>(&o.value)) {
        const bool wide = was != nullptr && was->type == qlib::gguf_type::f64;
        return check(wide ? out.set(o.key, *x) : out.set(o.key, static_cast<float>(*x)), o.key);
    }
    if (const auto* b = std::get_if<bool>(&o.value)) return check(out.set(o.key, *b), o.key);
    check(out.set(o.key, std::string_view(std::get<std::string>(o.value))), o.key);
}

/// error: a number that is a NaN, in foreign metadata
inline void check_number(std::string_view key, const qlib::gguf_value& v) {
    const bool real = v.type == qlib::gguf_type::f32 || v.type == qlib::gguf_type::f64;
    if (const auto x = real ? v.as_float() : qlib::result<double>(0.0); x && std::isnan(*x))
        throw std::runtime_error(printable(key) + ": it is a NaN");
}

/// Writes the elements of an array that stand for layers which stay.
inline void write_kept_elements(qlib::gguf_writer& out, std::string_view key, const qlib::gguf_value& v,
                                const std::set<std::uint64_t>& pruned) {
    std::vector<std::byte> bytes;
    const std::size_t size = v.count != 0 ? v.bytes.size() / v.count : 0;
    for (std::uint64_t i = 0; i < v.count; ++i)
        if (!pruned.contains(i))
            bytes.insert(bytes.end(), v.bytes.begin() + static_cast<std::ptrdiff_t>(i * size),
                         v.bytes.begin() + static_cast<std::ptrdiff_t>((i + 1) * size));
    check(out.set(key, qlib::gguf_value{v.type, v.element_type, v.count - pruned.size(), bytes}), key);
}
