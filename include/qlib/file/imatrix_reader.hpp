#pragma once
// imatrix_file: reads the importance matrices that llama.cpp's llama-imatrix writes, from foreign, untrusted bytes.
// Both forms: GGUF, and the older one (.dat) that knows one count per weight only.
//
//   auto file = qlib::imatrix_file::parse(bytes, {}, &culprit);
//   const qlib::imatrix_entry* e = file->find("blk.0.ffn_down.weight");
//   if (e != nullptr) options.importance = *e->of_matrix(0, 1, cols);  // an error where the file is another model's
#include "../numeric/exact.hpp"
#include "gguf_reader.hpp"

namespace qlib::inline QLIB_ABI {

/// What is known of the inputs of one weight. A weight of several experts has one matrix for each.
struct imatrix_entry {
    std::string_view name;  ///< of the weight's tensor, 1 to 1024 bytes
    /// Neither is 0. The older form has one matrix, as wide as all experts together.
    std::size_t cols = 0, matrices = 0;
    /// (matrices, cols): the mean square of each input; 1 for a matrix whose count is 0.
    std::span<const float> importance;
    std::span<const float> counts;  ///< how many inputs each matrix has seen; in the older form: chunks

    /// The importance of the columns of matrix m, for a weight of `count` matrices with rows of `width` elements.
    ///
    /// error   importance, when the entry is of another shape; argument, when m >= count
    [[nodiscard]] QLIB_INLINE result<std::span<const float>> of_matrix(std::size_t m, std::size_t count,
                                                                       std::size_t width) const noexcept {
        if (m >= count) return error{errc::argument, "matrix {0} of {1}", "imatrix", {m, count}};
        if (width == 0 || importance.size() % width != 0 || importance.size() / width != count)
            return error{errc::importance,
                         "{0} x {1} values for a weight of {2} x {3}",
                         "imatrix",
                         {matrices, cols, count, width}};
        return importance.subspan(m * width, width);
    }
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// What a parsed file says.
struct imatrix_tables {
    gguf_tables gguf;  // metadata of the GGUF form
    growing<imatrix_entry> entries;
    buffer<std::size_t> order;  // sorted by name
    buffer<float> numbers;      // counts and importance of all entries
    growing<std::string_view> datasets;
    std::uint32_t chunk_count = 0, chunk_size = 0;
    bool legacy = false;
};

/// An entry still in the file's bytes.
struct imatrix_source {
    std::string_view name;
    std::span<const std::byte> sums, counts;  // packed f32; the older form has one i32 as its count
};

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::string_view imatrix_sums_suffix = ".in_sum2", imatrix_counts_suffix = ".counts";

[[nodiscard]] inline std::size_t find_importance(const imatrix_tables& tables, std::string_view name) noexcept {
    return find_name(tables.order, name, [&](std::size_t i) { return tables.entries[i].name; });
}
[[nodiscard]] QLIB_INLINE inline float load_float(const std::byte* p) noexcept {
    return float_of(static_cast<std::uint32_t>(load_little(p, 4)));
}
/// False for NaN, infinities and negative numbers.
[[nodiscard]] QLIB_INLINE inline bool is_amount(float x) noexcept { return is_finite(x) && x >= 0; }

/// The mean of a sum, as llama.cpp's loader has it: what was never seen is 1 in the
/// GGUF form and the sum itself in the older one.
[[nodiscard]] QLIB_INLINE inline float mean_square(float sum, float count, bool legacy) noexcept {
    if (count > 0) return sum / count;
    return legacy ? sum : 1.0f;
}

/// One pass over a file's structure, then one over its numbers. `culprit` is the name read last.
struct imatrix_parser {
    std::span<const std::byte> file;
    gguf_limits limits;
    imatrix_tables& tables;
    std::string_view culprit = {};
    growing<imatrix_source> sources = {};

    [[nodiscard]] static error broken(errc code, const char* rule, std::uint64_t a = 0, std::uint64_t b = 0,
                                      std::uint64_t c = 0) noexcept {
        return {code, rule, "imatrix", {a, b, c}};
    }

    status add_source(const imatrix_source& source) noexcept {
        return sources.append(source) ? status{} : status(out_of_memory(sizeof source));
    }
    status add_dataset(std::string_view name) noexcept {
        return tables.datasets.append(name) ? status{} : status(out_of_memory(sizeof name));
    }

    // The GGUF form.

