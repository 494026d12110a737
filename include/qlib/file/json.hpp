#pragma once
// JSON from strangers: parse() checks a whole text once, without recursion; values
// are then views into it that copy nothing.
//
//   auto config = qlib::json_value::parse(text);
//   if (!config) return config.error();
//   auto width = (*config)["hidden_size"].as_uint();                   // result<std::uint64_t>
//   auto bits = (*config)["quantization_config"]["bits"].as_uint();    // an error when one of the two is missing
//   for (qlib::json_member m : (*config)["weight_map"].members()) use(m.key, m.value);
#include "bytes.hpp"
#include "json_check.hpp"
#include "json_number.hpp"

namespace qlib::inline QLIB_ABI {

/// What a JSON value is; absent: there is none.
enum class json_type : std::uint8_t { absent, null, boolean, number, string, array, object };

struct json_value;
struct json_member;
template <class Item> class json_list;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline result<json_value> parse_json(std::string_view text, std::string_view* culprit) noexcept;
inline json_type json_type_of(std::string_view text) noexcept;
inline result<std::uint64_t> json_uint(std::string_view text) noexcept;
inline result<std::int64_t> json_int(std::string_view text) noexcept;
inline result<double> json_float(std::string_view text) noexcept;
inline result<bool> json_bool(std::string_view text) noexcept;
inline result<std::string_view> json_string(std::string_view text, std::span<char> room) noexcept;
inline bool json_equals(std::string_view text, std::string_view wanted) noexcept;
inline json_value find_member(std::string_view object, std::string_view key) noexcept;
inline bool next_item(std::string_view list, std::size_t& at, json_value& item) noexcept;
inline bool next_item(std::string_view list, std::size_t& at, json_member& item) noexcept;

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A value: its text, as it stands in the document, which must outlive it. One that comes from parse() is well formed;
/// on any other text the members are safe, and answer errors or nothing.
struct json_value {
    std::string_view text;

    /// Checks a document of one value.
    ///
    /// text     UTF-8, nested at most 64 deep
    /// culprit  set to the key that is there twice, as it is written, else emptied
    /// error    truncated when it ends inside a value; malformed for all else, as two equal keys in one object; sizes
    ///          {byte}; memory
    /// source   RFC 8259, and of what it leaves open the strict side: no equal keys, no halves of surrogate pairs, no
    ///          byte order mark
    [[nodiscard]] QLIB_INLINE static result<json_value> parse(std::string_view text,
                                                              std::string_view* culprit = nullptr) noexcept;

    [[nodiscard]] QLIB_INLINE json_type type() const noexcept { return detail::json_type_of(text); }
    /// Whether there is a value.
    [[nodiscard]] QLIB_INLINE explicit operator bool() const noexcept { return !text.empty(); }

    // Getters. error: malformed, for a value of another kind, and for none.
    /// A number spelled as an integer, 0 to 2^64 - 1, exact.
    [[nodiscard]] QLIB_INLINE result<std::uint64_t> as_uint() const noexcept { return detail::json_uint(text); }
    /// A number spelled as an integer, -2^63 to 2^63 - 1, exact.
    [[nodiscard]] QLIB_INLINE result<std::int64_t> as_int() const noexcept { return detail::json_int(text); }
    /// The double nearest to any number. error: also malformed where it would be infinite.
    [[nodiscard]] QLIB_INLINE result<double> as_float() const noexcept { return detail::json_float(text); }
    [[nodiscard]] QLIB_INLINE result<bool> as_bool() const noexcept { return detail::json_bool(text); }
    /// The text of a string: in the document where it has no escapes, else decoded into `room`, which text.size() chars
    /// suffice for. error: also argument, when the room is too small
    [[nodiscard]] QLIB_INLINE result<std::string_view> as_string(std::span<char> room = {}) const noexcept {
        return detail::json_string(text, room);
    }
    /// Whether it is a string, and this one.
    [[nodiscard]] QLIB_INLINE bool is(std::string_view wanted) const noexcept {
        return detail::json_equals(text, wanted);
    }

