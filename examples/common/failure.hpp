#pragma once
// How this program fails: qlib returns errors, the example throws them with the name of what they are about.
#include "printable.hpp"

#include <qlib/file/gguf.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

/// The error as a sentence that begins with `name`.
[[noreturn]] inline void fail(const qlib::error& e, std::string_view name) {
    char text[2048];  // names have up to 1024 bytes
    throw std::runtime_error(std::string(e.format(text, name)));
}

inline void check(const qlib::status& s, std::string_view name) {
    if (!s) fail(s.error(), name);
}

/// Rows and columns of a tensor, "4096 x 512 x 8" for experts: the row length last,
/// as mathematics has it and GGUF has not.
inline std::string shape_of(const qlib::gguf_tensor& t) {
    std::string text = std::to_string(t.ne[0]);
    if (t.n_dims < 2) return text;
    text = std::to_string(t.ne[1]) + " x " + text;
    for (std::size_t d = 2; d < t.n_dims; ++d) text += " x " + std::to_string(t.ne[d]);
    return text;
}

/// A tensor as an error names it.
inline std::string title_of(const qlib::gguf_tensor& t) { return std::string(t.name) + " (" + shape_of(t) + ")"; }