    [[nodiscard]] const gguf_value* value_of(std::string_view key) noexcept {
        const std::size_t i = find_entry(tables.gguf, key);
        if (i == tables.gguf.entries.size()) return nullptr;
        culprit = tables.gguf.entries[i].key;
        return &tables.gguf.entries[i].value;
    }
    status read_u32(std::string_view key, std::uint32_t& out) noexcept {
        const gguf_value* v = value_of(key);
        if (v == nullptr) return {};
        const auto n = v->as_uint();
        if (!n) return n.error();
        if (*n > 0xFFFFFFFF) return broken(errc::malformed, "{0} chunks, or of that many tokens", *n);
        out = static_cast<std::uint32_t>(*n);
        return {};
    }
    status read_metadata() noexcept {
        const gguf_value* type = value_of("general.type");
        if (type == nullptr) return broken(errc::malformed, "a GGUF file without a general.type of \"imatrix\"");
        const auto text = type->as_string();
        if (!text) return text.error();
        if (*text != "imatrix") return broken(errc::malformed, "a GGUF file whose general.type is not \"imatrix\"");
        if (status s = read_u32("imatrix.chunk_count", tables.chunk_count); !s) return s;
        if (status s = read_u32("imatrix.chunk_size", tables.chunk_size); !s) return s;
        const gguf_value* names = value_of("imatrix.datasets");
        if (names == nullptr) return {};
        if (!names->is_array() || names->element_type != gguf_type::string)
            return broken(errc::malformed, "an array of strings is needed for the data sets");
        for (const std::string_view name : names->strings())
            if (status s = add_dataset(name); !s) return s;
        return {};
    }

    /// The tensor whose name is `stem` and a suffix, or null.
    [[nodiscard]] const gguf_tensor* find_part(std::string_view stem, std::string_view suffix) const noexcept {
        char name[gguf_name_limit];
        if (stem.size() + suffix.size() > sizeof name) return nullptr;
        std::memcpy(name, stem.data(), stem.size());
        std::memcpy(name + stem.size(), suffix.data(), suffix.size());
        const std::size_t i = find_tensor(tables.gguf, {name, stem.size() + suffix.size()});
        return i < tables.gguf.tensors.size() ? &tables.gguf.tensors[i] : nullptr;
    }
    status read_pair(const gguf_tensor& sums) noexcept {
        const std::string_view stem = sums.name.substr(0, sums.name.size() - imatrix_sums_suffix.size());
        if (stem.empty()) return broken(errc::malformed, "sums of a weight without a name");
        const gguf_tensor* counts = find_part(stem, imatrix_counts_suffix);
        if (counts == nullptr) return broken(errc::malformed, "sums without counts");
        if (sums.type != 0 || counts->type != 0)
            return broken(errc::malformed, "sums of type {0} and counts of type {1}: both must be f32", sums.type,
                          counts->type);
        // Neither product wraps: the tensors are in the file.
        if (sums.bytes == 0 || sums.rows() != counts->cols() * counts->rows())
            return broken(errc::malformed, "{0} x {1} sums and {2} counts", sums.rows(), sums.cols(),
                          counts->cols() * counts->rows());
        return add_source({stem, sums.data, counts->data});
    }
    status read_gguf() noexcept {
        if (status s = parse_gguf(file, limits, tables.gguf, &culprit); !s) return s;
        if (status s = read_metadata(); !s) return s;
        for (const gguf_tensor& t : tables.gguf.tensors.view()) {
            culprit = t.name;
            if (t.name.ends_with(imatrix_sums_suffix)) {
                if (status s = read_pair(t); !s) return s;
            } else if (t.name.ends_with(imatrix_counts_suffix)) {
                if (find_part(t.name.substr(0, t.name.size() - imatrix_counts_suffix.size()), imatrix_sums_suffix) ==
                    nullptr)
                    return broken(errc::malformed, "counts without sums");
            }
        }
        culprit = {};
        return {};
    }

    // The older form: all numbers are i32 or f32.