    /// The member of an object; absent when it has none, and when this is no object. Linear in the object's text.
    [[nodiscard]] QLIB_INLINE json_value operator[](std::string_view key) const noexcept;
    /// The members of an object, in order; none of any other value.
    [[nodiscard]] QLIB_INLINE json_list<json_member> members() const noexcept;
    /// The elements of an array, in order; none of any other value.
    [[nodiscard]] QLIB_INLINE json_list<json_value> elements() const noexcept;
};

/// A key, itself a string, and its value.
struct json_member {
    json_value key, value;
};

/// The items of an array or object, for a range-based for. Each is found by one pass over its text.
template <class Item> class json_list {
public:
    struct end_mark {};
    class iterator {
    public:
        QLIB_INLINE explicit iterator(std::string_view list) noexcept : list_(list) { ++*this; }
        [[nodiscard]] QLIB_INLINE Item operator*() const noexcept { return item_; }
        QLIB_INLINE iterator& operator++() noexcept {
            more_ = detail::next_item(list_, at_, item_);
            return *this;
        }
        [[nodiscard]] QLIB_INLINE bool operator!=(end_mark) const noexcept { return more_; }

    private:
        std::string_view list_;
        std::size_t at_ = 1;  // behind the bracket
        Item item_{};
        bool more_ = false;
    };
    QLIB_INLINE explicit json_list(std::string_view list) noexcept : list_(list) {}
    [[nodiscard]] QLIB_INLINE iterator begin() const noexcept { return iterator(list_); }
    [[nodiscard]] QLIB_INLINE end_mark end() const noexcept { return {}; }
    /// How many there are, counted by walking them.
    [[nodiscard]] QLIB_INLINE std::size_t count() const noexcept {
        std::size_t n = 0;
        for (iterator i = begin(); i != end(); ++i) ++n;
        return n;
    }

private:
    std::string_view list_;
};

QLIB_INLINE inline result<json_value> json_value::parse(std::string_view text, std::string_view* culprit) noexcept {
    return detail::parse_json(text, culprit);
}
QLIB_INLINE inline json_value json_value::operator[](std::string_view key) const noexcept {
    return detail::find_member(text, key);
}
QLIB_INLINE inline json_list<json_member> json_value::members() const noexcept {
    return json_list<json_member>(type() == json_type::object ? text : std::string_view());
}
QLIB_INLINE inline json_list<json_value> json_value::elements() const noexcept {
    return json_list<json_value>(type() == json_type::array ? text : std::string_view());
}

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

[[nodiscard]] inline error not_json(const char* rule) noexcept { return {errc::malformed, rule, "JSON value", {}}; }

/// A getter's error as one of the file, about a field.
[[nodiscard]] inline error json_error(error e, const char* operand) noexcept {
    e.operand = operand;
    return e;
}

inline result<json_value> parse_json(std::string_view text, std::string_view* culprit) noexcept {
    json_checker checker{text};
    const status s = checker.run();
    if (culprit != nullptr) *culprit = checker.culprit;
    if (!s) return s.error();
    return json_value{checker.value};
}

inline json_type json_type_of(std::string_view text) noexcept {
    if (text.empty()) return json_type::absent;
    switch (text[0]) {
    case '{': return json_type::object;
    case '[': return json_type::array;
    case '"': return json_type::string;
    case 't':
    case 'f': return json_type::boolean;
    case 'n': return json_type::null;
    default: return json_type::number;
    }
}

/// The digits of an integer.
inline bool read_digits(std::string_view digits, std::uint64_t& out) noexcept {
    out = 0;
    for (const char c : digits)
        if (c < '0' || c > '9' || __builtin_mul_overflow(out, std::uint64_t{10}, &out) ||
            __builtin_add_overflow(out, static_cast<std::uint64_t>(c - '0'), &out))
            return false;
    return !digits.empty();
}

inline result<std::uint64_t> json_uint(std::string_view text) noexcept {
    std::uint64_t n = 0;
    if (text.empty()) return not_json("the value is missing");
    if (!read_digits(text, n)) return not_json("an integer from 0 to 2^64 - 1 is needed");
    return n;
}
inline result<std::int64_t> json_int(std::string_view text) noexcept {
    std::uint64_t n = 0;
    if (text.empty()) return not_json("the value is missing");
    const bool negative = text[0] == '-';
    if (!read_digits(text.substr(negative ? 1 : 0), n) || n > (std::uint64_t{1} << 63) - (negative ? 0 : 1))
        return not_json("an integer from -2^63 to 2^63 - 1 is needed");
    return static_cast<std::int64_t>(negative ? 0 - n : n);
}
inline result<double> json_float(std::string_view text) noexcept {
    double x = 0;
    if (text.empty()) return not_json("the value is missing");
    std::size_t at = 0;
    if (!skip_number(text, at) || at != text.size()) return not_json("a number is needed");
    if (!decimal_to_double(text, x)) return not_json("the number is larger than any double");
    return x;
}
inline result<bool> json_bool(std::string_view text) noexcept {
    if (text.empty()) return not_json("the value is missing");
    if (text != "true" && text != "false") return not_json("true or false is needed");
    return text == "true";
}
inline result<std::string_view> json_string(std::string_view text, std::span<char> room) noexcept {
    if (text.empty()) return not_json("the value is missing");
    if (text[0] != '"') return not_json("a string is needed");
    if (!has_escapes(text)) return text.size() < 2 ? std::string_view() : text.substr(1, text.size() - 2);
    std::size_t n = 0;
    const bool fits = decode_string(text, [&](char c) { return n < room.size() && (room[n++] = c, true); });
    if (!fits) return error{errc::argument, "{0} bytes of room for a string with escapes", "JSON value", {room.size()}};
    return std::string_view(room.data(), n);
}
inline bool json_equals(std::string_view text, std::string_view wanted) noexcept {
    if (text.empty() || text[0] != '"') return false;
    std::size_t n = 0;
    return decode_string(text, [&](char c) { return n < wanted.size() && wanted[n++] == c; }) && n == wanted.size();
}

inline json_value find_member(std::string_view object, std::string_view key) noexcept {
    for (const json_member m : json_value{object}.members())
        if (m.key.is(key)) return m.value;
    return {};
}

inline bool next_item(std::string_view list, std::size_t& at, json_value& item) noexcept {
    at = skip_space(list, at);
    if (at < list.size() && list[at] == ',') at = skip_space(list, at + 1);
    if (at >= list.size() || list[at] == ']' || list[at] == '}') return false;
    const std::size_t end = skip_value(list, at);
    item.text = list.substr(at, end - at);
    at = end;
    return !item.text.empty();
}
inline bool next_item(std::string_view list, std::size_t& at, json_member& item) noexcept {
    if (!next_item(list, at, item.key)) return false;
    at = skip_space(list, at);
    if (at >= list.size() || list[at] != ':') return false;
    ++at;
    return next_item(list, at, item.value);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
