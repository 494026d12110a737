#pragma once
// A text to measure models on.
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

/// A file's text, or its first `bytes`; 0: all of it.
inline std::string read_text(const std::string& path, std::size_t bytes) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(path + ": cannot be read");
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (bytes != 0 && bytes < text.size()) text.resize(bytes);
    return text;
}