    [[nodiscard]] static error ends_early(const byte_cursor& in, std::uint64_t more) noexcept {
        return broken(errc::truncated, "at least {0} bytes are needed, {1} are there", saturating_add(in.at, more),
                      in.bytes.size());
    }
    /// A number from `least` to `most`, below 2^31: a negative one is too large.
    static status read_i32(byte_cursor& in, std::uint32_t least, std::uint32_t most, const char* rule,
                           std::uint32_t& out) noexcept {
        if (!in.number(out)) return ends_early(in, 4);
        return out >= least && out <= most ? status{} : status(broken(errc::malformed, rule, out, least, most));
    }
    static status read_text(byte_cursor& in, std::uint32_t bytes, std::string_view& out) noexcept {
        std::span<const std::byte> text;
        if (!in.take(bytes, text)) return ends_early(in, bytes);
        out = text_of(text);
        return {};
    }
    status read_entry(byte_cursor& in, std::uint64_t index) noexcept {
        imatrix_source source;
        std::uint32_t name_bytes = 0, calls = 0, values = 0;
        culprit = {};
        if (status s = read_i32(in, 1, gguf_name_limit, "a name of {0} bytes: {1} to {2} are allowed", name_bytes); !s)
            return s;
        if (status s = read_text(in, name_bytes, source.name); !s) return s;
        culprit = source.name;
        if (status s = check_name(source.name, gguf_name_limit, "imatrix", index); !s) return s;
        const std::size_t calls_at = in.at;
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "a count of {0}: {1} to {2} are allowed", calls); !s) return s;
        source.counts = in.bytes.subspan(calls_at, 4);
        if (status s = read_i32(in, 1, 0x7FFFFFFF, "{0} values: {1} to {2} are allowed", values); !s) return s;
        if (!in.take(std::uint64_t{values} * 4, source.sums)) return ends_early(in, std::uint64_t{values} * 4);
        return add_source(source);
    }
    /// Absent in old files; those of a time between have the chunks alone.
    status read_trailer(byte_cursor& in) noexcept {
        culprit = {};
        if (in.left() == 0) return {};
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "{0} chunks: {1} to {2} are allowed", tables.chunk_count); !s)
            return s;
        if (in.left() == 0) return {};
        std::uint32_t bytes = 0;
        std::string_view name;
        if (status s = read_i32(in, 0, 0x7FFFFFFF, "a data set's name of {0} bytes: {1} to {2} are allowed", bytes); !s)
            return s;
        if (bytes > limits.string_bytes)
            return broken(errc::malformed, "a data set's name of {0} bytes, {1} are allowed", bytes,
                          limits.string_bytes);
        if (status s = read_text(in, bytes, name); !s) return s;
        if (in.left() != 0) return broken(errc::malformed, "{0} bytes behind the end", in.left());
        return bytes == 0 ? status{} : add_dataset(name);
    }
    status read_legacy() noexcept {
        tables.legacy = true;
        byte_cursor in{file};
        std::uint32_t count = 0;
        if (status s = read_i32(in, 1, 0x7FFFFFFF, "{0} entries: {1} to {2} are allowed", count); !s) return s;
        constexpr std::uint64_t least = 4 + 1 + 4 + 4 + 4;  // a name of one byte, one value
        if (count > in.left() / least) return ends_early(in, count * least);
        for (std::uint32_t i = 0; i < count; ++i)
            if (status s = read_entry(in, i); !s) return s;
        return read_trailer(in);
    }

    // Both.

    /// Turns one entry's bytes into counts and means at `out`, and moves it behind them.
    status read_numbers(const imatrix_source& source, float*& out) noexcept {
        imatrix_entry e;
        culprit = e.name = source.name;
        e.matrices = source.counts.size() / 4;
        e.cols = source.sums.size() / 4 / e.matrices;
        float* const counts = out;
        float* const means = out + e.matrices;
        for (std::size_t m = 0; m < e.matrices; ++m) {
            const std::byte* const raw = source.counts.data() + 4 * m;
            counts[m] = tables.legacy ? static_cast<float>(load_little(raw, 4)) : load_float(raw);
            if (!is_amount(counts[m])) return broken(errc::importance, "count {0} is negative or not finite", m);
        }
        for (std::size_t i = 0; i < e.matrices * e.cols; ++i) {
            const float sum = load_float(source.sums.data() + 4 * i);
            if (!is_amount(sum))
                return broken(errc::importance, "value {0} of matrix {1} is negative or not finite", i % e.cols,
                              i / e.cols);
            means[i] = mean_square(sum, counts[i / e.cols], tables.legacy);
            if (!is_finite(means[i]))
                return broken(errc::importance, "the mean of value {0} of matrix {1} overflows", i % e.cols,
                              i / e.cols);
        }
        e.counts = {counts, e.matrices};
        e.importance = {means, e.matrices * e.cols};
        out = means + e.importance.size();
        return tables.entries.append(e) ? status{} : status(out_of_memory(sizeof e));
    }
    status parse() noexcept {
        const bool gguf = file.size() >= 4 && text_of(file.first(4)) == "GGUF";
        if (status s = gguf ? read_gguf() : read_legacy(); !s) return s;
        if (sources.size() == 0) return broken(errc::malformed, "no entries");
        std::size_t total = 0;  // at most a quarter of the file's bytes
        for (const imatrix_source& s : sources.view()) total += s.sums.size() / 4 + s.counts.size() / 4;
        if (!tables.numbers.allocate(total)) return out_of_memory(total * sizeof(float));
        float* out = tables.numbers.data();
        for (const imatrix_source& s : sources.view())
            if (status done = read_numbers(s, out); !done) return done;
        const auto name_of = [&](std::size_t i) { return tables.entries[i].name; };
        if (!sort_names(tables.order, tables.entries.size(), name_of))
            return out_of_memory(tables.entries.size() * sizeof(std::size_t));
        const std::size_t p = find_duplicate(tables.order, name_of);
        culprit = {};
        if (p == tables.order.size()) return {};
        culprit = name_of(tables.order[p]);
        return broken(errc::malformed, "#{0} and #{1} have the same name", tables.order[p], tables.order[p + 1]);
    }
};

