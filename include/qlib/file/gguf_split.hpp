#pragma once
// GGUF models in several files, as llama.cpp's llama-gguf-split makes them: prefix-00001-of-00003.gguf and so on. The
// first part has all metadata; each part has its own tensors.
//
//   auto which = qlib::gguf_part_of(first);                                           // of how many parts is this one?
//   auto prefix = qlib::gguf_part_prefix(path, *which);
//   for (part = 1; part < which->count; ++part) open(qlib::gguf_part_name(buffer, *prefix, {part, which->count}));
//   check(qlib::check_gguf_parts(files));
#include "gguf_reader.hpp"

namespace qlib::inline QLIB_ABI {

/// The place of a file among the parts of a model.
struct gguf_part {
    std::uint32_t index = 0;    ///< counts from 0
    std::uint32_t count = 1;    ///< parts; at most 65535
    std::uint64_t tensors = 0;  ///< of all parts together
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::uint32_t gguf_part_limit = 65535;  // split.count is a u16

/// The value of an integer key from `least` to `most`.
inline status read_part_key(const gguf_file& file, const char* key, std::uint64_t least, std::uint64_t most,
                            std::uint64_t& out) noexcept {
    const gguf_value* v = file.find(key);
    if (v == nullptr) return error{errc::malformed, "the key is missing", key, {}};
    const auto n = v->as_uint();
    if (!n) {
        error e = n.error();
        e.operand = key;
        return e;
    }
    if (*n < least || *n > most)
        return error{errc::malformed, "{0}, it must be from {1} to {2}", key, {*n, least, most}};
    out = *n;
    return {};
}

/// "-00002-of-00003.gguf" for part 1 of 3. Returns the bytes used, at most 20.
inline std::size_t put_part_suffix(char* out, gguf_part part) noexcept {
    std::size_t at = 0;
    const auto text = [&](std::string_view s) {
        for (const char c : s) out[at++] = c;
    };
    const auto number = [&](std::uint32_t n) {
        char digits[10];
        std::size_t used = 0;
        for (; used < 5 || n != 0; n /= 10) digits[used++] = static_cast<char>('0' + n % 10);
        while (used != 0) out[at++] = digits[--used];
    };
    text("-");
    number(part.index + 1);
    text("-of-");
    number(part.count);
    text(".gguf");
    return at;
}

inline status check_part(gguf_part part) noexcept {
    if (part.count != 0 && part.count <= gguf_part_limit && part.index < part.count) return {};
    return error{errc::argument, "part {0} of {1}", "gguf_part", {part.index, part.count}};
}

/// Refuses a name that two parts hold.
inline status check_part_names(std::span<const gguf_file* const> files, std::size_t total) noexcept {
    buffer<std::string_view> names;
    if (!names.allocate(total)) return out_of_memory(total * sizeof(std::string_view));
    std::size_t at = 0;
    for (const gguf_file* file : files)
        for (const gguf_tensor& t : file->tensors()) names[at++] = t.name;
    const auto name_of = [&](std::size_t i) { return names[i]; };
    buffer<std::size_t> order;
    if (!sort_names(order, total, name_of)) return out_of_memory(total * sizeof(std::size_t));
    const std::size_t p = find_duplicate(order, name_of);
    if (p == order.size()) return {};
    const auto part_of = [&](std::size_t i) {
        std::uint64_t part = 0;
        for (; i >= files[part]->tensors().size(); ++part) i -= files[part]->tensors().size();
        return part;
    };
    return error{errc::malformed,
                 "parts {0} and {1} both have one of its tensors",
                 "gguf parts",
                 {part_of(order[p]), part_of(order[p + 1])}};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Which part of a model a file is; a file without split.* keys is the only one.
///
/// error   malformed, operand: the key: missing beside others, no integer, or out of range
/// source  llama.cpp, llama-model-loader.cpp
[[nodiscard]] inline result<gguf_part> gguf_part_of(const gguf_file& file) noexcept {
    bool any = false;
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) any |= file.find(key) != nullptr;
    const std::uint64_t own = file.tensors().size();
    if (!any) return gguf_part{0, 1, own};
    std::uint64_t count = 0, index = 0, tensors = 0;
    if (status s = detail::read_part_key(file, "split.count", 1, detail::gguf_part_limit, count); !s) return s.error();
    if (status s = detail::read_part_key(file, "split.no", 0, count - 1, index); !s) return s.error();
    if (status s = detail::read_part_key(file, "split.tensors.count", own, 0x7FFFFFFF, tensors); !s) return s.error();
    return gguf_part{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(count), tensors};
}

/// Checks that files are all parts of one model in order: their indices, their counts, no tensor missing or twice.
///
/// files   the parsed parts, the first first
/// error   malformed, sizes {part, what it has, what is needed}; memory
[[nodiscard]] inline status check_gguf_parts(std::span<const gguf_file* const> files) noexcept {
    std::uint64_t total = 0, wanted = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
        const auto part = gguf_part_of(*files[i]);
        if (!part) return part.error();
        if (part->count != files.size())
            return error{errc::malformed,
                         "part {0} is one of {1} parts, {2} are given",
                         "split.count",
                         {i, part->count, files.size()}};
        if (part->index != i)
            return error{errc::malformed, "part {0} has the number {1}", "split.no", {i, part->index}};
        if (i == 0) wanted = part->tensors;
        if (part->tensors != wanted)
            return error{errc::malformed,
                         "part {0} is of a model of {1} tensors, the first of one of {2}",
                         "split.tensors.count",
                         {i, part->tensors, wanted}};
        total += files[i]->tensors().size();
    }
    if (total != wanted)
        return error{errc::malformed, "the parts have {0} tensors of {1}", "split.tensors.count", {total, wanted}};
    return detail::check_part_names(files, static_cast<std::size_t>(total));
}

/// Writes the name of a part into `buffer`: prefix-00001-of-00003.gguf for {0, 3}. Returns the part of the buffer that
/// was used. error: argument for no such part, shape when the buffer is too small.
[[nodiscard]] inline result<std::string_view> gguf_part_name(std::span<char> buffer, std::string_view prefix,
                                                             gguf_part part) noexcept {
    if (status s = detail::check_part(part); !s) return s.error();
    char suffix[32];
    const std::size_t bytes = detail::put_part_suffix(suffix, part);
    if (prefix.size() > buffer.size() || bytes > buffer.size() - prefix.size())
        return error{
            errc::shape, "a name of {0} bytes does not fit in {1}", "buffer", {prefix.size() + bytes, buffer.size()}};
    if (!prefix.empty()) std::memcpy(buffer.data(), prefix.data(), prefix.size());
    std::memcpy(buffer.data() + prefix.size(), suffix, bytes);
    return std::string_view(buffer.data(), prefix.size() + bytes);
}

/// What stands before -00001-of-00003.gguf in the name of a part. error: argument
/// when the name does not end as this part's must.
[[nodiscard]] inline result<std::string_view> gguf_part_prefix(std::string_view name, gguf_part part) noexcept {
    if (status s = detail::check_part(part); !s) return s.error();
    char suffix[32];
    const std::size_t bytes = detail::put_part_suffix(suffix, part);
    if (!name.ends_with(std::string_view(suffix, bytes)))
        return error{errc::argument,
                     "a name that does not end as that of part {0} of {1} must",
                     "name",
                     {part.index, part.count}};
    return name.substr(0, name.size() - bytes);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