inline status parse_imatrix(std::span<const std::byte> file, const gguf_limits& limits, imatrix_tables& tables,
                            std::string_view* culprit) noexcept {
    if (culprit != nullptr) *culprit = {};
    gguf_limits whole = limits;
    whole.file_size = 0;  // the numbers are needed too
    imatrix_parser parser{file, whole, tables};
    const status s = parser.parse();
    if (culprit != nullptr && !s) *culprit = parser.culprit;
    return s;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI {

/// A parsed importance matrix. Names point into the parsed bytes, which must outlive it; the numbers are its own.
class imatrix_file {
public:
    QLIB_INLINE imatrix_file(imatrix_file&&) noexcept = default;
    QLIB_INLINE imatrix_file& operator=(imatrix_file&&) noexcept = default;
    /// Reads and checks a file of either form, told apart by the first four bytes.
    ///
    /// file     the whole file, at any address. Memory: at most as many bytes again, and the tables
    /// limits   of the GGUF form; file_size is not used
    /// culprit  set to the weight, tensor or key that an error speaks of, else
    ///          emptied. It may hold any bytes of the file
    /// error    truncated or malformed for a broken rule; importance for a number that is negative, not finite or whose
    ///          mean is not; in the GGUF form also what gguf_file::parse answers; memory
    /// exact    one rounding: sum / count
    /// source   llama.cpp, tools/imatrix; stricter: names without zero bytes and not twice, no negative numbers
    [[nodiscard]] QLIB_INLINE static result<imatrix_file> parse(std::span<const std::byte> file,
                                                                gguf_limits limits = {},
                                                                std::string_view* culprit = nullptr) noexcept {
        imatrix_file parsed;
        if (const status s = detail::parse_imatrix(file, limits, parsed.tables_, culprit); !s) return s.error();
        return parsed;
    }

    /// One per weight, in the file's order.
    [[nodiscard]] QLIB_INLINE std::span<const imatrix_entry> entries() const noexcept { return tables_.entries.view(); }
    /// The entry of a weight, or null. Lives as long as the file object, and does not move with it.
    [[nodiscard]] QLIB_INLINE const imatrix_entry* find(std::string_view name) const noexcept {
        const std::size_t i = detail::find_importance(tables_, name);
        return i < tables_.entries.size() ? &tables_.entries[i] : nullptr;
    }
    /// Names of the texts that were used.
    [[nodiscard]] QLIB_INLINE std::span<const std::string_view> datasets() const noexcept {
        return tables_.datasets.view();
    }
    /// How many chunks of text were used; 0: not known.
    [[nodiscard]] QLIB_INLINE std::uint32_t chunk_count() const noexcept { return tables_.chunk_count; }
    /// Tokens of a chunk; 0: not known, as in the older form.
    [[nodiscard]] QLIB_INLINE std::uint32_t chunk_size() const noexcept { return tables_.chunk_size; }
    /// Whether the file is of the older form.
    [[nodiscard]] QLIB_INLINE bool legacy() const noexcept { return tables_.legacy; }

    /// All metadata of the GGUF form; the older one has none.
    [[nodiscard]] QLIB_INLINE std::span<const gguf_entry> metadata() const noexcept {
        return tables_.gguf.entries.view();
    }
    /// The value of a key, or null.
    [[nodiscard]] QLIB_INLINE const gguf_value* find_metadata(std::string_view key) const noexcept {
        const std::size_t i = detail::find_entry(tables_.gguf, key);
        return i < tables_.gguf.entries.size() ? &tables_.gguf.entries[i].value : nullptr;
    }

private:
    QLIB_INLINE imatrix_file() noexcept = default;
    detail::imatrix_tables tables_;
};

}  // namespace qlib::inline QLIB_ABI
